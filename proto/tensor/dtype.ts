/** Element types: TensorFlow's numbers, onnxruntime's names, the Open Inference Protocol's names, and their storage. */

export const DataType = {
  INVALID: 0,
  FLOAT: 1,
  DOUBLE: 2,
  INT32: 3,
  UINT8: 4,
  INT16: 5,
  INT8: 6,
  STRING: 7,
  INT64: 9,
  BOOL: 10,
  BFLOAT16: 14,
  UINT16: 17,
  HALF: 19,
  UINT32: 22,
  UINT64: 23,
} as const;

/** How the `*_val` list of a type is laid out. */
export const ValueForm = { none: 0, fixed: 1, varint: 2, bool: 3, strings: 4 } as const;

/** Storage of a tensor's elements. `bool` is one byte per element; `half` and `bfloat16` are their bits. */
export type ElementArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

interface DtypeRow {
  readonly dtype: number;
  readonly name: string;
  /** Empty where onnxruntime-node has no such type. */
  readonly ort: string;
  readonly oip: string;
  /** Bytes per element; 0 for strings. */
  readonly size: number;
  /** Field number of the list in TensorProto. */
  readonly field: number;
  readonly form: number;
  readonly storage: (new (length: number) => ElementArray) | null;
}

function row(
  dtype: number,
  name: string,
  ort: string,
  oip: string,
  size: number,
  field: number,
  form: number,
  storage: DtypeRow['storage'],
): DtypeRow {
  return { dtype, name, ort, oip, size, field, form, storage };
}

const F = ValueForm;
const ROWS: readonly DtypeRow[] = [
  row(DataType.FLOAT, 'DT_FLOAT', 'float32', 'FP32', 4, 5, F.fixed, Float32Array),
  row(DataType.DOUBLE, 'DT_DOUBLE', 'float64', 'FP64', 8, 6, F.fixed, Float64Array),
  row(DataType.INT32, 'DT_INT32', 'int32', 'INT32', 4, 7, F.varint, Int32Array),
  row(DataType.UINT8, 'DT_UINT8', 'uint8', 'UINT8', 1, 7, F.varint, Uint8Array),
  row(DataType.INT16, 'DT_INT16', 'int16', 'INT16', 2, 7, F.varint, Int16Array),
  row(DataType.INT8, 'DT_INT8', 'int8', 'INT8', 1, 7, F.varint, Int8Array),
  row(DataType.STRING, 'DT_STRING', 'string', 'BYTES', 0, 8, F.strings, null),
  row(DataType.INT64, 'DT_INT64', 'int64', 'INT64', 8, 10, F.varint, BigInt64Array),
  row(DataType.BOOL, 'DT_BOOL', 'bool', 'BOOL', 1, 11, F.bool, Uint8Array),
  row(DataType.BFLOAT16, 'DT_BFLOAT16', '', 'BF16', 2, 13, F.varint, Uint16Array),
  row(DataType.UINT16, 'DT_UINT16', 'uint16', 'UINT16', 2, 7, F.varint, Uint16Array),
  row(DataType.HALF, 'DT_HALF', 'float16', 'FP16', 2, 13, F.varint, Uint16Array),
  row(DataType.UINT32, 'DT_UINT32', 'uint32', 'UINT32', 4, 16, F.varint, Uint32Array),
  row(DataType.UINT64, 'DT_UINT64', 'uint64', 'UINT64', 8, 17, F.varint, BigUint64Array),
];

const LIMIT = 32;
const SIZE = new Uint8Array(LIMIT);
const FIELD = new Uint8Array(LIMIT);
const FORM = new Uint8Array(LIMIT);
const BY_DTYPE: (DtypeRow | undefined)[] = new Array(LIMIT).fill(undefined);
const BY_ORT = new Map<string, number>();
const BY_OIP = new Map<string, number>();
for (const entry of ROWS) {
  SIZE[entry.dtype] = entry.size;
  FIELD[entry.dtype] = entry.field;
  FORM[entry.dtype] = entry.form;
  BY_DTYPE[entry.dtype] = entry;
  if (entry.ort !== '') BY_ORT.set(entry.ort, entry.dtype);
  BY_OIP.set(entry.oip, entry.dtype);
}

/** Bytes per element; 0 for strings and for types that are not carried. */
export function dtypeBytes(dtype: number): number {
  return dtype > 0 && dtype < LIMIT ? SIZE[dtype] : 0;
}

/** Field number of the type's `*_val` list in TensorProto; 0 for types that are not carried. */
export function dtypeField(dtype: number): number {
  return dtype > 0 && dtype < LIMIT ? FIELD[dtype] : 0;
}

/** One of `ValueForm`. */
export function dtypeForm(dtype: number): number {
  return dtype > 0 && dtype < LIMIT ? FORM[dtype] : ValueForm.none;
}

/** `DT_FLOAT` for 1; `DataType(99)` for a number outside the table. */
export function dtypeName(dtype: number): string {
  return BY_DTYPE[dtype]?.name ?? `DataType(${dtype})`;
}

/** onnxruntime's name, or '' where it has no such type. */
export function dtypeToOrt(dtype: number): string {
  return BY_DTYPE[dtype]?.ort ?? '';
}

/** TensorFlow's number for an onnxruntime type name, `DataType.INVALID` for an unknown one. */
export function dtypeFromOrt(type: string): number {
  return BY_ORT.get(type) ?? DataType.INVALID;
}

/** Open Inference Protocol name, or '' where it has no such type. */
export function dtypeToOip(dtype: number): string {
  return BY_DTYPE[dtype]?.oip ?? '';
}

/** TensorFlow's number for an Open Inference Protocol datatype, `DataType.INVALID` for an unknown one. */
export function dtypeFromOip(datatype: string): number {
  return BY_OIP.get(datatype) ?? DataType.INVALID;
}

/** Fresh zeroed storage for `length` elements; null for strings and for types that are not carried. */
export function allocateElements(dtype: number, length: number): ElementArray | null {
  const Storage = BY_DTYPE[dtype]?.storage ?? null;
  return Storage === null ? null : new Storage(length);
}
