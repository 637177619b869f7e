/** Constants and rules: the same numbers in every protocol, as a computation by hand makes them; and what is not computed. */
import fc from 'fast-check';
import t from 'tap';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { DataType } from '../../../../proto/tensor/dtype.ts';
import { AdaptError } from '../../../../proxy/adapt/adapt-error.ts';
import { LocalAnswer } from '../../../../proxy/adapt/local-answer.ts';
import { type LocalSource, replyToGrpc, replyToRest } from '../../../../proxy/adapt/local-reply.ts';
import type { LocalAnswerPolicy } from '../../../../proxy/config/answer-policy.ts';
import { decodeMessage, encodeMessage, type Message } from '../../../support/proto-codecs.ts';

const { FLOAT, DOUBLE, INT64, STRING } = DataType;
const HEAD = HeaderList.of([':method', 'POST'], ['content-type', 'application/json']);

/** A linear score with exceptions: what a risk team writes on one page. */
const RULE: LocalAnswerPolicy = {
  kind: 'rule',
  document: null,
  outputs: [
    {
      name: 'score',
      dtype: DOUBLE,
      shape: [-1, 1],
      values: [],
      score: {
        bias: -1,
        terms: [
          { input: 'features', column: 0, weight: 0.5 },
          { input: 'features', column: 2, weight: -0.25 },
        ],
        sigmoid: true,
        min: 0.05,
        max: 0.95,
      },
    },
    { name: 'label', dtype: STRING, shape: [-1], values: ['review'], score: null },
    { name: 'code', dtype: INT64, shape: [-1, 2], values: ['1', '2'], score: null },
  ],
  cases: [
    {
      conditions: [{ operand: { kind: 'input', input: 'features', column: 1 }, op: '<', value: '18' }],
      outputs: [
        { name: 'label', values: ['reject'] },
        { name: 'score', values: ['0'] },
      ],
    },
    {
      conditions: [
        { operand: { kind: 'score', output: 'score' }, op: '>=', value: '0.5' },
        { operand: { kind: 'input', input: 'country', column: 0 }, op: '!=', value: 'XX' },
      ],
      outputs: [
        { name: 'label', values: ['accept'] },
        { name: 'code', values: ['7'] },
      ],
    },
  ],
};

interface Row {
  readonly features: readonly [number, number, number];
  readonly country: string;
}

interface Expected {
  readonly score: number;
  readonly label: string;
  readonly code: readonly number[];
}

function byHand({ features: [a, age, b], country }: Row): Expected {
  if (age < 18) return { score: 0, label: 'reject', code: [1, 2] };
  const score = Math.min(0.95, Math.max(0.05, 1 / (1 + Math.exp(-(-1 + 0.5 * a - 0.25 * b)))));
  return score >= 0.5 && country !== 'XX'
    ? { score, label: 'accept', code: [7, 7] }
    : { score, label: 'review', code: [1, 2] };
}

function sourceOf(policy: LocalAnswerPolicy, versionOutput = ''): LocalSource {
  return { answer: new LocalAnswer(policy), model: 'risk', versionOutput, versionText: '@rule/risk' };
}

function framed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

const floats = (rows: readonly Row[]): number[] => rows.flatMap(({ features }) => [...features]);

function predictRequest(rows: readonly Row[], more: object = {}): Buffer {
  const shape = (...sizes: number[]) => ({ dim: sizes.map((size) => ({ size })) });
  return framed(
    encodeMessage('tensorflow.serving.PredictRequest', {
      model_spec: { name: 'risk', signature_name: '' },
      inputs: {
        features: { dtype: DOUBLE, tensor_shape: shape(rows.length, 3), double_val: floats(rows) },
        country: {
          dtype: STRING,
          tensor_shape: shape(rows.length, 1),
          string_val: rows.map(({ country }) => Buffer.from(country)),
        },
      },
      ...more,
    }),
  );
}

function inferRequest(rows: readonly Row[]): Buffer {
  return framed(
    encodeMessage('inference.ModelInferRequest', {
      model_name: 'risk',
      id: 'r1',
      inputs: [
        {
          name: 'features',
          datatype: 'FP64',
          shape: [rows.length, 3].map(String),
          contents: { fp64_contents: floats(rows) },
        },
        {
          name: 'country',
          datatype: 'BYTES',
          shape: [String(rows.length)],
          contents: { bytes_contents: rows.map(({ country }) => Buffer.from(country)) },
        },
      ],
    }),
  );
}

type Answers = (rows: readonly Row[], source: LocalSource) => Expected[];

function unzip(
  rows: number,
  scores: readonly unknown[],
  labels: readonly unknown[],
  codes: readonly unknown[],
): Expected[] {
  return Array.from({ length: rows }, (_, i) => ({
    score: Number(scores[i]),
    label: String(labels[i]),
    code: codes.slice(2 * i, 2 * i + 2).map(Number),
  }));
}

