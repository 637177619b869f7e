import fc from 'fast-check';
import t from 'tap';
import { DataType } from '../../../../proto/tensor/dtype.ts';
import { Comparator, type ComparisonRules, DEFAULT_RULES } from '../../../../proxy/mirror/comparator.ts';
import { Comparison } from '../../../../proxy/mirror/comparison.ts';
import { Fault } from '../../../../proxy/mirror/fault-kinds.ts';
import type { PairRecord } from '../../../../proxy/mirror/pair-record.ts';
import { runs } from '../../../support/fuzz-runs.ts';
import { answer, floats, framed, gzipped, integers, NOTHING, outputs, pair, strings, tensor } from './pairs.ts';

const comparator = new Comparator();
const out = new Comparison();

function compare(record: PairRecord, rules: Partial<ComparisonRules> = {}): Comparison {
  comparator.compare(record, { ...DEFAULT_RULES, ...rules }, out);
  return out;
}

t.test('answers with the same top class agree whatever their scores', async (t) => {
  const found = compare(
    outputs(
      { y: floats([2, 3], [0.1, 0.7, 0.2, 0.5, 0.3, 0.2]) },
      { y: floats([2, 3], [0.3, 0.4, 0.3, 0.2, 0.5, 0.3]) },
    ),
  );
  t.equal(found.rule, 'top_class');
  t.equal(found.rows, 2);
  t.strictSame([...found.rowAgreement.slice(0, 2)], [1, 0]);
  t.ok(Math.abs(found.rowMaxAbs[0]! - 0.3) < 1e-6);
  t.ok(Math.abs(found.rowMaxAbs[1]! - 0.3) < 1e-6);
  t.equal(found.distance(0), 0);
  t.equal(found.distance(1), 1);
  t.ok(found.rowVectorJs[0]! > 0 && found.rowVectorJs[0]! < Math.LN2);
});

t.test('of equal scores the first class leads, on both sides alike', async (t) => {
  const found = compare(outputs({ y: floats([1, 2], [0.5, 0.5]) }, { y: floats([1, 2], [0.6, 0.4]) }));
  t.equal(found.rowAgreement[0], 1);
});

t.test('labels go before scores when an output is named so', async (t) => {
  const scores = floats([1, 2], [0.9, 0.1]);
  const found = compare(
    outputs({ probabilities: scores, label: integers([1], [0]) }, { probabilities: scores, label: integers([1], [1]) }),
  );
  t.equal(found.rule, 'labels');
  t.equal(found.rowAgreement[0], 0);
  t.equal(found.rowPrimaryScore[0], found.rowShadowScore[0], 'scores are followed all the same');
  t.equal(found.rowVectorJs[0], 0);
});

t.test('string labels agree when equal, and a row of several agrees in part', async (t) => {
  const found = compare(
    outputs({ classes: strings([2, 2], ['a', 'b', 'c', 'd']) }, { classes: strings([2, 2], ['a', 'b', 'c', 'x']) }),
  );
  t.equal(found.rule, 'labels');
  t.strictSame([...found.rowAgreement.slice(0, 2)], [1, 0.5]);
  t.equal(found.distance(1), 0.5);
});

t.test('64-bit labels are compared in full', async (t) => {
  const large = tensor(DataType.INT64, [1], { int64_val: ['9223372036854775807'] });
  const other = tensor(DataType.INT64, [1], { int64_val: ['9223372036854775806'] });
  t.equal(compare(outputs({ label: large }, { label: large })).rowAgreement[0], 1);
  t.equal(compare(outputs({ label: large }, { label: other })).rowAgreement[0], 0);
});

t.test('the policy can name the output that holds the class', async (t) => {
  const primary = { boxes: floats([1, 4], [1, 2, 3, 4]), quality: floats([1], [0.7]), label: integers([1], [1]) };
  const shadow = { boxes: floats([1, 4], [4, 3, 2, 1]), quality: floats([1], [0.6]), label: integers([1], [2]) };
  t.equal(compare(outputs(primary, shadow), { labelOutput: 'boxes' }).rule, 'top_class');
  t.equal(out.rowAgreement[0], 0);
  t.equal(compare(outputs(primary, shadow), { labelOutput: 'quality' }).rule, 'threshold');
  t.equal(out.rowAgreement[0], 1, 'both scores lie above a half');
  t.equal(compare(outputs(primary, shadow), { labelOutput: 'absent' }).rule, 'labels', 'a name the answer lacks');
});

