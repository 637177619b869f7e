/** Tensors in the messages of both gRPC protocols, as proto-loader writes and reads them. */
import { dtypeFromOip, dtypeToOip } from '../../../../proto/tensor/dtype.ts';
import { decodeMessage, encodeMessage, type Message } from '../../../support/proto-codecs.ts';

export type Value = number | bigint | string | boolean;

/** A tensor of an answer, its values in one list, row by row. */
export interface Output {
  readonly name: string;
  readonly type: 'FP32' | 'FP64' | 'INT32' | 'INT64' | 'UINT8' | 'BOOL' | 'BYTES';
  readonly dims: readonly number[];
  readonly values: readonly Value[];
}

/** A message behind the prefix that gRPC gives it. */
export function framed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

const LISTS = {
  FP32: 'float_val',
  FP64: 'double_val',
  INT32: 'int_val',
  UINT8: 'int_val',
  INT64: 'int64_val',
  BOOL: 'bool_val',
  BYTES: 'string_val',
} as const;

const CONTENTS = {
  FP32: 'fp32_contents',
  FP64: 'fp64_contents',
  INT32: 'int_contents',
  UINT8: 'uint_contents',
  INT64: 'int64_contents',
  BOOL: 'bool_contents',
  BYTES: 'bytes_contents',
} as const;

function wireValues({ type, values }: Output): unknown[] {
  return values.map((value) =>
    type === 'BYTES' ? Buffer.from(String(value)) : typeof value === 'bigint' ? String(value) : value,
  );
}

function readValues(type: Output['type'], list: readonly unknown[]): Value[] {
  return list.map((value) => {
    if (type === 'BYTES') return Buffer.from(value as Uint8Array).toString();
    return type === 'INT64' ? BigInt(value as string) : (value as Value);
  });
}

export function predictOf(outputs: readonly Output[], asContent: boolean): Buffer {
  const tensors = Object.fromEntries(
    outputs.map((output) => {
      const { name, type, dims } = output;
      const shape = { tensor_shape: { dim: dims.map((size) => ({ size })) } };
      const content = asContent && type !== 'BYTES';
      const elements = content ? { tensor_content: rawOf(output) } : { [LISTS[type]]: wireValues(output) };
      return [name, { dtype: dtypeFromOip(type), ...shape, ...elements }];
    }),
  );
  const model_spec = { name: 'lite', version: { value: 7 }, signature_name: 'sig' };
  return encodeMessage('tensorflow.serving.PredictResponse', { outputs: tensors, model_spec });
}

export function ofPredict(bytes: Buffer): Output[] {
  const { outputs } = decodeMessage('tensorflow.serving.PredictResponse', bytes);
  return Object.entries(outputs as Record<string, Message>).map(([name, tensor]) => {
    const type = dtypeToOip(tensor.dtype) as Output['type'];
    const dims = tensor.tensor_shape.dim.map(({ size }: { size: string }) => Number(size));
    const content = tensor.tensor_content as Buffer;
    const values = content.length > 0 ? ofRaw(type, content) : readValues(type, tensor[LISTS[type]]);
    return { name, type, dims, values };
  });
}

const ARRAYS = {
  FP32: Float32Array,
  FP64: Float64Array,
  INT32: Int32Array,
  UINT8: Uint8Array,
  INT64: BigInt64Array,
  BOOL: Uint8Array,
} as const;

/** Values as the Open Inference Protocol sends them raw. */
export function rawOf({ type, values }: Output): Buffer {
  if (type === 'BYTES') {
    return Buffer.concat(
      values.map((value) => {
        const text = Buffer.from(String(value));
        const length = Buffer.alloc(4);
        length.writeUInt32LE(text.length);
        return Buffer.concat([length, text]);
      }),
    );
  }
  const array = new ARRAYS[type](values.length);
  values.forEach((value, i) => {
    array[i] = (typeof value === 'boolean' ? Number(value) : value) as never;
  });
  return Buffer.from(array.buffer);
}

export function ofRaw(type: Output['type'], bytes: Buffer): Value[] {
  if (type === 'BYTES') {
    const texts: string[] = [];
    for (let at = 0; at < bytes.length; ) {
      const end = at + 4 + bytes.readUInt32LE(at);
      texts.push(bytes.toString('utf8', at + 4, end));
      at = end;
    }
    return texts;
  }
  const memory = new Uint8Array(bytes).buffer;
  const values = Array.from(new ARRAYS[type](memory) as ArrayLike<number | bigint>);
  return type === 'BOOL' ? values.map((value) => value === 1) : values;
}

export function inferOf(outputs: readonly Output[], raw: boolean): Buffer {
  return encodeMessage('inference.ModelInferResponse', {
    model_name: 'lite',
    model_version: '7',
    id: 'request-1',
    parameters: { hint: { string_param: 'kept' } },
    outputs: outputs.map((output) => ({
      name: output.name,
      datatype: output.type,
      shape: output.dims.map(String),
      parameters: { of: { string_param: output.name } },
      ...(raw ? {} : { contents: { [CONTENTS[output.type]]: wireValues(output) } }),
    })),
    raw_output_contents: raw ? outputs.map(rawOf) : [],
  });
}

export function ofInfer(bytes: Buffer): Output[] {
  const message = decodeMessage('inference.ModelInferResponse', bytes);
  return message.outputs.map(({ name, datatype, shape, contents }: Message, i: number) => {
    const type = datatype as Output['type'];
    const raw = message.raw_output_contents[i] as Buffer | undefined;
    const values = raw === undefined ? readValues(type, contents?.[CONTENTS[type]] ?? []) : ofRaw(type, raw);
    return { name, type, dims: shape.map(Number), values };
  });
}
