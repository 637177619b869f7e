/**
 * A fallback's outputs as the primary's: renamed, cast, reshaped, filled in, dropped. Pure; what it throws is AdaptError
 * or CastError. Elements that stay what they are are not even read: a `MappedOutput` then says where they come from.
 */
import { DataType, dtypeName, type ElementArray } from '../../proto/tensor/dtype.ts';
import { CastError, castElements } from '../../proto/tensor/element-cast.ts';
import { elementsOfText } from '../../proto/tensor/element-text.ts';
import type { TensorData } from '../../proto/tensor/tensor-writer.ts';
import type { OutputMapping, OutputRule } from '../config/answer-policy.ts';
import { AdaptError } from './adapt-error.ts';

/** Elements of one output that are read or made at most. */
export const MAX_ADAPTED_ELEMENTS: number = 4 * 1024 * 1024;
/** Most bytes of texts that are added to an answer, and what each takes besides itself. */
const MAX_TEXT_BYTES = 16 * 1024 * 1024;
const TEXT_OVERHEAD = 8;

/** An output of the answer as it came. */
export interface SourceOutput {
  readonly name: string;
  readonly dtype: number;
  readonly dims: readonly number[];
  readonly count: number;
}

/** The answer as it came: its outputs, and their elements on demand. */
export interface SourceAnswer {
  readonly outputs: readonly SourceOutput[];
  /** All elements of output `index`. @throws WireError, OipError, AdaptError */
  elements(index: number): TensorData;
}

/** An output of the adapted answer. */
export interface MappedOutput extends SourceOutput {
  /** The output whose elements it has, in its own shape; -1 where `data` has them. */
  readonly source: number;
  readonly data: TensorData | null;
}

/** What is done to an answer. */
export interface AnswerChange {
  readonly mapping: OutputMapping | null;
  /** What the only output is called where an answer does not say; '' for not known. */
  readonly soleOutput: string;
  /** Model name to write into the answer's model spec, whose version is then left out; '' leaves the spec. */
  readonly specName: string;
  /** Output that says which model answered, and what it says; '' for none. */
  readonly versionOutput: string;
  readonly versionText: string;
}

/** Whether the outputs stay as they are, and only the model spec changes. */
export function keepsOutputs({ mapping, versionOutput }: AnswerChange): boolean {
  return mapping === null && versionOutput === '';
}

/** The outputs of the adapted answer, in the mapping's order, then those that are kept. */
export function mapOutputs(answer: SourceAnswer, change: AnswerChange): MappedOutput[] {
  const { mapping, soleOutput, versionOutput, versionText } = change;
  const { outputs } = answer;
  const rows = batchRows(outputs);
  const mapped: MappedOutput[] = [];
  const used = new Set<number>();
  for (const rule of mapping?.outputs ?? []) {
    const index = find(outputs, rule.from, soleOutput);
    if (index >= 0) {
      used.add(index);
      mapped.push(convert(answer, index, rule));
    } else {
      mapped.push(filled(rule, rows));
    }
  }
  const isNamed = outputs.length !== 1 || outputs[0]!.name !== '';
  for (const [source, output] of outputs.entries()) {
    if (mapping !== null && (!mapping.keepsOthers || used.has(source))) continue;
    const name = isNamed ? output.name : soleOutput;
    if (mapped.some((other) => other.name === name)) continue;
    mapped.push({ ...output, name, source, data: null });
  }
  if (versionOutput !== '') {
    const data = new Array<string>(checkTexts(versionOutput, rows, versionText.length)).fill(versionText);
    const own = { name: versionOutput, dtype: DataType.STRING, dims: [rows], count: rows, source: -1, data };
    const at = mapped.findIndex(({ name }) => name === versionOutput);
    if (at < 0) mapped.push(own);
    else mapped[at] = own;
  }
  if (mapped.length > 1 && mapped.some(({ name }) => name === '')) {
    throw new AdaptError('misfit', 'the only output has no name, and none is configured');
  }
  if (mapped.length === 0) throw new AdaptError('misfit', 'no output is left');
  return mapped;
}

