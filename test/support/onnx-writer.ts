/**
 * Writes small ONNX models: just enough of ModelProto by hand to build graphs in a few lines, with no protobuf library.
 * Output is deterministic: the same calls give the same bytes. Field numbers are those of the public onnx.proto (IR 8).
 *
 *   new OnnxModel('double')
 *     .input('x', 'float32', ['batch', 2])
 *     .output('y', 'float32', ['batch', 2])
 *     .initializer('two', 'float32', [1], [2])
 *     .node('Mul', ['x', 'two'], ['y'])
 *     .build();
 */

const ELEMENT_TYPE = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
} as const;

/** Element types by onnxruntime's names. */
export type OnnxType = keyof typeof ELEMENT_TYPE;
/** A number is a fixed size, a non-empty string a symbolic one (`batch`), '' an unknown one without a name. */
export type OnnxDim = number | string;
export type OnnxValues = ArrayLike<number | bigint | string>;
/**
 * A whole number is written as INT, another number as FLOAT, a string as STRING; arrays likewise. Wrap a FLOAT that may
 * be whole in `{ float: 1 }`.
 */
export type OnnxAttribute = number | string | readonly number[] | { float: number } | OnnxTensor;
export interface OnnxTensor {
  type: OnnxType;
  dims: readonly number[];
  values: OnnxValues;
}

/** A graph under construction. Nodes must be added in an order that computes each value before it is used. */
export class OnnxModel {
  private readonly name: string;
  private readonly opset: number;
  private readonly inputs: Buffer[] = [];
  private readonly outputs: Buffer[] = [];
  private readonly initializers: Buffer[] = [];
  private readonly nodes: Buffer[] = [];

  constructor(name: string, opset = 17) {
    this.name = name;
    this.opset = opset;
  }

  input(name: string, type: OnnxType, shape: readonly OnnxDim[]): this {
    this.inputs.push(valueInfo(name, type, shape));
    return this;
  }

  output(name: string, type: OnnxType, shape: readonly OnnxDim[]): this {
    this.outputs.push(valueInfo(name, type, shape));
    return this;
  }

  initializer(name: string, type: OnnxType, dims: readonly number[], values: OnnxValues): this {
    this.initializers.push(tensorProto(name, { type, dims, values }));
    return this;
  }

  node(
    opType: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes: Readonly<Record<string, OnnxAttribute>> = {},
  ): this {
    this.nodes.push(
      Buffer.concat([
        ...inputs.map((input) => text(1, input)),
        ...outputs.map((output) => text(2, output)),
        text(3, `${opType}_${this.nodes.length}`),
        text(4, opType),
        ...Object.entries(attributes).map(([name, value]) => bytes(5, attributeProto(name, value))),
      ]),
    );
    return this;
  }

  /** The serialised ModelProto. */
  build(): Buffer {
    const graph = Buffer.concat([
      ...this.nodes.map((node) => bytes(1, node)),
      text(2, this.name),
      ...this.initializers.map((tensor) => bytes(5, tensor)),
      ...this.inputs.map((input) => bytes(11, input)),
      ...this.outputs.map((output) => bytes(12, output)),
    ]);
    return Buffer.concat([integer(1, 8), text(2, 'understudy'), bytes(7, graph), bytes(8, integer(2, this.opset))]);
  }
}

function valueInfo(name: string, type: OnnxType, shape: readonly OnnxDim[]): Buffer {
  const dims = shape.map((dim) =>
    bytes(1, typeof dim === 'number' ? integer(1, dim) : dim ? text(2, dim) : Buffer.alloc(0)),
  );
  const tensorType = Buffer.concat([integer(1, ELEMENT_TYPE[type]), bytes(2, Buffer.concat(dims))]);
  return Buffer.concat([text(1, name), bytes(2, bytes(1, tensorType))]);
}

function tensorProto(name: string, tensor: OnnxTensor): Buffer {
  const head = [...tensor.dims.map((dim) => integer(1, dim)), integer(2, ELEMENT_TYPE[tensor.type]), text(8, name)];
  if (tensor.type === 'string') {
    return Buffer.concat([...head, ...Array.from(tensor.values, (value) => text(6, String(value)))]);
  }
  return Buffer.concat([...head, bytes(9, rawData(tensor.type, tensor.values))]);
}

/** Little-endian element bytes, as raw_data wants them. float16 values are given as their 16 bits. */
function rawData(type: OnnxType, values: OnnxValues): Buffer {
  const whole = () => Array.from(values, Number);
  const big = () => Array.from(values, BigInt);
  switch (type) {
    case 'float32':
      return Buffer.from(new Float32Array(whole()).buffer);
    case 'float64':
      return Buffer.from(new Float64Array(whole()).buffer);
    case 'int8':
      return Buffer.from(new Int8Array(whole()).buffer);
    case 'uint8':
    case 'bool':
      return Buffer.from(new Uint8Array(whole()).buffer);
    case 'int16':
      return Buffer.from(new Int16Array(whole()).buffer);
    case 'uint16':
    case 'float16':
      return Buffer.from(new Uint16Array(whole()).buffer);
    case 'int32':
      return Buffer.from(new Int32Array(whole()).buffer);
    case 'uint32':
      return Buffer.from(new Uint32Array(whole()).buffer);
    case 'int64':
      return Buffer.from(new BigInt64Array(big()).buffer);
    case 'uint64':
      return Buffer.from(new BigUint64Array(big()).buffer);
    case 'string':
      throw new TypeError('strings have no raw form');
  }
}

function attributeProto(name: string, value: OnnxAttribute): Buffer {
  const named = (...fields: Buffer[]) => Buffer.concat([text(1, name), ...fields]);
  if (typeof value === 'string') return named(text(4, value), integer(20, 3));
  if (typeof value === 'number') {
    return Number.isInteger(value) ? named(integer(3, value), integer(20, 2)) : named(float(2, value), integer(20, 1));
  }
  if ('float' in value) return named(float(2, value.float), integer(20, 1));
  if ('type' in value) return named(bytes(5, tensorProto('', value)), integer(20, 4));
  return value.every(Number.isInteger)
    ? named(...value.map((entry) => integer(8, entry)), integer(20, 7))
    : named(...value.map((entry) => float(7, entry)), integer(20, 6));
}

// --- protobuf's wire format -----------------------------------------------------------------------------------------

function varint(value: number | bigint): Buffer {
  let rest = BigInt.asUintN(64, BigInt(value));
  const out: number[] = [];
  while (rest >= 0x80n) {
    out.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  out.push(Number(rest));
  return Buffer.from(out);
}

function integer(field: number, value: number): Buffer {
  return Buffer.concat([varint(field << 3), varint(value)]);
}

function float(field: number, value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeFloatLE(value);
  return Buffer.concat([varint((field << 3) | 5), out]);
}

function bytes(field: number, value: Buffer): Buffer {
  return Buffer.concat([varint((field << 3) | 2), varint(value.length), value]);
}

function text(field: number, value: string): Buffer {
  return bytes(field, Buffer.from(value, 'utf8'));
}
