/** Weights between the versions of a model: how many calls each gets, and that a caller with a sticky key keeps its own. */
import t from 'tap';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import { encodeMessage } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { framed, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { floats } from '../support/tfs-client.ts';

const CALLS = 3000;

const one = await ScriptedUpstream.start(t, 'one', { forget: true });
const two = await ScriptedUpstream.start(t, 'two', { forget: true });
const three = await ScriptedUpstream.start(t, 'three', { forget: true });
const split = [
  { model: `m@1 via ${one.address}`, weight: '70%' },
  { model: `m@2 via ${two.address}`, weight: '30%' },
];
const proxy = await ProxyProgram.start(t, {
  env: {
    UNDERSTUDY_MODEL_CANARIED_PRIMARY: `canaried@1 via ${one.address}`,
    UNDERSTUDY_MODEL_CANARIED_CANARY: `canaried@2 5% via ${two.address}`,
  },
  document: {
    models: [
      { name: 'sticky', split, sticky: { header: 'x-customer' } },
      { name: 'salted', split, sticky: { header: 'x-customer', salt: 'another' } },
      { name: 'free', split },
      { name: 'by-input', split, sticky: { input: 'customer' } },
      { name: 'pinned', split, pins: [{ header: 'x-tester', value: 'yes', model: `m@3 via ${three.address}` }] },
    ],
  },
});
const caller = GrpcCaller.to(t, proxy.address);

/** Calls `count` times, many at once; returns who answered, by call. */
async function answeredBy(model: string, count: number, key: (call: number) => string): Promise<string[]> {
  const names: string[] = [];
  for (let from = 0; from < count; from += 200) {
    const batch = Array.from({ length: Math.min(200, count - from) }, async (_, i) => {
      const customer = key(from + i);
      const answer = await caller.predict(model, customer === '' ? {} : { 'x-customer': customer });
      names[from + i] = servedBy(answer);
    });
    await Promise.all(batch);
  }
  return names;
}

function within3Sigma(count: number, of: number, share: number): boolean {
  return Math.abs(count - of * share) <= 3 * Math.sqrt(of * share * (1 - share));
}

const shareOfTwo = (names: readonly string[]) => names.filter((name) => name === 'two').length;

t.test('calls without a sticky key are split by weight', async (test) => {
  let two = shareOfTwo(await answeredBy('free', CALLS, () => ''));
  // One sample in 370 is outside by chance; two in a row are not chance.
  if (!within3Sigma(two, CALLS, 0.3)) two = shareOfTwo(await answeredBy('free', CALLS, () => ''));
  test.ok(within3Sigma(two, CALLS, 0.3), `${two} of ${CALLS}`);
});

t.test('a canary gets its share and the primary the rest', async (test) => {
  let two = shareOfTwo(await answeredBy('canaried', CALLS, () => ''));
  const metrics = await proxy.metrics();
  const labels = { cluster: 'canaried@2', reason: 'primary' };
  test.equal(metrics.sum('understudy_cluster_answers_total', labels), two, 'answers are counted by version');
  test.equal(metrics.sum('inference_latency_seconds_count', { model: 'canaried' }), CALLS);
  if (!within3Sigma(two, CALLS, 0.05)) two = shareOfTwo(await answeredBy('canaried', CALLS, () => ''));
  test.ok(within3Sigma(two, CALLS, 0.05), `${two} of ${CALLS}`);
});

t.test('callers with a sticky key are split by weight, and each stays where it is', async (test) => {
  const key = (call: number) => `customer-${call % (CALLS / 3)}`;
  const names = await answeredBy('sticky', CALLS, key);
  const customers = new Map<string, Set<string>>();
  for (const [call, name] of names.entries()) {
    const seen = customers.get(key(call)) ?? new Set();
    customers.set(key(call), seen.add(name));
  }
  test.ok(
    [...customers.values()].every((seen) => seen.size === 1),
    'nobody changed sides',
  );
  const count = [...customers.values()].filter((seen) => seen.has('two')).length;
  test.ok(within3Sigma(count, customers.size, 0.3), `${count} of ${customers.size} customers`);
});

t.test('callers that an input tells apart stay where they are, and are split by weight', async (test) => {
  const sides: string[][] = [];
  for (let customer = 0; customer < 300; customer++) {
    const inputs = { x: floats([1], [customer % 7]), customer: { dtype: 9, int64_val: [customer] } };
    const message = encodeMessage('tensorflow.serving.PredictRequest', { model_spec: { name: 'by-input' }, inputs });
    const answers = await Promise.all([caller.call(framed(message)), caller.call(framed(message))]);
    sides.push(answers.map(servedBy));
  }
  test.ok(sides.every(([first, second]) => first === second));
  const count = sides.filter(([first]) => first === 'two').length;
  test.ok(Math.abs(count - 90) < 4 * Math.sqrt(300 * 0.21), `${count} of 300`);
});

t.test('a header pins internal calls to a version outside the split, and other values do not', async (test) => {
  for (let call = 0; call < 20; call++) {
    const answer = await caller.predict('pinned', { 'x-tester': 'yes' });
    test.equal(servedBy(answer), 'three');
    test.equal(answer.served['model-version'], '3');
    test.not(servedBy(await caller.predict('pinned', { 'x-tester': 'no' })), 'three');
  }
});

t.test('a key keeps its side over connections and restarts, and another salt splits otherwise', async (test) => {
  const key = (call: number) => `customer-${call}`;
  const before = await answeredBy('sticky', 300, key);
  const salted = await answeredBy('salted', 300, key);
  const again = await ProxyProgram.start(test, {
    document: { models: [{ name: 'sticky', split, sticky: { header: 'x-customer' } }] },
  });
  const other = GrpcCaller.to(test, again.address);
  const after = await Promise.all(
    before.map(async (_, call) => servedBy(await other.predict('sticky', { 'x-customer': key(call) }))),
  );
  test.same(after, before);
  const moved = before.filter((name, call) => salted[call] !== name).length;
  test.ok(moved > 60, `${moved} of 300 are elsewhere under another salt`);
});
