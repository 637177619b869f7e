/**
 * Writes ONNX model files: the few protobuf messages of the format that a feed-forward model needs, by field number.
 *
 * Owns the wire form only; what the graph means is the caller's. Rule: the same description gives the same bytes
 * (fields in ascending order, no maps), so a model file can be compared by hash.
 */
/** Element types of TensorProto.DataType that these models use. */
export const OnnxType = { FLOAT: 1, INT64: 7 } as const;

/** A constant tensor of the graph; int64 data as BigInt64Array. */
export interface OnnxConstant {
  readonly name: string;
  readonly dims: readonly number[];
  readonly data: Float32Array | BigInt64Array;
}

/** A graph input or output; a string among `dims` names a dimension known only at run time. */
export interface OnnxValue {
  readonly name: string;
  readonly type: number;
  readonly dims: readonly (number | string)[];
}

export interface OnnxNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Whole numbers become INT attributes. */
  readonly attributes?: Readonly<Record<string, number>>;
}

export interface OnnxModel {
  readonly name: string;
  /** Version of the model itself. */
  readonly version: number;
  readonly documentation: string;
  readonly opset: number;
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly constants: readonly OnnxConstant[];
  /** In topological order. */
  readonly nodes: readonly OnnxNode[];
  /** Free-form facts kept in the file. */
  readonly metadata: readonly (readonly [key: string, value: string])[];
}

const IR_VERSION = 8;
const ATTRIBUTE_TYPE_INT = 2;

/** Encodes `model` as a ModelProto. */
export function encodeOnnxModel(model: OnnxModel): Buffer {
  const out = new MessageWriter();
  out.int(1, IR_VERSION);
  out.text(2, 'understudy');
  out.int(5, model.version);
  out.text(6, model.documentation);
  out.message(7, encodeGraph(model));
  out.message(8, new MessageWriter().int(2, model.opset));
  for (const [key, value] of model.metadata) out.message(14, new MessageWriter().text(1, key).text(2, value));
  return out.bytes();
}

function encodeGraph(model: OnnxModel): MessageWriter {
  const out = new MessageWriter();
  for (const node of model.nodes) out.message(1, encodeNode(node));
  out.text(2, model.name);
  for (const constant of model.constants) out.message(5, encodeTensor(constant));
  for (const input of model.inputs) out.message(11, encodeValueInfo(input));
  for (const output of model.outputs) out.message(12, encodeValueInfo(output));
  return out;
}

function encodeNode(node: OnnxNode): MessageWriter {
  const out = new MessageWriter();
  for (const input of node.inputs) out.text(1, input);
  for (const output of node.outputs) out.text(2, output);
  out.text(3, `${node.outputs[0]}/${node.op}`);
  out.text(4, node.op);
  for (const [name, value] of Object.entries(node.attributes ?? {})) {
    out.message(5, new MessageWriter().text(1, name).int(3, value).int(20, ATTRIBUTE_TYPE_INT));
  }
  return out;
}

function encodeTensor(constant: OnnxConstant): MessageWriter {
  const out = new MessageWriter();
  for (const dim of constant.dims) out.int(1, dim);
  out.int(2, constant.data instanceof Float32Array ? OnnxType.FLOAT : OnnxType.INT64);
  out.text(8, constant.name);
  out.raw(9, littleEndian(constant.data));
  return out;
}

function encodeValueInfo(value: OnnxValue): MessageWriter {
  const shape = new MessageWriter();
  for (const dim of value.dims) {
    const dimension = new MessageWriter();
    if (typeof dim === 'string') dimension.text(2, dim);
    else dimension.int(1, dim);
    shape.message(1, dimension);
  }
  const tensorType = new MessageWriter().int(1, value.type).message(2, shape);
  return new MessageWriter().text(1, value.name).message(2, new MessageWriter().message(1, tensorType));
}

/** The file format is little-endian whatever the machine. */
function littleEndian(data: Float32Array | BigInt64Array): Buffer {
  const bytes = Buffer.alloc(data.byteLength);
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    if (typeof value === 'bigint') bytes.writeBigInt64LE(value, i * 8);
    else bytes.writeFloatLE(value, i * 4);
  }
  return bytes;
}

/** One protobuf message in the making; fields are written in the order of the calls. */
class MessageWriter {
  readonly #chunks: Buffer[] = [];

  /** A varint field; `value` is a whole number from 0 to 2^53 - 1. */
  int(field: number, value: number): this {
    this.#chunks.push(varint(field * 8), varint(value));
    return this;
  }

  text(field: number, value: string): this {
    return this.raw(field, Buffer.from(value));
  }

  message(field: number, value: MessageWriter): this {
    return this.raw(field, value.bytes());
  }

  raw(field: number, value: Buffer): this {
    this.#chunks.push(varint(field * 8 + 2), varint(value.length), value);
    return this;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let left = value;
  while (left >= 128) {
    bytes.push((left % 128) + 128);
    left = Math.floor(left / 128);
  }
  bytes.push(left);
  return Buffer.from(bytes);
}