function ofInfer({ outputs, raw_output_contents: raw }: Message, rows: number): Expected[] {
  if (raw.length > 0) throw new Error('raw');
  const [score, label, code] = outputs;
  return unzip(rows, score.contents.fp64_contents, label.contents.bytes_contents, code.contents.int64_contents);
}

const FORMS: Record<string, Answers> = {
  Predict: (rows, source) => {
    const request = predictRequest(rows);
    const answer = decodeMessage(
      'tensorflow.serving.PredictResponse',
      replyToGrpc(source, 'Predict', request, request.length, '').subarray(5),
    );
    if (answer.model_spec.name !== 'risk' || answer.model_spec.version != null) throw new Error('model spec');
    const { score, label, code } = answer.outputs;
    return unzip(rows.length, score.double_val, label.string_val, code.int64_val);
  },
  ModelInfer: (rows, source) => {
    const request = inferRequest(rows);
    const message = decodeMessage(
      'inference.ModelInferResponse',
      replyToGrpc(source, 'ModelInfer', request, request.length, '').subarray(5),
    );
    if (message.id !== 'r1' || message.model_name !== 'risk' || message.model_version !== '') throw new Error('head');
    return ofInfer(message, rows.length);
  },
  ModelStreamInfer: (rows, source) => {
    const request = inferRequest(rows);
    const bytes = replyToGrpc(source, 'ModelStreamInfer', request, request.length, '').subarray(5);
    return ofInfer(decodeMessage('inference.ModelStreamInferResponse', bytes).infer_response, rows.length);
  },
  'REST rows': (rows, source) => {
    const body = Buffer.from(JSON.stringify({ instances: rows }));
    const { predictions } = JSON.parse(replyToRest(source, 'Predict', HEAD, body, body.length).body.toString());
    return predictions.map(({ score, label, code }: Message) => ({ score: score[0], label, code }));
  },
  'REST columns': (rows, source) => {
    const inputs = { features: rows.map(({ features }) => features), country: rows.map(({ country }) => country) };
    const body = Buffer.from(JSON.stringify({ inputs }));
    const { outputs } = JSON.parse(replyToRest(source, 'Predict', HEAD, body, body.length).body.toString());
    return unzip(rows.length, outputs.score.flat(), outputs.label, outputs.code.flat());
  },
  'REST infer': (rows, source) => {
    const inputs = [
      { name: 'features', datatype: 'FP64', shape: [rows.length, 3], data: floats(rows) },
      { name: 'country', datatype: 'BYTES', shape: [rows.length], data: rows.map(({ country }) => country) },
    ];
    const body = Buffer.from(JSON.stringify({ id: 'r1', inputs }));
    const { id, outputs } = JSON.parse(replyToRest(source, 'infer', HEAD, body, body.length).body.toString());
    if (id !== 'r1') throw new Error('id');
    return unzip(rows.length, outputs[0].data, outputs[1].data, outputs[2].data);
  },
};

const anyRow = fc.record({
  features: fc.tuple(
    fc.integer({ min: -8, max: 8 }).map((n) => n / 2),
    fc.integer({ min: 0, max: 99 }),
    fc.integer({ min: -8, max: 8 }),
  ),
  country: fc.constantFrom('DE', 'XX', 'FR'),
});

t.test('a rule answers in every protocol what it says by hand', async () => {
  const source = sourceOf(RULE);
  fc.assert(
    fc.property(fc.array(anyRow, { minLength: 1, maxLength: 5 }), (rows) => {
      const expected = JSON.stringify(rows.map(byHand));
      for (const [name, answers] of Object.entries(FORMS)) {
        const got = JSON.stringify(answers(rows, source));
        if (got !== expected) throw new Error(`${name}: ${got}, not ${expected}`);
      }
    }),
    { numRuns: 60 },
  );
});

const STATIC: LocalAnswerPolicy = {
  kind: 'static',
  document: null,
  outputs: [
    { name: 'p', dtype: FLOAT, shape: [-1, 2], values: ['0.25', '0.75'], score: null },
    { name: 'note', dtype: STRING, shape: [], values: ['manual review'], score: null },
  ],
  cases: [],
};
const ROW: Row = { features: [1, 20, 3], country: 'DE' };

t.test('a constant has as many rows as its request, and only the outputs that were asked for', async (test) => {
  const request = predictRequest([ROW, ROW, ROW], { output_filter: ['p'] });
  const reply = replyToGrpc(sourceOf(STATIC, 'who'), 'Predict', request, request.length, '').subarray(5);
  const { outputs, model_spec } = decodeMessage('tensorflow.serving.PredictResponse', reply);
  test.strictSame(outputs.p.float_val, [0.25, 0.75, 0.25, 0.75, 0.25, 0.75]);
  test.strictSame(outputs.who.string_val.map(String), ['@rule/risk', '@rule/risk', '@rule/risk']);
  test.notOk(outputs.note);
  test.equal(model_spec.signature_name, 'serving_default');
});