t.test('a model without classes agrees within the tolerance', async (t) => {
  const primary = { y: floats([3, 1], [100, 100, 0]) };
  const shadow = { y: floats([3, 1], [100.005, 101, 0]) };
  const found = compare(outputs(primary, shadow));
  t.equal(found.rule, 'tolerance');
  t.strictSame([...found.rowAgreement.slice(0, 3)], [1, 0, 1]);
  compare(outputs(primary, shadow), { absoluteTolerance: 1 });
  t.strictSame([...out.rowAgreement.slice(0, 3)], [1, 1, 1]);
});

t.test('NaN and infinity are faults of the row and the side that shows them', async (t) => {
  const found = compare(
    outputs(
      { y: floats([3, 2], [0.1, 0.9, Number.NaN, 0.5, 1, 0]) },
      { y: floats([3, 2], [Number.NaN, 0.9, Number.NaN, 0.5, 1, Number.NEGATIVE_INFINITY]) },
    ),
  );
  t.strictSame([...found.rowShadowFaults.slice(0, 3)], [Fault.NAN, Fault.NAN, Fault.INF]);
  t.strictSame([...found.rowPrimaryFaults.slice(0, 3)], [Fault.NONE, Fault.NAN, Fault.NONE]);
  t.equal(found.distance(0), 1);
  t.equal(found.distance(1), -1, 'a fault that the primary shows too is not held against the shadow');
  t.equal(found.distance(2), 1, 'even where the top class is the same');
  t.equal(found.rowAgreement[2], 1);
});

for (const [what, shadow, fault] of [
  ['a missing output', {}, Fault.MISSING_OUTPUT],
  ['another element type', { y: tensor(DataType.DOUBLE, [1, 2], { double_val: [0.9, 0.1] }) }, Fault.DTYPE],
  ['another shape', { y: floats([1, 3], [0.9, 0.1, 0]) }, Fault.SHAPE],
  ['another rank', { y: floats([2], [0.9, 0.1]) }, Fault.SHAPE],
  [
    'content that does not fit its shape',
    { y: tensor(DataType.FLOAT, [1, 2], { tensor_content: Buffer.alloc(7) }) },
    Fault.MALFORMED,
  ],
  ['a negative dimension', { y: floats([1, -2], [0.9, 0.1]) }, Fault.MALFORMED],
] as const) {
  t.test(`${what} is a fault and a disagreement`, async (t) => {
    const found = compare(outputs({ y: floats([1, 2], [0.9, 0.1]) }, shadow));
    t.equal(found.shadowFaults, fault);
    t.equal(found.rowAgreement[0], 0);
    t.equal(found.distance(0), 1);
  });
}

t.test(
  'a shadow that contradicts what the model declares is at fault, however near it is to the primary',
  async (t) => {
    const declared = { name: 'y', dtype: 0, shape: null, min: 0, max: 1, required: true };
    const near = outputs({ y: floats([1, 1], [0.99999]) }, { y: floats([1, 1], [1.00001]) });
    t.equal(compare(near).shadowFaults, Fault.NONE);
    const found = compare(near, { outputs: [declared] });
    t.equal(found.shadowFaults, Fault.RANGE);
    t.equal(found.distance(0), 1);
    t.equal(found.primaryFaults, Fault.NONE, "the primary's answers are judged where they are given");
    const missing = outputs({ z: floats([1, 1], [1]) }, { z: floats([1, 1], [1]) });
    t.equal(compare(missing, { outputs: [declared] }).shadowFaults, Fault.MISSING_OUTPUT);
    const good = outputs({ y: floats([1, 1], [0.5]) }, { y: floats([1, 1], [0.5]) });
    t.equal(compare(good, { outputs: [declared] }).shadowFaults, Fault.NONE);
  },
);

t.test('an output that only the shadow has is no fault', async (t) => {
  const y = floats([1, 2], [0.9, 0.1]);
  t.equal(compare(outputs({ y }, { y, extra: y })).shadowFaults, Fault.NONE);
});

t.test('a shape that claims far more than its bytes is too large, not a long loop', async (t) => {
  const huge = { y: tensor(DataType.FLOAT, [2_000_000_000], {}) };
  const started = performance.now();
  const found = compare(outputs(huge, huge));
  t.equal(found.primaryFaults, Fault.TOO_LARGE);
  t.equal(found.distance(0), -1, 'and not held against the shadow');
  t.ok(performance.now() - started < 100);
});

