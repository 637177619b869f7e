/** Tensors of any type and shape for property tests, and identity models that give them back. */
import fc from 'fast-check';
import { allocateElements, type ElementArray } from '../../proto/tensor/dtype.ts';
import { elementBits } from '../../proto/tensor/element-bits.ts';
import { OnnxModel, type OnnxType } from './onnx-writer.ts';

export interface AnyTensor {
  readonly type: OnnxType;
  /** TensorFlow DataType number. */
  readonly dtype: number;
  readonly dims: readonly number[];
  /** Strings, or the little-endian bytes of the elements. */
  readonly strings: readonly string[] | null;
  readonly bytes: Buffer;
  readonly elements: ElementArray | null;
}

/** onnxruntime's types with TensorFlow's number and the Open Inference Protocol's name. */
export const ANY_TYPES: readonly (readonly [OnnxType, number, string])[] = [
  ['float32', 1, 'FP32'],
  ['float64', 2, 'FP64'],
  ['int32', 3, 'INT32'],
  ['uint8', 4, 'UINT8'],
  ['int16', 5, 'INT16'],
  ['int8', 6, 'INT8'],
  ['string', 7, 'BYTES'],
  ['int64', 9, 'INT64'],
  ['bool', 10, 'BOOL'],
  ['uint16', 17, 'UINT16'],
  ['float16', 19, 'FP16'],
  ['uint32', 22, 'UINT32'],
  ['uint64', 23, 'UINT64'],
];

/** y = x of `rank` open dimensions, the first a batch; of rank 0 a scalar. */
export function identityOf(type: OnnxType, rank: number): Buffer {
  const shape = ['batch', 'a', 'b', 'c'].slice(0, rank);
  return new OnnxModel('identity')
    .input('x', type, shape)
    .output('y', type, shape)
    .node('Identity', ['x'], ['y'])
    .build();
}

export const MAX_RANK = 3;

/** Anything but a NUL, what JSON escapes included. */
const character = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
  fc.constantFrom('\u0001', '\n', '"', '\\', '\u2028'),
);

const anyDims = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: MAX_RANK });

/**
 * A tensor of up to `MAX_RANK` dimensions, none for a scalar, the first of 1 to 4, the others of 0 to 4. NaNs are the one
 * NaN that text has.
 */
export const anyTensor: fc.Arbitrary<AnyTensor> = fc
  .tuple(
    fc.constantFrom(...ANY_TYPES),
    anyDims.map((dims) => dims.map((dim, i) => (i === 0 ? Math.max(1, dim) : dim))),
  )
  .chain(([[type, dtype], dims]): fc.Arbitrary<AnyTensor> => {
    const count = dims.reduce((product, dim) => product * dim, 1);
    const size = allocateElements(dtype, 1)?.BYTES_PER_ELEMENT ?? 0;
    if (size === 0) {
      return fc
        .array(fc.string({ unit: character, maxLength: 8 }), { minLength: count, maxLength: count })
        .map((strings) => ({ type, dtype, dims, strings, bytes: Buffer.alloc(0), elements: null }));
    }
    return fc.uint8Array({ minLength: count * size, maxLength: count * size }).map((random) => {
      const elements = allocateElements(dtype, count)!;
      const { bytes } = elementBits(elements);
      bytes.set(type === 'bool' ? random.map((byte) => byte & 1) : random);
      settleNaNs(type, elements);
      return { type, dtype, dims, strings: null, bytes: Buffer.from(bytes), elements };
    });
  });

function settleNaNs(type: OnnxType, elements: ElementArray): void {
  const values = floatsOf(type, elements);
  for (let i = 0; i < (values?.length ?? 0); i++) if (Number.isNaN(values![i])) values![i] = Number.NaN;
}

/** The elements as floats where they are some, over the same memory. */
export function floatsOf(type: OnnxType, elements: ElementArray): Float16Array | Float32Array | Float64Array | null {
  if (type === 'float16') return new Float16Array(elements.buffer as ArrayBuffer);
  if (elements instanceof Float32Array || elements instanceof Float64Array) return elements;
  return null;
}

/** The elements as JSON text, written by hand of the engine's own number formats. */
export function jsonOf({ type, elements, strings, dims }: AnyTensor): string {
  const flat =
    strings?.map((text) => JSON.stringify(text)) ??
    Array.from((floatsOf(type, elements!) ?? elements!) as ArrayLike<number | bigint>, (value) =>
      jsonNumber(type, value),
    );
  let at = 0;
  const nest = (dim: number): string => {
    if (dim === dims.length) return flat[at++]!;
    return `[${Array.from({ length: dims[dim]! }, () => nest(dim + 1)).join(',')}]`;
  };
  return nest(0);
}

function jsonNumber(type: OnnxType, value: number | bigint): string {
  if (type === 'bool') return value === 1 ? 'true' : 'false';
  if (typeof value === 'bigint' || !type.startsWith('float')) return String(value);
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  // A whole number beyond a float's exact integers is refused; as a decimal it is taken.
  return Number.isInteger(value) && !text.includes('e') ? `${text}.0` : text;
}

/** A JSON text's numbers as the type's bytes, read by the engine but for what it cannot: NaN tokens and 64-bit integers. */
export function elementsOfJson(type: OnnxType, dtype: number, json: string): Buffer | string[] {
  const tokens = json.match(/"(?:[^"\\]|\\.)*"|-?[A-Za-z]+|-?[\d.]+(?:[eE][+-]?\d+)?/g) ?? [];
  if (type === 'string') return tokens.map((token) => JSON.parse(token) as string);
  const elements = allocateElements(dtype, tokens.length)!;
  const floats = floatsOf(type, elements);
  tokens.forEach((token, i) => {
    if (floats !== null) floats[i] = Number(token);
    else if (type === 'bool') elements[i] = token === 'true' ? 1 : 0;
    else if (elements instanceof BigInt64Array || elements instanceof BigUint64Array) elements[i] = BigInt(token);
    else elements[i] = Number(token);
  });
  return Buffer.from(elementBits(elements).bytes);
}
