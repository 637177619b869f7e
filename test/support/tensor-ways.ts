/**
 * A tensor sent as `x` to a model that gives it back as `y`, in every form TensorFlow Serving's and the Open Inference
 * Protocol have for it: what came back, as text to compare with `held`.
 */

import { ANY_TYPES, type AnyTensor, elementsOfJson, jsonOf } from './any-tensor.ts';
import type { Message } from './proto-codecs.ts';

/** How requests get there and answers back. Both reject for what is no success. */
export interface TensorTransport {
  /** The name of the model that gives tensors of this type and rank back. */
  modelOf(tensor: AnyTensor): string;
  predict(request: object): Promise<Message>;
  infer(request: object): Promise<Message>;
  post(path: string, body: string | Buffer, headers?: Record<string, string>): Promise<HttpAnswer>;
}

export interface HttpAnswer {
  readonly bytes: Buffer;
  readonly headers: Readonly<Record<string, unknown>>;
}

const datatypeOf = ({ dtype }: AnyTensor): string => ANY_TYPES.find(([, number]) => number === dtype)![2];

/** What a tensor holds, for comparison. */
export function held({ strings, bytes }: AnyTensor): string {
  return strings === null ? bytes.toString('hex') : JSON.stringify(strings);
}

function shown(elements: Buffer | string[]): string {
  return Array.isArray(elements) ? JSON.stringify(elements) : elements.toString('hex');
}

/** Strings with a length of four bytes in front of each. */
function withLengths(strings: readonly string[]): Buffer {
  return Buffer.concat(
    strings.flatMap((text) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(Buffer.byteLength(text));
      return [length, Buffer.from(text)];
    }),
  );
}

function withoutLengths(bytes: Buffer): string[] {
  const strings: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt32LE(at);
    strings.push(bytes.toString('utf8', at + 4, end));
    at = end;
  }
  return strings;
}

const rawOf = ({ strings, bytes }: AnyTensor): Buffer => (strings === null ? bytes : withLengths(strings));
const rawShown = (tensor: AnyTensor, raw: Buffer): string => shown(tensor.strings === null ? raw : withoutLengths(raw));

