/** The same comparison over every API and encoding that is mirrored. Messages are made by protobufjs and JSON.stringify. */
import { deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { CohortRows } from '../../../../proxy/mirror/cohort.ts';
import { CohortBudget, CohortTable } from '../../../../proxy/mirror/cohort-table.ts';
import { Comparator, DEFAULT_RULES } from '../../../../proxy/mirror/comparator.ts';
import { Comparison } from '../../../../proxy/mirror/comparison.ts';
import { Fault } from '../../../../proxy/mirror/fault-kinds.ts';
import { PairProtocol, type PairRecord } from '../../../../proxy/mirror/pair-record.ts';
import { runs, seedFor } from '../../../support/fuzz-runs.ts';
import { encodeMessage } from '../../../support/proto-codecs.ts';
import { framed, pair } from './pairs.ts';

const SERVING = 'tensorflow.serving.';
const comparator = new Comparator();
const out = new Comparison();

interface Form {
  readonly name: string;
  readonly protocol: number;
  readonly method: string;
  /** An answer of two rows whose second classes have these scores, the first the rest to 1. */
  readonly answer: (second: readonly [number, number]) => Buffer;
  /** A request of two rows of this `kind`. */
  readonly request: (kinds: readonly [number, number]) => Buffer;
  /** Name of the output with the scores. */
  readonly scores: string;
}

const text = (value: object): Buffer => Buffer.from(JSON.stringify(value));
const vectors = (second: readonly number[]): number[][] => second.map((score) => [1 - score, score]);
const classes = (score: number) => [
  { label: 'no', score: 1 - score },
  { label: 'yes', score },
];
const feature = (kind: number) => ({ features: { feature: { kind: { int64_list: { value: [kind] } } } } });
const examples = (kinds: readonly number[]) => ({ input: { example_list: { examples: kinds.map(feature) } } });
const classified = (second: readonly number[]) => ({
  classifications: second.map((score) => ({ classes: classes(score) })),
});
const doubles = (values: readonly number[]): Buffer => Buffer.from(new Float64Array(values).buffer);
const oipAnswer = (contents: object) => ({
  model_name: 'm',
  model_version: '1',
  outputs: [{ name: 'scores', datatype: 'FP64', shape: [2, 2], ...contents }],
});

const FORMS: readonly Form[] = [
  {
    name: 'Classify',
    protocol: PairProtocol.TFS_GRPC,
    method: 'Classify',
    answer: (second) => framed(encodeMessage(`${SERVING}ClassificationResponse`, { result: classified(second) })),
    request: (kinds) => framed(encodeMessage(`${SERVING}ClassificationRequest`, examples(kinds))),
    scores: 'scores',
  },
  {
    name: 'MultiInference',
    protocol: PairProtocol.TFS_GRPC,
    method: 'MultiInference',
    answer: (second) =>
      framed(
        encodeMessage(`${SERVING}MultiInferenceResponse`, {
          results: [
            { regression_result: { regressions: second.map(() => ({ value: 7 })) } },
            { classification_result: classified(second) },
          ],
        }),
      ),
    request: (kinds) => framed(encodeMessage(`${SERVING}MultiInferenceRequest`, examples(kinds))),
    scores: '1/scores',
  },
  {
    name: 'ModelInfer with typed contents',
    protocol: PairProtocol.OIP_GRPC,
    method: 'infer',
    answer: (second) =>
      framed(
        encodeMessage(
          'inference.ModelInferResponse',
          oipAnswer({ contents: { fp64_contents: vectors(second).flat() } }),
        ),
      ),
    request: (kinds) =>
      framed(
        encodeMessage('inference.ModelInferRequest', {
          inputs: [{ name: 'kind', datatype: 'INT64', shape: [2], contents: { int64_contents: kinds } }],
        }),
      ),
    scores: 'scores',
  },
  {
    name: 'ModelInfer with raw contents, compressed',
    protocol: PairProtocol.OIP_GRPC,
    method: 'infer',
    answer: (second) =>
      framed(
        gzipSync(
          encodeMessage('inference.ModelInferResponse', {
            ...oipAnswer({}),
            raw_output_contents: [doubles(vectors(second).flat())],
          }),
        ),
        true,
      ),
    request: (kinds) =>
      framed(
        encodeMessage('inference.ModelInferRequest', {
          inputs: [{ name: 'kind', datatype: 'INT32', shape: [2] }],
          raw_input_contents: [Buffer.from(new Int32Array(kinds).buffer)],
        }),
      ),
    scores: 'scores',
  },
  {
    name: 'REST in rows with names',
    protocol: PairProtocol.TFS_REST,
    method: 'Predict',
    answer: (second) => text({ predictions: vectors(second).map((scores) => ({ scores, note: 'x' })) }),
    request: (kinds) => text({ signature_name: 's', instances: kinds.map((kind) => ({ kind })) }),
    scores: 'scores',
  },
  {
    name: 'REST in rows without names, gzip',
    protocol: PairProtocol.TFS_REST,
    method: 'Predict',
    answer: (second) => gzipSync(text({ predictions: vectors(second) })),
    request: (kinds) => gzipSync(text({ instances: kinds.map((kind) => ({ kind: [kind] })) })),
    scores: 'predictions',
  },
  {
    name: 'REST in columns, deflate',
    protocol: PairProtocol.TFS_REST,
    method: 'Predict',
    answer: (second) => deflateSync(text({ outputs: { scores: vectors(second), ids: [1, 2] } })),
    request: (kinds) => deflateSync(text({ inputs: { kind: kinds, all: [[1, 2, 3]] } })),
    scores: 'scores',
  },
  {
    name: 'REST classify',
    protocol: PairProtocol.TFS_REST,
    method: 'Classify',
    answer: (second) => text({ results: second.map((score) => classes(score).map((one) => [one.label, one.score])) }),
    request: (kinds) => text({ examples: kinds.map((kind) => ({ kind, name: 'a' })) }),
    scores: 'scores',
  },
  {
    name: 'Open Inference REST',
    protocol: PairProtocol.OIP_REST,
    method: 'infer',
    answer: (second) => text(oipAnswer({ data: vectors(second).flat() })),
    request: (kinds) => text({ inputs: [{ name: 'kind', datatype: 'INT64', shape: [2], data: kinds }] }),
    scores: 'scores',
  },
  {
    name: 'Open Inference REST with bytes behind the JSON',
    protocol: PairProtocol.OIP_REST,
    method: 'infer',
    answer: (second) =>
      Buffer.concat([text(oipAnswer({ parameters: { binary_data_size: 32 } })), doubles(vectors(second).flat())]),
    request: (kinds) =>
      Buffer.concat([
        text({
          inputs: [{ name: 'kind', datatype: 'INT32', shape: [2], parameters: { binary_data_size: 8 } }],
        }),
        Buffer.from(new Int32Array(kinds).buffer),
      ]),
    scores: 'scores',
  },
];

function compare(form: Form, primary: Buffer, shadow: Buffer, fields: Partial<PairRecord> = {}): Comparison {
  const { protocol, method } = form;
  comparator.compare(
    pair({ protocol, method, primaryBody: primary, shadowBody: shadow, ...fields }),
    DEFAULT_RULES,
    out,
  );
  return out;
}

for (const form of FORMS) {
  t.test(
    `${form.name}: equal answers agree, a changed class disagrees in its row, and the distances say by how much`,
    async (t) => {
      compare(form, form.answer([0.25, 0.75]), form.answer([0.25, 0.75]));
      t.strictSame([out.primaryFaults, out.shadowFaults, out.rows], [0, 0, 2]);
      t.strictSame([out.rowAgreement[0], out.rowAgreement[1]], [1, 1]);
      compare(form, form.answer([0.25, 0.75]), form.answer([0.25, 0.25]));
      t.strictSame([out.rowAgreement[0], out.rowAgreement[1]], [1, 0]);
      t.strictSame([out.distance(0), out.distance(1)], [0, 1]);
      const output = out.outputs.slice(0, out.outputCount).find(({ name }) => name === form.scores)!;
      t.equal(output.kind, 'class_scores');
      t.equal(output.flips[1], 1);
      t.ok(Math.abs(output.absSum[1]! - 1) < 1e-6);
      const middle = 0.5;
      const js = 0.75 * Math.log(0.75 / middle) + 0.25 * Math.log(0.25 / middle);
      t.ok(Math.abs(output.js[1]! - js) < 1e-6, `${output.js[1]}`);
      t.ok(Math.abs(output.kl[1]! - 0.5 * Math.log(3)) < 1e-6, `${output.kl[1]}`);
      t.equal(output.distance[0], 0);
    },
  );

  t.test(`${form.name}: each row counts in the cohort of its own input`, async (t) => {
    const rows = new CohortRows();
    const table = new CohortTable(new CohortBudget(10));
    const policy = {
      source: { kind: 'input', tensor: 'kind', buckets: [] },
      maxCohorts: 5,
      names: { '3': 'freelancer' },
    } as const;
    table.apply(policy);
    const { protocol, method } = form;
    rows.resolve(pair({ protocol, method, request: form.request([3, 1]) }), policy, 2, table);
    t.strictSame(
      rows.cohorts.map((cohort) => table.names[cohort]),
      ['freelancer', '1'],
    );
  });

  t.test(`${form.name}: a body cut short or broken is a fault of its side and nothing worse`, async (t) => {
    const good = form.answer([0.25, 0.75]);
    compare(form, good, Buffer.alloc(0));
    t.equal(out.shadowFaults, Fault.NO_MESSAGE);
    t.equal(out.distance(0), 1);
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.boolean(), (at, byte, cut) => {
        const bad = cut ? good.subarray(0, at) : Buffer.from(good);
        if (!cut) bad[at] = byte;
        compare(form, good, bad);
        return out.rows >= 1;
      }),
      { numRuns: runs(60), seed: seedFor(7) },
    );
  });
}

