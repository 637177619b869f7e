/** One row per element type: how the independent codec writes a list of it, and how our storage holds the same values. */
import type { ElementArray } from '../../../../proto/tensor/dtype.ts';
import { DataType } from '../../../../proto/tensor/dtype.ts';

export interface DtypeCase {
  readonly name: string;
  readonly dtype: number;
  /** Field of TensorProto. */
  readonly list: string;
  /** Values as the independent codec takes them. */
  readonly values: readonly (number | string | boolean)[];
  /** The same values as we store them. */
  readonly stored: ElementArray;
  /** Destination of the same kind, longer than `stored`. */
  readonly make: (length: number) => ElementArray;
}

export const DTYPE_CASES: readonly DtypeCase[] = [
  {
    name: 'float',
    dtype: DataType.FLOAT,
    list: 'float_val',
    values: [1.5, -0, 3.4028234663852886e38, Number.NEGATIVE_INFINITY, Number.NaN, 0.1],
    stored: Float32Array.of(1.5, -0, 3.4028234663852886e38, Number.NEGATIVE_INFINITY, Number.NaN, 0.1),
    make: (length) => new Float32Array(length),
  },
  {
    name: 'double',
    dtype: DataType.DOUBLE,
    list: 'double_val',
    values: [0.1, -1e300, Number.NaN, Number.POSITIVE_INFINITY],
    stored: Float64Array.of(0.1, -1e300, Number.NaN, Number.POSITIVE_INFINITY),
    make: (length) => new Float64Array(length),
  },
  {
    name: 'int32',
    dtype: DataType.INT32,
    list: 'int_val',
    values: [0, 1, -1, 127, 128, 16384, 2097152, 268435456, 2147483647, -2147483648],
    stored: Int32Array.of(0, 1, -1, 127, 128, 16384, 2097152, 268435456, 2147483647, -2147483648),
    make: (length) => new Int32Array(length),
  },
  {
    name: 'int16',
    dtype: DataType.INT16,
    list: 'int_val',
    values: [0, -1, 32767, -32768],
    stored: Int16Array.of(0, -1, 32767, -32768),
    make: (length) => new Int16Array(length),
  },
  {
    name: 'int8',
    dtype: DataType.INT8,
    list: 'int_val',
    values: [0, -1, 127, -128],
    stored: Int8Array.of(0, -1, 127, -128),
    make: (length) => new Int8Array(length),
  },
  {
    name: 'uint16',
    dtype: DataType.UINT16,
    list: 'int_val',
    values: [0, 1, 65535, 128],
    stored: Uint16Array.of(0, 1, 65535, 128),
    make: (length) => new Uint16Array(length),
  },
  {
    name: 'uint8',
    dtype: DataType.UINT8,
    list: 'int_val',
    values: [0, 1, 255, 128],
    stored: Uint8Array.of(0, 1, 255, 128),
    make: (length) => new Uint8Array(length),
  },
  {
    name: 'int64',
    dtype: DataType.INT64,
    list: 'int64_val',
    values: ['0', '-1', '9223372036854775807', '-9223372036854775808', '4294967296', '34359738367', '34359738368'],
    stored: BigInt64Array.of(
      0n,
      -1n,
      9223372036854775807n,
      -9223372036854775808n,
      4294967296n,
      34359738367n,
      34359738368n,
    ),
    make: (length) => new BigInt64Array(length),
  },
  {
    name: 'uint32',
    dtype: DataType.UINT32,
    list: 'uint32_val',
    values: [0, 4294967295, 127, 128],
    stored: Uint32Array.of(0, 4294967295, 127, 128),
    make: (length) => new Uint32Array(length),
  },
  {
    name: 'uint64',
    dtype: DataType.UINT64,
    list: 'uint64_val',
    values: ['0', '18446744073709551615', '9223372036854775808', '127'],
    stored: BigUint64Array.of(0n, 18446744073709551615n, 9223372036854775808n, 127n),
    make: (length) => new BigUint64Array(length),
  },
  {
    name: 'bool',
    dtype: DataType.BOOL,
    list: 'bool_val',
    values: [true, false, true],
    stored: Uint8Array.of(1, 0, 1),
    make: (length) => new Uint8Array(length),
  },
  {
    name: 'half',
    dtype: DataType.HALF,
    list: 'half_val',
    values: [0x3c00, 0, 0xfc00, 0x7e01],
    stored: Uint16Array.of(0x3c00, 0, 0xfc00, 0x7e01),
    make: (length) => new Uint16Array(length),
  },
  {
    name: 'bfloat16',
    dtype: DataType.BFLOAT16,
    list: 'half_val',
    values: [0x3f80, 0xffff],
    stored: Uint16Array.of(0x3f80, 0xffff),
    make: (length) => new Uint16Array(length),
  },
];

/** Bytes of a typed array, for comparisons that see NaN payloads and negative zero. */
export function bytesOf(array: ElementArray): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}
