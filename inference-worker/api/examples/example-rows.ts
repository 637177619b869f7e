/**
 * From examples to input tensors, by the mapping of a signature: each example is one row, made of the values of its
 * features one after another. What TensorFlow's parser would refuse is refused in its words.
 */
import { isUtf8 } from 'node:buffer';
import { allocateElements, DataType, type ElementArray } from '../../../proto/tensor/dtype.ts';
import { dtypeInMessage } from '../../session/element-type.ts';
import type { FeatureMapping, Signature, TensorSpec } from '../../session/signature.ts';
import { tensorParsingError, tensorTooLarge } from '../../worker-error.ts';
import type { RequestTensor } from '../tensor-request.ts';
import {
  featureCount,
  featureMissing,
  featureTypeMismatch,
  featureValueOutOfRange,
  rowShapeUnknown,
} from './example-errors.ts';
import type { Example, Feature } from './example-message.ts';

/** Elements of one input; a default row repeated for many small examples could otherwise take all memory. */
const MAX_ELEMENTS = 16 * 1024 * 1024;

type Value = number | bigint | string | Buffer;

/** The inputs of `signature`, which must have a mapping, for one or more examples. @throws WorkerError */
export function rowsOf(signature: Signature, examples: readonly Example[]): RequestTensor[] {
  return signature.inputs.map((spec, i) => inputOf(spec, signature.examples!.features[i]!, examples));
}

function inputOf(spec: TensorSpec, mapping: FeatureMapping, examples: readonly Example[]): RequestTensor {
  const first = rowOf(spec, mapping, examples[0]!);
  const tail = tailOf(spec, mapping, first.length);
  const width = first.length;
  if (examples.length * width > MAX_ELEMENTS) throw tensorTooLarge(spec.name, examples.length * width);
  const data = allocateElements(spec.dtype, examples.length * width);
  const texts: string[] = [];
  examples.forEach((example, row) => {
    const values = row === 0 ? first : rowOf(spec, mapping, example);
    if (values.length !== width) throw featureCount(mapping.from.join(','), kindOf(spec), values.length, tail);
    for (let i = 0; i < width; i++) {
      if (data === null) texts.push(textOf(spec, values[i]!));
      else store(spec, mapping, data, row * width + i, values[i]!);
    }
  });
  return { name: spec.name, dtype: spec.dtype, dims: [examples.length, ...tail], data: data ?? texts };
}

/** The dimensions behind the batch axis: those of the spec, one open one filled from the number of values. */
function tailOf({ name, shape, dtype }: TensorSpec, mapping: FeatureMapping, width: number): number[] {
  // A graph that says nothing about an input, or a scalar one: rows of one value are a vector.
  if (shape.length === 0) return width === 1 ? [] : [width];
  const tail = shape.slice(1);
  const fixed = tail.reduce((product, dim) => (dim === -1 ? product : product * dim), 1);
  const open = tail.filter((dim) => dim === -1).length;
  if (open > 1) throw rowShapeUnknown(name, shape);
  const kind = dtypeInMessage(dtype);
  if (open === 0 ? width !== fixed : fixed === 0 || width % fixed !== 0) {
    throw featureCount(mapping.from.join(','), kind, width, tail);
  }
  return tail.map((dim) => (dim === -1 ? width / fixed : dim));
}

/** The values of one example for one input. A default stands for the whole row, or for each of its features. */
function rowOf(spec: TensorSpec, { from, fallback }: FeatureMapping, example: Example): readonly Value[] {
  const only = from.length === 1 ? example.get(from[0]!) : undefined;
  if (only !== undefined) return only.values;
  if (fallback !== null && from.every((name) => !example.has(name))) return fallback;
  const row: Value[] = [];
  from.forEach((name, i) => {
    const feature: Feature | undefined = example.get(name);
    if (feature !== undefined) for (const value of feature.values) row.push(value);
    else if (fallback !== null && fallback.length === from.length) row.push(fallback[i]!);
    else throw featureMissing(name, kindOf(spec));
  });
  return row;
}

function kindOf({ dtype }: TensorSpec): string {
  if (dtype === DataType.STRING) return 'string';
  return isFloat(dtype) ? 'float' : 'int64';
}

function isFloat(dtype: number): boolean {
  return dtype === DataType.FLOAT || dtype === DataType.DOUBLE || dtype === DataType.HALF;
}

function sentKind(value: Value): string {
  if (typeof value === 'bigint') return 'int64';
  return typeof value === 'number' ? 'float' : 'string';
}

function textOf(spec: TensorSpec, value: Value): string {
  if (typeof value === 'string') return value;
  if (!Buffer.isBuffer(value)) throw featureTypeMismatch(spec.name, sentKind(value), 'string');
  if (!isUtf8(value)) throw tensorParsingError(spec.name);
  return value.toString();
}

const half = new Float16Array(1);
const halfBits = new Uint16Array(half.buffer);

/** Integers are taken for floats, as they are by every reader of numbers; never the other way round. */
function store(spec: TensorSpec, mapping: FeatureMapping, data: ElementArray, at: number, value: Value): void {
  const { dtype } = spec;
  if (typeof value !== 'bigint' && !(typeof value === 'number' && isFloat(dtype))) {
    throw featureTypeMismatch(mapping.from.join(','), sentKind(value), kindOf(spec));
  }
  if (dtype === DataType.HALF) {
    half[0] = Number(value);
    data[at] = halfBits[0]!;
  } else if (isFloat(dtype)) data[at] = Number(value);
  else if (dtype === DataType.BOOL) data[at] = BigInt(value) === 0n ? 0 : 1;
  else if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    data[at] = BigInt(value);
    if (data[at] !== BigInt(value)) throw featureValueOutOfRange(spec.name, String(value));
  } else {
    data[at] = Number(value);
    if (data[at] !== Number(value)) throw featureValueOutOfRange(spec.name, String(value));
  }
}