/** Rows of the answer: the first dimension of the first output that has one. */
export function batchRows(outputs: readonly SourceOutput[]): number {
  for (const { dims } of outputs) if (dims.length > 0) return dims[0]!;
  return 1;
}

function find(outputs: readonly SourceOutput[], name: string, soleOutput: string): number {
  const index = outputs.findIndex((output) => output.name === name);
  if (index >= 0) return index;
  return outputs.length === 1 && outputs[0]!.name === '' && name === soleOutput ? 0 : -1;
}

function convert(answer: SourceAnswer, index: number, rule: OutputRule): MappedOutput {
  const source = answer.outputs[index]!;
  const { name } = rule;
  const { count } = source;
  const dims = rule.shape === null ? source.dims : reshaped(rule.shape, source);
  if (rule.dtype === 0 || rule.dtype === source.dtype) {
    return { name, dtype: source.dtype, dims, count, source: index, data: null };
  }
  checkCount(name, count);
  if (source.dtype === DataType.STRING)
    throw new CastError(`${source.name}: strings cannot become ${dtypeName(rule.dtype)}`);
  const data = castElements(answer.elements(index) as ElementArray, count, source.dtype, rule.dtype, rule);
  return { name, dtype: rule.dtype, dims, count, source: -1, data };
}

/** The shape with its open dimension worked out. */
function reshaped(shape: readonly number[], { name, dims, count }: SourceOutput): readonly number[] {
  let known = 1;
  for (const size of shape) if (size >= 0) known *= size;
  const isOpen = shape.includes(-1);
  const open = known === 0 ? (dims[0] ?? 0) : count / known;
  const fits = isOpen ? Number.isInteger(open) && open * known === count : known === count;
  if (!fits) throw new AdaptError('misfit', `${name}: ${count} elements do not fill [${shape.join(', ')}]`);
  return isOpen ? shape.map((size) => (size === -1 ? open : size)) : shape;
}

function filled(rule: OutputRule, rows: number): MappedOutput {
  const { name, dtype, fill } = rule;
  if (fill === null) throw new AdaptError('misfit', `the answer has no output ${rule.from}`);
  const dims = (rule.shape ?? [-1]).map((size) => (size === -1 ? rows : size));
  const count = checkCount(
    name,
    dims.reduce((product, size) => product * size, 1),
  );
  if (dtype === DataType.STRING) checkTexts(name, count, Math.max(...fill.map((text) => text.length)));
  return { name, dtype, dims, count, source: -1, data: repeated(dtype, fill, count) };
}

/** `count` elements that repeat the values. */
export function repeated(dtype: number, texts: readonly string[], count: number): TensorData {
  const values = elementsOfText(dtype, texts);
  if (values === null) throw new AdaptError('misfit', `no ${dtypeName(dtype)}: ${texts.join(', ')}`);
  return repeatedData(values, count);
}

export function repeatedData(values: TensorData, count: number): TensorData {
  if (!ArrayBuffer.isView(values)) return Array.from({ length: count }, (_, i) => values[i % values.length]!);
  const Storage = values.constructor as new (length: number) => ElementArray;
  const out = new Storage(count);
  for (let i = 0; i < count; i++) out[i] = values[i % values.length]!;
  return out;
}

/** Texts of this length, as many as an answer claims to have rows: they must not cost more than an answer may have. */
function checkTexts(name: string, count: number, length: number): number {
  if (count * (length + TEXT_OVERHEAD) <= MAX_TEXT_BYTES) return count;
  throw new AdaptError('too_large', `${name}: ${count} texts`);
}

export function checkCount(name: string, count: number): number {
  if (count <= MAX_ADAPTED_ELEMENTS) return count;
  throw new AdaptError('too_large', `${name}: more than ${MAX_ADAPTED_ELEMENTS} elements`);
}
