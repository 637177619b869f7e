/**
 * Adapted answers: whatever carries them, the numbers are those of a computation that knows nothing of wires. Answers are
 * written and read by proto-loader and JSON.parse.
 */
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { DataType, dtypeFromOip, dtypeToOip } from '../../../../proto/tensor/dtype.ts';
import { AdaptError } from '../../../../proxy/adapt/adapt-error.ts';
import { adaptGrpc, adaptInferMessage, adaptRest, changes } from '../../../../proxy/adapt/answer-adapter.ts';
import type { AnswerChange } from '../../../../proxy/adapt/output-mapping.ts';
import type { OutputMapping, OutputRule } from '../../../../proxy/config/answer-policy.ts';
import { decodeMessage, encodeMessage, type Message } from '../../../support/proto-codecs.ts';

type Value = number | bigint | string | boolean;

interface Output {
  readonly name: string;
  readonly type: 'FP32' | 'FP64' | 'INT32' | 'INT64' | 'UINT8' | 'BOOL' | 'BYTES';
  readonly dims: readonly number[];
  readonly values: readonly Value[];
}

/** A form that an answer travels in. */
interface Form {
  readonly name: string;
  /** Whether the form says the type of its elements. */
  readonly typed: boolean;
  readonly adapt: (outputs: readonly Output[], change: AnswerChange) => Output[];
}

const HEAD = HeaderList.of([':status', '200'], ['content-type', 'application/json']);

