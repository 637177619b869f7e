/** The same tensors in the JSON of both REST protocols, as a printer of our own and JSON.parse make and take it. */
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import type { Message } from '../../../support/proto-codecs.ts';
import { type Output, ofRaw, rawOf, type Value } from './answer-tensors.ts';

/** The head of a JSON answer. */
export const HEAD = HeaderList.of([':status', '200'], ['content-type', 'application/json']);

function jsonValue({ type, values }: Output, i: number): string {
  const value = values[i]!;
  if (type !== 'FP32' && type !== 'FP64') return typeof value === 'bigint' ? String(value) : JSON.stringify(value);
  const text = String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

function nested(output: Output, from: number, dims: readonly number[]): string {
  if (dims.length === 0) return jsonValue(output, from);
  const step = dims.slice(1).reduce((product, size) => product * size, 1);
  return `[${Array.from({ length: dims[0]! }, (_, i) => nested(output, from + i * step, dims.slice(1))).join(', ')}]`;
}

function width({ dims, values }: Output): number {
  return dims[0] === 0 ? 0 : values.length / dims[0]!;
}

/** The row format of TensorFlow Serving. */
export function rowsOf(outputs: readonly Output[]): Buffer {
  const rows = Array.from({ length: outputs[0]!.dims[0]! }, (_, row) => {
    const members = outputs.map((one) => `"${one.name}": ${nested(one, row * width(one), one.dims.slice(1))}`);
    return `{ ${members.join(', ')} }`;
  });
  return Buffer.from(`{"predictions": [${rows.join(',')}]}`);
}

/** The column format of TensorFlow Serving. */
export function columnsOf(outputs: readonly Output[]): Buffer {
  return Buffer.from(`{"outputs": {${outputs.map((one) => `"${one.name}": ${nested(one, 0, one.dims)}`).join(',')}}}`);
}

/** Reads JSON with exact integers. */
export function parse(text: Buffer): Message {
  const exact = (_: string, value: unknown, { source }: { source?: string }) =>
    typeof value === 'number' && /^-?\d{16,}$/.test(source ?? '') ? BigInt(source!) : value;
  return (JSON.parse as (text: string, revive: unknown) => Message)(text.toString(), exact);
}

function flat(value: unknown): Value[] {
  return Array.isArray(value) ? value.flatMap(flat) : [value as Value];
}

function dimsOf(value: unknown): number[] {
  return Array.isArray(value) ? [value.length, ...dimsOf(value[0])] : [];
}

export function ofColumns(bytes: Buffer): Output[] {
  const { outputs } = parse(bytes);
  const isNamed = typeof outputs === 'object' && !Array.isArray(outputs);
  const named: [string, unknown][] = isNamed ? Object.entries(outputs) : [['', outputs]];
  return named.map(([name, value]) => ({ name, type: 'FP64', dims: dimsOf(value), values: flat(value) }));
}

export function ofRows(bytes: Buffer): Output[] {
  const { predictions } = parse(bytes) as { predictions: Record<string, unknown>[] };
  const isNamed = predictions.length > 0 && typeof predictions[0] === 'object' && !Array.isArray(predictions[0]);
  const names = isNamed ? Object.keys(predictions[0]!) : [''];
  return names.map((name) => {
    const value = isNamed ? predictions.map((row) => row[name]) : predictions;
    return { name, type: 'FP64', dims: dimsOf(value), values: flat(value) };
  });
}

/** An answer to infer, its tensors in JSON or binary behind it. */
export function inferJsonOf(outputs: readonly Output[], binary: boolean): [Buffer, HeaderList] {
  const parts = outputs.map((output) => {
    const { name, type, dims } = output;
    const data = binary
      ? `"parameters":{"binary_data_size":${rawOf(output).length}}`
      : `"data":${nested(output, 0, [output.values.length])}`;
    return `{"name":"${name}","datatype":"${type}","shape":[${dims.join(',')}],${data}}`;
  });
  const json = Buffer.from(`{"model_name":"lite","model_version":"7","id":"request-1","outputs":[${parts.join(',')}]}`);
  if (!binary) return [json, HEAD];
  const head = HeaderList.of([':status', '200'], ['inference-header-content-length', String(json.length)]);
  return [Buffer.concat([json, ...outputs.map(rawOf)]), head];
}

export function ofInferJson(head: HeaderList, body: Buffer): Output[] {
  const jsonBytes = Number(head.get('inference-header-content-length') ?? body.length);
  const { outputs } = parse(body.subarray(0, jsonBytes));
  let at = jsonBytes;
  return outputs.map(({ name, datatype, shape, data, parameters }: Message) => {
    const size = parameters?.binary_data_size as number | undefined;
    const values = size === undefined ? flat(data) : ofRaw(datatype, body.subarray(at, at + size));
    at += size ?? 0;
    return { name, type: datatype, dims: shape, values };
  });
}