t.test('Regress and REST regress are compared as numbers within the tolerance', async (t) => {
  const regress = { name: '', protocol: PairProtocol.TFS_GRPC, method: 'Regress' } as Form;
  const values = (...all: number[]) =>
    framed(encodeMessage(`${SERVING}RegressionResponse`, { result: { regressions: all.map((value) => ({ value })) } }));
  compare(regress, values(1, 100), values(1, 101));
  t.equal(out.rule, 'tolerance');
  t.strictSame([out.rowAgreement[0], out.rowAgreement[1]], [1, 0]);
  const [output] = out.outputs;
  t.equal(output!.name, 'value');
  t.ok(Math.abs(output!.relativeSum[1]! - 0.01) < 1e-6);
  const rest = { name: '', protocol: PairProtocol.TFS_REST, method: 'Regress' } as Form;
  compare(rest, text({ results: [1, 100] }), text({ results: [1, 101] }));
  t.strictSame([out.rowAgreement[0], out.rowAgreement[1]], [1, 0]);
});

t.test('NaN and infinities in JSON are faults, as in tensors', async (t) => {
  const rest = { name: '', protocol: PairProtocol.TFS_REST, method: 'Predict' } as Form;
  compare(rest, Buffer.from('{"predictions": [0.5, 0.5]}'), Buffer.from('{"predictions": [NaN, -Infinity]}'));
  t.strictSame([out.rowShadowFaults[0], out.rowShadowFaults[1]], [Fault.NAN, Fault.INF]);
});