function framed(message: Buffer): Buffer {
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

function predictOf(outputs: readonly Output[], asContent: boolean): Buffer {
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

function ofPredict(bytes: Buffer): Output[] {
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

function rawOf({ type, values }: Output): Buffer {
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

function ofRaw(type: Output['type'], bytes: Buffer): Value[] {
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

function inferOf(outputs: readonly Output[], raw: boolean): Buffer {
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

function ofInfer(bytes: Buffer): Output[] {
  const message = decodeMessage('inference.ModelInferResponse', bytes);
  return message.outputs.map(({ name, datatype, shape, contents }: Message, i: number) => {
    const type = datatype as Output['type'];
    const raw = message.raw_output_contents[i] as Buffer | undefined;
    const values = raw === undefined ? readValues(type, contents?.[CONTENTS[type]] ?? []) : ofRaw(type, raw);
    return { name, type, dims: shape.map(Number), values };
  });
}

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

function rowsOf(outputs: readonly Output[]): Buffer {
  const rows = Array.from({ length: outputs[0]!.dims[0]! }, (_, row) => {
    const members = outputs.map((one) => `"${one.name}": ${nested(one, row * width(one), one.dims.slice(1))}`);
    return `{ ${members.join(', ')} }`;
  });
  return Buffer.from(`{"predictions": [${rows.join(',')}]}`);
}

function columnsOf(outputs: readonly Output[]): Buffer {
  return Buffer.from(`{"outputs": {${outputs.map((one) => `"${one.name}": ${nested(one, 0, one.dims)}`).join(',')}}}`);
}

/** Reads JSON with exact integers. */
function parse(text: Buffer): Message {
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

function ofColumns(bytes: Buffer): Output[] {
  const { outputs } = parse(bytes);
  const isNamed = typeof outputs === 'object' && !Array.isArray(outputs);
  const named: [string, unknown][] = isNamed ? Object.entries(outputs) : [['', outputs]];
  return named.map(([name, value]) => ({ name, type: 'FP64', dims: dimsOf(value), values: flat(value) }));
}

function ofRows(bytes: Buffer): Output[] {
  const { predictions } = parse(bytes) as { predictions: Record<string, unknown>[] };
  const isNamed = predictions.length > 0 && typeof predictions[0] === 'object' && !Array.isArray(predictions[0]);
  const names = isNamed ? Object.keys(predictions[0]!) : [''];
  return names.map((name) => {
    const value = isNamed ? predictions.map((row) => row[name]) : predictions;
    return { name, type: 'FP64', dims: dimsOf(value), values: flat(value) };
  });
}

function inferJsonOf(outputs: readonly Output[], binary: boolean): [Buffer, HeaderList] {
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

function ofInferJson(head: HeaderList, body: Buffer): Output[] {
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

function overGrpc(
  name: string,
  method: string,
  encode: (outputs: readonly Output[]) => Buffer,
  decode: (bytes: Buffer) => Output[],
): Form {
  return {
    name,
    typed: true,
    adapt: (outputs, change) => {
      const answer = framed(encode(outputs));
      return decode(adaptGrpc(method, answer, answer.length, undefined, change).subarray(5));
    },
  };
}

function overRest(
  name: string,
  encode: (outputs: readonly Output[]) => Buffer,
  decode: (bytes: Buffer) => Output[],
): Form {
  return {
    name,
    typed: false,
    adapt: (outputs, change) => {
      const body = encode(outputs);
      return decode(adaptRest('Predict', HEAD, body, body.length, change).body);
    },
  };
}

const FORMS: readonly Form[] = [
  overGrpc('Predict, values', 'Predict', (outputs) => predictOf(outputs, false), ofPredict),
  overGrpc('Predict, content', 'Predict', (outputs) => predictOf(outputs, true), ofPredict),
  overGrpc('ModelInfer, typed', 'ModelInfer', (outputs) => inferOf(outputs, false), ofInfer),
  overGrpc('ModelInfer, raw', 'ModelInfer', (outputs) => inferOf(outputs, true), ofInfer),
  overRest('REST rows', rowsOf, ofRows),
  overRest('REST columns', columnsOf, ofColumns),
  ...[false, true].map(
    (binary): Form => ({
      name: binary ? 'REST infer, binary' : 'REST infer',
      typed: true,
      adapt: (outputs, change) => {
        const [body, head] = inferJsonOf(outputs, binary);
        const adapted = adaptRest('infer', head, body, body.length, change);
        return ofInferJson(adapted.head, adapted.body);
      },
    }),
  ),
  {
    name: 'a message of a stream',
    typed: true,
    adapt: (outputs, change) => {
      const message = inferOf(outputs, true);
      return ofInfer(adaptInferMessage(message, 0, message.length, change));
    },
  },
];

const KEEP: Omit<OutputRule, 'name' | 'from'> = {
  dtype: 0,
  shape: null,
  rounding: 'nearest',
  overflow: 'saturate',
  fill: null,
};

function changeOf(mapping: OutputMapping | null, more: Partial<AnswerChange> = {}): AnswerChange {
  return { mapping, soleOutput: mapping?.soleOutput ?? '', specName: '', versionOutput: '', versionText: '', ...more };
}

/** The cast as a person would write it down. */
function reference(value: Value, to: Output['type']): Value {
  if (typeof value === 'boolean') value = value ? 1 : 0;
  if (to === 'BOOL') return Number(value) !== 0;
  if (to === 'FP64') return Number(value);
  if (to === 'FP32')
    return Math.fround(Math.max(-3.4028234663852886e38, Math.min(3.4028234663852886e38, Number(value))));
  const bits = to === 'INT64' ? 63n : to === 'INT32' ? 31n : 8n;
  const [least, most] = to === 'UINT8' ? [0n, 255n] : [-(1n << bits), (1n << bits) - 1n];
  let whole = typeof value === 'bigint' ? value : 0n;
  if (typeof value === 'number') {
    const near = Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);
    whole = BigInt(near);
  }
  const bounded = whole < least ? least : whole > most ? most : whole;
  return to === 'INT64' ? bounded : Number(bounded);
}

const VALUES: Record<Exclude<Output['type'], 'UINT8'>, fc.Arbitrary<Value>> = {
  FP32: fc.oneof(
    fc.float({ noNaN: true, noDefaultInfinity: true }).filter((value) => !Object.is(value, -0)),
    fc.integer({ min: -9, max: 9 }).map((twice) => twice / 2),
  ),
  FP64: fc
    .double({ noNaN: true, noDefaultInfinity: true, min: -1e300, max: 1e300 })
    .filter((value) => !Object.is(value, -0)),
  INT32: fc.integer(),
  INT64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  BOOL: fc.boolean(),
  BYTES: fc.string({ unit: 'grapheme', maxLength: 6 }),
};

const anyOutput = (name: string, rows: number): fc.Arbitrary<Output> =>
  fc
    .tuple(fc.constantFrom('FP32', 'FP64', 'INT32', 'INT64', 'BOOL', 'BYTES'), fc.constantFrom([], [1], [2], [3, 2]))
    .chain(([type, inner]) => {
      const dims = [rows, ...inner];
      const count = dims.reduce((product, size) => product * size, 1);
      const values = fc.array(VALUES[type as keyof typeof VALUES], { minLength: count, maxLength: count });
      return values.map((list) => ({ name, type: type as Output['type'], dims, values: list }));
    });

/** Two outputs, of which the first is renamed, perhaps cast and flattened, a constant is filled in and the rest goes. */
const anyCase = fc.integer({ min: 1, max: 3 }).chain((rows) =>
  fc.record({
    outputs: fc.tuple(anyOutput('x', rows), anyOutput('z', rows)),
    to: fc.constantFrom<Output['type'] | 'same'>('FP32', 'FP64', 'INT32', 'INT64', 'UINT8', 'BOOL', 'same'),
    flatten: fc.boolean(),
    keeps: fc.boolean(),
  }),
);

function sameNumber(a: Value, b: Value): boolean {
  if (typeof a === 'bigint' || typeof b === 'bigint') return BigInt(a) === BigInt(b);
  return Object.is(a, b) || (a === 0 && b === 0);
}

function check(
  form: Form,
  got: Output | undefined,
  name: string,
  type: string,
  dims: readonly number[],
  values: readonly Value[],
): void {
  if (got === undefined) throw new Error(`${form.name}: no ${name}`);
  if (form.typed && got.type !== type) throw new Error(`${form.name}: ${name} is ${got.type}, not ${type}`);
  if (JSON.stringify(got.dims) !== JSON.stringify(dims))
    throw new Error(`${form.name}: ${name} is ${got.dims}, not ${dims}`);
  // Text shows a float32 as its shortest decimal.
  const isText = !form.typed || form.name === 'REST infer';
  const settled = isText && type === 'FP32' ? got.values.map((value) => Math.fround(Number(value))) : got.values;
  values.forEach((value, i) => {
    if (sameNumber(value, settled[i]!)) return;
    throw new Error(`${form.name}: ${name}[${i}] is ${settled[i]}, not ${value}`);
  });
}

t.test('random answers come out of every protocol as a computation without wires makes them', async () => {
  fc.assert(
    fc.property(anyCase, ({ outputs, to, flatten, keeps }) => {
      const [x, z] = outputs;
      const isCast = to !== 'same' && x.type !== 'BYTES';
      const type = isCast ? to : x.type;
      const shape = flatten ? [-1] : null;
      const dims = flatten ? [x.values.length] : x.dims;
      // Rows of different numbers fit no row format.
      const forms = FORMS.filter(({ name }) => name !== 'REST rows' || dims[0] === x.dims[0]);
      const values = isCast ? x.values.map((value) => reference(value, to)) : x.values;
      const mapping: OutputMapping = {
        inputs: [],
        outputs: [
          { ...KEEP, name: 'y', from: 'x', dtype: isCast ? dtypeFromOip(to) : 0, shape },
          {
            ...KEEP,
            name: 'confidence',
            from: 'confidence',
            dtype: DataType.FLOAT,
            shape: [-1, 2],
            fill: ['0.5', '0.25'],
          },
        ],
        keepsOthers: keeps,
        soleOutput: '',
      };
      const rows = x.dims[0]!;
      for (const form of forms) {
        const got = form.adapt(outputs, changeOf(mapping, { versionOutput: 'model_version', versionText: 'lite@7' }));
        const byName = new Map(got.map((output) => [output.name, output]));
        check(form, byName.get('y'), 'y', type, dims, values);
        const filled = Array.from({ length: rows * 2 }, (_, i) => (i % 2 === 0 ? 0.5 : 0.25));
        check(form, byName.get('confidence'), 'confidence', 'FP32', [rows, 2], filled);
        check(form, byName.get('model_version'), 'model_version', 'BYTES', [rows], new Array(rows).fill('lite@7'));
        if (keeps) check(form, byName.get('z'), 'z', z.type, z.dims, z.values);
        if (byName.has('x') || byName.has('z') !== keeps) throw new Error(`${form.name}: ${[...byName.keys()]}`);
      }
    }),
    { numRuns: 150 },
  );
});

const ONE: Output = { name: 'score', type: 'FP32', dims: [2, 1], values: [0.25, 0.5] };

t.test('the model spec keeps the name that was asked for, and has no version of another model', async (test) => {
  const change = changeOf(null, { specName: 'credit-risk' });
  const predict = framed(predictOf([ONE], false));
  const spec = decodeMessage(
    'tensorflow.serving.PredictResponse',
    adaptGrpc('Predict', predict, predict.length, undefined, change).subarray(5),
  );
  test.match(spec.model_spec, { name: 'credit-risk', version: null, signature_name: 'sig' });
  const infer = framed(inferOf([ONE], true));
  const message = decodeMessage(
    'inference.ModelInferResponse',
    adaptGrpc('ModelInfer', infer, infer.length, undefined, change).subarray(5),
  );
  test.match(message, { model_name: 'credit-risk', model_version: '', id: 'request-1' });
  test.equal(message.parameters.hint.string_param, 'kept');
  test.equal(message.outputs[0].parameters.of.string_param, 'score');
  const [body, head] = inferJsonOf([ONE], false);
  const rest = parse(adaptRest('infer', head, body, body.length, change).body);
  test.match(rest, { model_name: 'credit-risk', id: 'request-1' });
  test.equal(rest.model_version, undefined);
  const classify = encodeMessage('tensorflow.serving.ClassificationResponse', {
    result: { classifications: [{ classes: [{ label: 'a', score: 1 }] }] },
    model_spec: { name: 'lite', version: { value: 7 } },
  });
  test.ok(changes('Classify', false, change));
  const scored = adaptGrpc('Classify', framed(classify), classify.length + 5, undefined, change).subarray(5);
  const { model_spec, result } = decodeMessage('tensorflow.serving.ClassificationResponse', scored);
  test.match(model_spec, { name: 'credit-risk', version: null });
  test.equal(result.classifications[0].classes[0].label, 'a');
  const multi = encodeMessage('tensorflow.serving.MultiInferenceResponse', {
    results: [
      {
        model_spec: { name: 'lite', version: { value: 7 }, signature_name: 'a' },
        regression_result: { regressions: [{ value: 2 }] },
      },
      { model_spec: { name: 'lite', version: { value: 7 }, signature_name: 'b' } },
    ],
  });
  test.ok(changes('MultiInference', false, change));
  const renamed = adaptGrpc('MultiInference', framed(multi), multi.length + 5, undefined, change).subarray(5);
  const { results } = decodeMessage('tensorflow.serving.MultiInferenceResponse', renamed);
  test.match(results, [
    {
      model_spec: { name: 'credit-risk', version: null, signature_name: 'a' },
      regression_result: { regressions: [{ value: 2 }] },
    },
    { model_spec: { name: 'credit-risk', version: null, signature_name: 'b' } },
  ]);
});

t.test('a cast to 16-bit floats makes the whole answer raw, since they have no typed contents', async (test) => {
  const mapping = {
    inputs: [],
    outputs: [{ ...KEEP, name: 'score', from: 'score', dtype: DataType.HALF }],
    keepsOthers: true,
    soleOutput: '',
  };
  const infer = framed(inferOf([ONE, { ...ONE, name: 'other' }], false));
  const message = decodeMessage(
    'inference.ModelInferResponse',
    adaptGrpc('ModelInfer', infer, infer.length, undefined, changeOf(mapping)).subarray(5),
  );
  test.strictSame(Array.from(new Float16Array(new Uint8Array(message.raw_output_contents[0]).buffer)), [0.25, 0.5]);
  test.strictSame(Array.from(new Float32Array(new Uint8Array(message.raw_output_contents[1]).buffer)), [0.25, 0.5]);
});

const RENAME: OutputMapping = {
  inputs: [],
  outputs: [{ ...KEEP, name: 'risk', from: 'score' }],
  keepsOthers: false,
  soleOutput: 'score',
};

t.test('compressed answers are inflated, and go on uncompressed', async (test) => {
  const message = predictOf([ONE], false);
  const packed = framed(gzipSync(message));
  packed[0] = 1;
  const out = adaptGrpc('Predict', packed, packed.length, 'gzip', changeOf(RENAME));
  test.equal(out[0], 0);
  test.equal(ofPredict(out.subarray(5))[0]!.name, 'risk');
  const head = HeaderList.of(
    [':status', '200'],
    ['content-encoding', 'gzip'],
    ['content-length', '1'],
    ['x-other', 'kept'],
    ['etag', '"a"'],
  );
  const body = gzipSync(columnsOf([ONE, { ...ONE, name: 'b' }]));
  const rest = adaptRest('Predict', head, body, body.length, changeOf({ ...RENAME, keepsOthers: true }));
  test.strictSame(parse(rest.body), { outputs: { risk: [[0.25], [0.5]], b: [[0.25], [0.5]] } });
  test.strictSame(rest.head.names, [':status', 'x-other', 'content-length']);
  test.equal(rest.head.get('content-length'), String(rest.body.length));
});

t.test('an output without a name is the one the mapping is about', async (test) => {
  const body = Buffer.from('{"predictions": [[0.25], [0.5]]}');
  const fill = { ...KEEP, name: 'label', from: 'label', dtype: DataType.STRING, shape: [-1], fill: ['review'] };
  const rest = adaptRest(
    'Predict',
    HEAD,
    body,
    body.length,
    changeOf({ ...RENAME, outputs: [...RENAME.outputs, fill] }),
  );
  test.strictSame(parse(rest.body).predictions, [
    { risk: [0.25], label: 'review' },
    { risk: [0.5], label: 'review' },
  ]);
  const alone = adaptRest('Predict', HEAD, body, body.length, changeOf(RENAME));
  test.strictSame(parse(alone.body).predictions, [[0.25], [0.5]], 'and still needs none where it stays alone');
});

t.test('what does not fit the mapping is refused', async (test) => {
  const predict = framed(predictOf([ONE], false));
  const adapt = (rule: Partial<OutputRule>) => () =>
    adaptGrpc(
      'Predict',
      predict,
      predict.length,
      undefined,
      changeOf({ ...RENAME, outputs: [{ ...RENAME.outputs[0]!, ...rule }] }),
    );
  test.throws(adapt({ from: 'missing' }), AdaptError);
  test.throws(adapt({ shape: [3, -1] }), AdaptError);
  test.throws(adapt({ shape: [1, 1] }), AdaptError);
  test.throws(adapt({ dtype: DataType.STRING }), AdaptError);
  test.throws(() => adaptGrpc('Predict', predict, predict.length - 1, undefined, changeOf(RENAME)), AdaptError);
  const packed = Buffer.from(predict);
  packed[0] = 1;
  test.throws(() => adaptGrpc('Predict', packed, packed.length, 'zstd', changeOf(RENAME)), AdaptError);
  const nulls = Buffer.from('{"outputs": [null]}');
  test.throws(() => adaptRest('Predict', HEAD, nulls, nulls.length, changeOf(RENAME)), AdaptError);
});

t.test('a shape that claims more than is read is too large, and costs nothing', async (test) => {
  const huge = encodeMessage('tensorflow.serving.PredictResponse', {
    outputs: { score: { dtype: 1, tensor_shape: { dim: [{ size: 2_000_000_000 }] }, float_val: [1] } },
  });
  const mapping = { ...RENAME, outputs: [{ ...RENAME.outputs[0]!, dtype: DataType.DOUBLE }] };
  const answer = framed(huge);
  try {
    adaptGrpc('Predict', answer, answer.length, undefined, changeOf(mapping));
    test.fail('it was adapted');
  } catch (error) {
    test.equal((error as AdaptError).reason, 'too_large');
  }
});

t.test('an answer that claims many rows gets no text for each of them', async (test) => {
  const rows = encodeMessage('tensorflow.serving.PredictResponse', {
    outputs: { score: { dtype: 1, tensor_shape: { dim: [{ size: 3_000_000 }] }, float_val: [1] } },
  });
  const answer = framed(rows);
  try {
    adaptGrpc('Predict', answer, answer.length, undefined, changeOf(null, { versionOutput: 'v', versionText: 'lite' }));
    test.fail('it was adapted');
  } catch (error) {
    test.equal((error as AdaptError).reason, 'too_large');
  }
});