t.test('an Open Inference caller gets the form it asked for', async (test) => {
  const body = Buffer.from(
    JSON.stringify({
      parameters: { binary_data_output: true },
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1], data: [1] }],
      outputs: [{ name: 'p' }, { name: 'note', parameters: { binary_data: false } }],
    }),
  );
  const { body: reply, jsonBytes } = replyToRest(sourceOf(STATIC), 'infer', HEAD, body, body.length);
  test.strictSame(Array.from(new Float32Array(new Uint8Array(reply.subarray(jsonBytes)).buffer)), [0.25, 0.75]);
  test.strictSame(JSON.parse(reply.toString('utf8', 0, jsonBytes)).outputs[1].data, ['manual review']);
});

function reasonOf(compute: () => unknown): string {
  try {
    compute();
    return 'answered';
  } catch (error) {
    return (error as AdaptError).reason;
  }
}

t.test('what a rule cannot compute with is refused, and too much of it before anything is computed', async (test) => {
  const source = sourceOf(RULE);
  const ask = (bytes: Buffer) => reasonOf(() => replyToGrpc(source, 'Predict', bytes, bytes.length, ''));
  const features = (tensor: object) =>
    framed(encodeMessage('tensorflow.serving.PredictRequest', { inputs: { features: tensor } }));
  const shape = (...sizes: number[]) => ({ tensor_shape: { dim: sizes.map((size) => ({ size })) } });
  test.equal(ask(features({ dtype: DOUBLE, ...shape(1, 2), double_val: [1, 2] })), 'misfit', 'a column is missing');
  test.equal(
    ask(features({ dtype: STRING, ...shape(1, 3), string_val: ['a', 'b', 'c'].map((text) => Buffer.from(text)) })),
    'misfit',
  );
  test.equal(ask(features({ dtype: DOUBLE, ...shape(1, 3), double_val: [1, 20, 3] })), 'misfit', 'country is missing');
  test.equal(ask(features({ dtype: DOUBLE, ...shape(65_537, 3), double_val: [1] })), 'too_large', 'rows');
  test.equal(ask(features({ dtype: DOUBLE, ...shape(2, 600_000), double_val: [1] })), 'too_large', 'elements');
  const many = sourceOf({ ...RULE, cases: new Array(8).fill(RULE.cases).flat() });
  const tall = features({ dtype: DOUBLE, ...shape(60_000, 3), double_val: [1] });
  test.equal(
    reasonOf(() => replyToGrpc(many, 'Predict', tall, tall.length, '')),
    'too_large',
    'steps',
  );
  const wide = Buffer.from(`{"instances":[${'1,'.repeat(600_000)}1]}`);
  test.equal(
    reasonOf(() => replyToRest(source, 'Predict', HEAD, wide, wide.length)),
    'too_large',
    'JSON',
  );
  const classify = framed(Buffer.alloc(0));
  test.equal(
    reasonOf(() => replyToGrpc(source, 'Classify', classify, 5, '')),
    'misfit',
  );
});

t.test('NaN is like nothing, and stays NaN only where a float is asked for', async (test) => {
  const row: Row = { features: [Number.NaN, 20, 1], country: 'DE' };
  const [answer] = FORMS.Predict!([row], sourceOf(RULE));
  test.ok(Number.isNaN(answer!.score));
  test.equal(answer!.label, 'review');
});

t.test('no bytes whatever do worse than a misfit', async () => {
  const source = sourceOf(RULE);
  const methods = fc.constantFrom('Predict', 'ModelInfer', 'ModelStreamInfer', 'REST', 'infer');
  const whole = [
    predictRequest([ROW]).subarray(5),
    inferRequest([ROW]).subarray(5),
    Buffer.from(JSON.stringify({ instances: [ROW] })),
  ];
  const spoilt = fc.tuple(fc.constantFrom(...whole), fc.nat(400), fc.nat(255)).map(([bytes, at, byte]) => {
    const copy = Buffer.from(bytes);
    copy[at % copy.length] = byte;
    return copy;
  });
  fc.assert(
    fc.property(
      methods,
      fc.oneof(
        spoilt,
        fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      ),
      (method, bytes) => {
        try {
          if (method === 'REST') replyToRest(source, 'Predict', HEAD, bytes, bytes.length);
          else if (method === 'infer') replyToRest(source, 'infer', HEAD, bytes, bytes.length);
          else replyToGrpc(source, method, framed(bytes), bytes.length + 5, '');
          return true;
        } catch (error) {
          if (error instanceof AdaptError) return true;
          throw error;
        }
      },
    ),
    { numRuns: 2000, interruptAfterTimeLimit: 1500 },
  );
});