async function throughTfsGrpc(via: TensorTransport, tensor: AnyTensor): Promise<string> {
  const x = {
    dtype: tensor.dtype,
    tensor_shape: { dim: tensor.dims.map((size) => ({ size })) },
    ...(tensor.strings === null
      ? { tensor_content: tensor.bytes }
      : { string_val: tensor.strings.map((s) => Buffer.from(s)) }),
  };
  const { outputs } = await via.predict({ model_spec: { name: via.modelOf(tensor) }, inputs: { x } });
  if (tensor.strings !== null) return JSON.stringify(outputs.y.string_val.map(String));
  if (outputs.y.tensor_content.length > 0) return shown(outputs.y.tensor_content);
  const lists = ['float_val', 'double_val', 'int_val', 'int64_val', 'bool_val', 'half_val', 'uint32_val', 'uint64_val'];
  const list = lists.map((name) => outputs.y[name]).find((values) => values.length > 0) ?? [];
  const text = tensor.type === 'float16' ? halves(list) : JSON.stringify(list).replace(/"/g, '');
  return shown(elementsOfJson(tensor.type, tensor.dtype, text.replace(/null/g, 'NaN')));
}

function halves(bits: number[]): string {
  return Array.from(new Float16Array(Uint16Array.from(bits).buffer), (half) =>
    Object.is(half, -0) ? '-0' : String(half),
  ).join(',');
}

/** JSON without a shape beside it cannot say what stands behind an empty dimension, and rows cannot say a scalar. */
function fitsJson({ dims }: AnyTensor, format: 'instances' | 'inputs'): boolean {
  return !dims.slice(0, -1).includes(0) && (dims.length > 0 || format === 'inputs');
}

async function throughTfsRest(
  via: TensorTransport,
  tensor: AnyTensor,
  format: 'instances' | 'inputs',
): Promise<string> {
  if (!fitsJson(tensor, format)) return held(tensor);
  const { bytes } = await via.post(`/v1/models/${via.modelOf(tensor)}:predict`, `{"${format}": ${jsonOf(tensor)}}`);
  const values = /": ([\s\S]*)\}$/.exec(bytes.toString())![1]!;
  return shown(elementsOfJson(tensor.type, tensor.dtype, values));
}

async function throughOipGrpc(via: TensorTransport, tensor: AnyTensor): Promise<string> {
  const answer = await via.infer({
    model_name: via.modelOf(tensor),
    inputs: [{ name: 'x', datatype: datatypeOf(tensor), shape: tensor.dims }],
    raw_input_contents: [rawOf(tensor)],
  });
  if (String(answer.outputs[0].shape) !== String(tensor.dims)) throw new Error(`shape ${answer.outputs[0].shape}`);
  return rawShown(tensor, answer.raw_output_contents[0]);
}

const CONTENTS: Record<string, string> = {
  BOOL: 'bool_contents',
  INT8: 'int_contents',
  INT16: 'int_contents',
  INT32: 'int_contents',
  INT64: 'int64_contents',
  UINT8: 'uint_contents',
  UINT16: 'uint_contents',
  UINT32: 'uint_contents',
  UINT64: 'uint64_contents',
  FP32: 'fp32_contents',
  FP64: 'fp64_contents',
  BYTES: 'bytes_contents',
};

async function throughOipContents(via: TensorTransport, tensor: AnyTensor): Promise<string> {
  const field = CONTENTS[datatypeOf(tensor)];
  if (field === undefined) return held(tensor);
  const values =
    tensor.strings?.map((text) => Buffer.from(text)) ??
    Array.from(tensor.elements as ArrayLike<number | bigint>, (value) =>
      typeof value === 'bigint' ? String(value) : tensor.type === 'bool' ? value === 1 : value,
    );
  const answer = await via.infer({
    model_name: via.modelOf(tensor),
    inputs: [{ name: 'x', datatype: datatypeOf(tensor), shape: tensor.dims, contents: { [field]: values } }],
  });
  const back = answer.outputs[0].contents?.[field] ?? [];
  if (tensor.strings !== null) return JSON.stringify(back.map(String));
  const text = back.map((value: unknown) => (Object.is(value, -0) ? '-0' : String(value))).join(',');
  return shown(elementsOfJson(tensor.type, tensor.dtype, text));
}

async function throughOipRest(via: TensorTransport, tensor: AnyTensor): Promise<string> {
  if (tensor.type === 'float16') return held(tensor);
  const data = tensor.dims.length === 0 ? `[${jsonOf(tensor)}]` : jsonOf(tensor);
  const input = `{"name":"x","datatype":"${datatypeOf(tensor)}","shape":[${tensor.dims}],"data":${data}}`;
  const { bytes } = await via.post(`/v2/models/${via.modelOf(tensor)}/infer`, `{"inputs":[${input}]}`);
  const back = /"data":(\[[\s\S]*\])\}\]\}$/.exec(bytes.toString())![1]!;
  return shown(elementsOfJson(tensor.type, tensor.dtype, back));
}

async function throughOipBinary(via: TensorTransport, tensor: AnyTensor): Promise<string> {
  const raw = rawOf(tensor);
  const json = JSON.stringify({
    inputs: [
      { name: 'x', datatype: datatypeOf(tensor), shape: tensor.dims, parameters: { binary_data_size: raw.length } },
    ],
    outputs: [{ name: 'y', parameters: { binary_data: true } }],
  });
  const body = Buffer.concat([Buffer.from(json), raw]);
  const { bytes, headers } = await via.post(`/v2/models/${via.modelOf(tensor)}/infer`, body, {
    'inference-header-content-length': String(json.length),
  });
  const jsonBytes = Number(headers['inference-header-content-length']);
  const [output] = JSON.parse(bytes.toString('utf8', 0, jsonBytes)).outputs;
  const size = output.parameters.binary_data_size;
  if (String(output.shape) !== String(tensor.dims) || size !== bytes.length - jsonBytes)
    throw new Error(`${size} bytes`);
  return rawShown(tensor, bytes.subarray(jsonBytes));
}

/** What comes back in each form. */
export function everyWay(via: TensorTransport, tensor: AnyTensor): Promise<string[]> {
  return Promise.all([
    throughTfsGrpc(via, tensor),
    throughTfsRest(via, tensor, 'instances'),
    throughTfsRest(via, tensor, 'inputs'),
    throughOipGrpc(via, tensor),
    throughOipContents(via, tensor),
    throughOipRest(via, tensor),
    throughOipBinary(via, tensor),
  ]);
}
