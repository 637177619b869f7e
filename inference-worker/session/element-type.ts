/** The element types onnxruntime executes: TensorFlow's number and name for each, and the storage of their elements. */
import { allocateElements, DataType, dtypeFromOrt, dtypeName, type ElementArray } from '../../proto/tensor/dtype.ts';

interface ElementArrayConstructor {
  new (memory: SharedArrayBuffer, byteOffset: number, length: number): ElementArray;
  new (length: number): ElementArray;
}

export interface ElementType {
  /** onnxruntime's name. */
  readonly ortType: string;
  /** TensorFlow's DataType number. */
  readonly dtype: number;
  /** Bytes of an element; for strings those of a reference. */
  readonly bytes: number;
  /** Storage; null for strings, which are JavaScript arrays. */
  readonly array: ElementArrayConstructor | null;
}

const ORT_TYPES = 'float32 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool float16 string'.split(' ');

const REFERENCE_BYTES = 8;

const BY_ORT_TYPE = new Map<string, ElementType>(
  ORT_TYPES.map((ortType) => {
    const dtype = dtypeFromOrt(ortType);
    const sample = allocateElements(dtype, 0);
    const array = sample === null ? null : (sample.constructor as unknown as ElementArrayConstructor);
    return [ortType, { ortType, dtype, bytes: sample?.BYTES_PER_ELEMENT ?? REFERENCE_BYTES, array }];
  }),
);

export function isKnownOrtType(ortType: string): boolean {
  return BY_ORT_TYPE.has(ortType);
}

/** The row of a type that `isKnownOrtType` accepts. */
export function elementTypeOf(ortType: string): ElementType {
  const type = BY_ORT_TYPE.get(ortType);
  if (type === undefined) throw new TypeError(`no element type ${ortType}`);
  return type;
}

/** TensorFlow's spelling inside messages: `float`, `int64`, `string`; `invalid` for a tensor without a type. */
export function dtypeInMessage(dtype: number): string {
  return dtype === DataType.INVALID ? 'invalid' : dtypeName(dtype).replace(/^DT_/, '').toLowerCase();
}