t.test('whole numbers on one side and fractions on the other are the same output of numbers', async (t) => {
  const rest = { name: '', protocol: PairProtocol.TFS_REST, method: 'Predict' } as Form;
  compare(rest, Buffer.from('{"predictions": [[0, 1]]}'), Buffer.from('{"predictions": [[0.2, 0.8]]}'));
  t.equal(out.shadowFaults, 0);
  t.equal(out.rule, 'top_class');
  t.equal(out.rowAgreement[0], 1);
  compare(rest, Buffer.from('{"predictions": [3, 4]}'), Buffer.from('{"predictions": [3, 5]}'));
  t.equal(out.rule, 'labels', 'whole numbers on both sides are labels');
  t.strictSame([out.rowAgreement[0], out.rowAgreement[1]], [1, 0]);
});

t.test('rows of different shapes are no answer, and in a request only cost their column', async (t) => {
  const rest = { name: '', protocol: PairProtocol.TFS_REST, method: 'Predict' } as Form;
  const good = Buffer.from('{"predictions": [[1, 2], [3, 4]]}');
  for (const bad of ['{"predictions": [[1, 2], [3]]}', '{"predictions": [[1, [2]], [3, 4]]}', '{"error": "x"}', '[]']) {
    compare(rest, good, Buffer.from(bad));
    t.equal(out.shadowFaults, Fault.MALFORMED, bad);
  }
  const rows = new CohortRows();
  const table = new CohortTable(new CohortBudget(10));
  const policy = { source: { kind: 'input', tensor: 'kind', buckets: [] }, maxCohorts: 5, names: {} } as const;
  table.apply(policy);
  const request = Buffer.from('{"instances": [{"kind": 3, "x": [1]}, {"kind": 4, "x": [1, 2]}]}');
  rows.resolve(pair({ protocol: PairProtocol.TFS_REST, method: 'Predict', request }), policy, 2, table);
  t.strictSame(
    rows.cohorts.map((cohort) => table.names[cohort]),
    ['3', '4'],
  );
});