t.test('one side failing is a status difference, and the shadow failing a divergence', async (t) => {
  const body = answer({ y: floats([1, 2], [0.9, 0.1]) });
  const shadowFailed = compare(pair({ primaryBody: body, shadowStatus: 14 }));
  t.ok(shadowFailed.statusDiffers);
  t.equal(shadowFailed.distance(0), 1);
  t.ok(Number.isNaN(shadowFailed.latencyDifferenceMs));
  const primaryFailed = compare(pair({ primaryStatus: 13, shadowBody: body }));
  t.ok(primaryFailed.statusDiffers);
  t.equal(primaryFailed.distance(0), -1, 'nothing to hold the shadow against');
  const both = compare(pair({ primaryStatus: 13, shadowStatus: 4 }));
  t.notOk(both.statusDiffers);
  t.equal(compare(pair({ primaryBody: body, shadowBody: body })).latencyDifferenceMs, 3);
});

t.test('compressed answers are opened, the two sides by different encodings', async (t) => {
  const y = floats([1, 2], [0.9, 0.1]);
  const found = compare(pair({ primaryBody: gzipped({ y }), shadowBody: answer({ y }) }));
  t.equal(found.primaryFaults | found.shadowFaults, Fault.NONE);
  t.equal(found.rowAgreement[0], 1);
});

t.test('bytes that are no answer are faults of their side', async (t) => {
  const good = answer({ y: floats([1, 2], [0.9, 0.1]) });
  for (const [what, body, fault] of [
    ['nothing', NOTHING, Fault.NO_MESSAGE],
    ['half a prefix', Buffer.from([0, 0]), Fault.MALFORMED],
    ['a prefix that says more', good.subarray(0, good.length - 1), Fault.MALFORMED],
    ['two messages', Buffer.concat([good, good]), Fault.MALFORMED],
    ['an unknown flag', Buffer.concat([Buffer.from([7]), good.subarray(1)]), Fault.MALFORMED],
    ['no protobuf', framed(Buffer.from([0xff, 0xff, 0xff])), Fault.MALFORMED],
    ['no gzip', framed(Buffer.from([0x1f, 0x8b, 1, 2, 3]), true), Fault.MALFORMED],
  ] as const) {
    const found = compare(pair({ primaryBody: good, shadowBody: body }));
    t.equal(found.shadowFaults, fault, what);
    t.equal(found.distance(0), 1, what);
    t.equal(compare(pair({ primaryBody: body, shadowBody: good })).primaryFaults, fault, what);
    t.equal(out.distance(0), -1, what);
  }
});

t.test('half, bfloat16 and double differences are seen as numbers', async (t) => {
  const half = (bits: number[]) => ({ y: tensor(DataType.HALF, [bits.length], { half_val: bits }) });
  t.equal(compare(outputs(half([0x3c00, 0x0001]), half([0x4000, 0x0001]))).rowMaxAbs[0], 1, '1 and 2');
  const brain = (bits: number[]) => ({ y: tensor(DataType.BFLOAT16, [1], { half_val: bits }) });
  t.equal(compare(outputs(brain([0x3f80]), brain([0xbf80]))).rowMaxAbs[0], 2, '1 and -1');
  const double = (value: number) => ({ y: tensor(DataType.DOUBLE, [1], { double_val: [value] }) });
  t.equal(compare(outputs(double(1), double(1 + 2 ** -40))).rowMaxAbs[0], 2 ** -40);
});

t.test('no bytes at all make the comparison throw', async () => {
  const good = answer({
    y: floats([2, 2], [0.9, 0.1, 0.2, 0.8]),
    label: integers([2], [0, 1]),
    s: strings([2], ['a', 'b']),
  });
  const mutated = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 }).map((changes) => {
    const bytes = Buffer.from(good);
    for (const [at, value] of changes) bytes[at] = value;
    return bytes;
  });
  const body = fc.oneof(
    mutated,
    fc.uint8Array({ maxLength: 64 }).map((bytes) => framed(Buffer.from(bytes))),
  );
  fc.assert(
    fc.property(body, body, (primaryBody, shadowBody) => {
      const found = compare(pair({ primaryBody, shadowBody }));
      for (let row = 0; row < found.rows; row++) {
        const distance = found.distance(row);
        if (!(distance === -1 || (distance >= 0 && distance <= 1))) throw new Error(`distance ${distance}`);
      }
    }),
    { numRuns: runs(4000), interruptAfterTimeLimit: 3000 },
  );
});
