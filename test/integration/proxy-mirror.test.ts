/** The mirror: what a shadow is shown, and that nothing a shadow does reaches the primary's callers. */
import t, { type Test } from 'tap';
import { GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import {
  answers,
  answersAfter,
  hangs,
  predictResponse,
  type Script,
  ScriptedUpstream,
} from '../support/scripted-upstream.ts';
import { fieldsOf } from '../support/wire-fields.ts';

const primary = await ScriptedUpstream.start(t, 'primary');
const shadow = await ScriptedUpstream.start(t, 'shadow');
const failing = await ScriptedUpstream.start(t, 'failing');
const lite = await ScriptedUpstream.start(t, 'lite');
const model = (name: string, more: object, via = shadow.address) => ({
  name,
  split: [{ model: `${name}@1 via ${primary.address}` }],
  shadows: [{ model: `${name}@2 via ${via}`, ...more }],
  breaker: { enabled: false },
});
const proxy = await ProxyProgram.start(t, {
  document: {
    clusters: [{ name: 'lite', model: 'lite', endpoints: [lite.address] }],
    models: [
      model('exact', {}),
      model('hung', { maxConcurrent: 3 }),
      model('slow', {}),
      model('flooded', { maxSize: '64KiB' }),
      model('full', { maxSize: '2KiB' }),
      model('dying', {}),
      model('dead', {}, '127.0.0.1:1'),
      model('half', { percent: '50%' }),
      model('paced', { maxComparisonsPerSecond: 1 }),
      model('unhealthy', {}),
      { ...model('limited', {}), breaker: { consecutiveFailures: 2, open: '1h', maxOpen: '1h' } },
      {
        ...model('cohorts', {}),
        cohort: { header: 'x-kind', names: { f: 'freelancer' } },
      },
      {
        name: 'replaced',
        split: [{ model: `replaced@1 via ${failing.address}` }],
        shadows: [{ model: `replaced@2 via ${shadow.address}` }],
        fallback: [{ cluster: 'lite' }],
        breaker: { enabled: false },
      },
    ],
  },
  ready: false,
});
const caller = GrpcCaller.to(t, proxy.address);

/** Calls one after the other; every one must be answered by the primary. Returns the longest time, milliseconds. */
async function callPrimary(test: Test, name: string, count: number): Promise<number> {
  let longest = 0;
  for (let i = 0; i < count; i++) {
    const answer = await caller.predict(name);
    if (answer.status !== 0 || servedBy(answer) !== 'primary') test.fail(`${answer.status} ${answer.message}`);
    longest = Math.max(longest, answer.tookMs);
  }
  return longest;
}

async function during(script: Script, call: () => Promise<void>): Promise<void> {
  shadow.script = script;
  await call();
  // Copies leave a little later than the requests.
  await proxy.metricsOnce((metrics) => metrics.sum('understudy_mirror_in_flight_requests') <= hanging);
  shadow.script = answers('shadow');
}

/** Calls that a shadow holds until they are given up. */
let hanging = 0;

const mirrored = (name: string) => ({ model: name, cluster: `${name}@2` });

async function drops(name: string, reason: string, expected: number): Promise<number> {
  const count = (metrics: { sum: ProxyMetricsSum }) =>
    metrics.sum('understudy_mirror_drops_total', { ...mirrored(name), reason });
  return count(await proxy.metricsOnce((metrics) => count(metrics) === expected));
}
type ProxyMetricsSum = (name: string, labels?: Record<string, string>) => number;

async function settled(name: string): Promise<void> {
  await proxy.metricsOnce(
    (metrics) =>
      metrics.sum('understudy_mirror_in_flight_requests', mirrored(name)) === 0 &&
      metrics.sum('understudy_mirror_held_bytes', mirrored(name)) === 0,
  );
}

t.test('the shadow gets the same bytes but for the spec, and is told that it is one', async (test) => {
  const whole = predictRequest(
    { name: 'exact', signature_name: 's' },
    Array.from({ length: 30_000 }, (_, i) => i),
  );
  const answer = await caller.call([whole.subarray(0, 70_000), whole.subarray(70_000)], { 'x-tag': 'kept' });
  test.equal(servedBy(answer), 'primary');
  await settled('exact');
  const seen = shadow.calls.at(-1)!;
  const original = fieldsOf(whole.subarray(5)).filter(({ number }) => number !== 1);
  const copy = fieldsOf((await seen.body).subarray(5)).filter(({ number }) => number !== 1);
  test.ok(Buffer.concat(copy.map(({ bytes }) => bytes)).equals(Buffer.concat(original.map(({ bytes }) => bytes))));
  test.match((await seen.request()).model_spec, { name: 'exact', version: { value: '2' }, signature_name: 's' });
  test.match(seen.headers, { 'x-understudy-shadow': '1', 'x-tag': 'kept' });
  test.equal(primary.calls.at(-1)!.headers['x-understudy-shadow'], undefined);
});

t.test('answers are compared, by cohort', async (test) => {
  shadow.script = async (call) => call.answer(predictResponse('primary', await call.body, [0.75, 0.25]));
  for (let i = 0; i < 6; i++) await caller.predict('cohorts', { 'x-kind': i < 2 ? 'f' : 'e' });
  await settled('cohorts');
  shadow.script = async (call) => call.answer(predictResponse('primary', await call.body));
  for (let i = 0; i < 4; i++) await caller.predict('cohorts', { 'x-kind': 'e' });
  await settled('cohorts');
  shadow.script = answers('shadow');
  const compared = (metrics: { sum: ProxyMetricsSum }) =>
    metrics.sum('understudy_comparison_pairs_total', { model: 'cohorts' });
  test.equal(compared(await proxy.metricsOnce((metrics) => compared(metrics) === 10)), 10);
  const { models } = await proxy.json('/models');
  const { cohorts } = models.find(({ name }: { name: string }) => name === 'cohorts').shadows[0];
  test.match(cohorts, { freelancer: { pairs: 2, agreement: 0 }, e: { pairs: 8, agreement: 0.5 } });
});

t.test('answers that are no numbers, and ones of another shape, are faults of the shadow', async (test) => {
  shadow.script = async (call) => call.answer(predictResponse('primary', await call.body, [Number.NaN, 1]));
  await caller.predict('exact');
  await settled('exact');
  shadow.script = async (call) => call.answer(predictResponse('primary', await call.body, [1, 2, 3]));
  await caller.predict('exact');
  await settled('exact');
  shadow.script = answers('shadow');
  const faults = (metrics: { sum: ProxyMetricsSum }) =>
    metrics.sum('understudy_comparison_faults_total', { model: 'exact' });
  test.ok(faults(await proxy.metricsOnce((metrics) => faults(metrics) >= 2)) >= 2);
});

t.test('a shadow that hangs holds no more than its bound, and the rest is dropped', async (test) => {
  const before = shadow.count;
  await during(hangs, async () => {
    const longest = await callPrimary(test, 'hung', 50);
    test.ok(longest < 200, `${longest} ms`);
    test.equal(await drops('hung', 'queue_full', 47), 47);
    hanging = 3;
    await proxy.metricsOnce(() => shadow.count - before === 3);
    test.equal(shadow.count - before, 3);
  });
});

t.test('a shadow that is slow moves nothing', async (test) => {
  await during(answersAfter('shadow', 400), async () => {
    const longest = await callPrimary(test, 'slow', 40);
    test.ok(longest < 200, `${longest} ms`);
    await settled('slow');
  });
});

t.test('a shadow that floods is cut at its bound of bytes', async (test) => {
  const flood: Script = (call) => {
    call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    const chunk = Buffer.alloc(64 * 1024);
    const more = () => {
      while (!call.stream.destroyed && call.stream.write(chunk));
    };
    call.stream.on('drain', more);
    more();
  };
  await during(flood, async () => {
    const longest = await callPrimary(test, 'flooded', 30);
    test.ok(longest < 300, `${longest} ms`);
    test.equal(await drops('flooded', 'bytes_full', 30), 30);
    await settled('flooded');
  });
});

t.test('copies that do not fit are dropped for bytes', async (test) => {
  const values = Array.from({ length: 1000 }, () => 1);
  test.equal(servedBy(await caller.call(predictRequest('full', values))), 'primary');
  test.equal(await drops('full', 'bytes_full', 1), 1);
});

t.test('a shadow that dies in the middle of its answers costs its own pairs', async (test) => {
  let asked = 0;
  const dies: Script = (call) => {
    asked++;
    void call.answerHalf();
  };
  await during(dies, async () => {
    const longest = await callPrimary(test, 'dying', 30);
    test.ok(longest < 200, `${longest} ms`);
    await settled('dying');
    const metrics = await proxy.metrics();
    const lost = metrics.sum('understudy_mirror_drops_total', { ...mirrored('dying') });
    test.equal(lost, 30, 'each is counted');
    test.ok(asked > 0);
  });
});

t.test('a shadow that cannot be reached is counted as unhealthy', async (test) => {
  await callPrimary(test, 'dead', 20);
  const all = (await proxy.metricsOnce((m) => m.sum('understudy_mirror_drops_total', mirrored('dead')) === 20)).sum(
    'understudy_mirror_drops_total',
    mirrored('dead'),
  );
  test.equal(all, 20);
  test.equal(await drops('dead', 'unhealthy', 20), 20);
});

t.test("a shadow's breaker spares a shadow that fails, and the primary's never hears of it", async (test) => {
  await during(
    (call) => call.stream.respond({ ':status': 503 }, { endStream: true }),
    async () => {
      await callPrimary(test, 'limited', 2);
      await settled('limited');
      const before = shadow.count;
      await callPrimary(test, 'limited', 5);
      test.equal(shadow.count, before, 'HTTP 503 is a failure like any other');
      test.equal(await drops('limited', 'unhealthy', 5), 5);
    },
  );
  const { clusters } = await proxy.json('/models');
  const state = (name: string) => clusters.find((cluster: { name: string }) => cluster.name === name).breaker.state;
  test.equal(state('limited@2'), 'open');
  test.equal(state('limited@1'), 'closed');
});

t.test('a share of the calls is shown, and the others are counted as not sampled', async (test) => {
  const before = shadow.count;
  for (let i = 0; i < 200; i++) await caller.predict('half', { 'x-request-id': `r${i}` });
  await settled('half');
  const shown = shadow.count - before;
  test.ok(shown > 60 && shown < 140, `${shown} of 200`);
  test.equal(await drops('half', 'not_sampled', 200 - shown), 200 - shown);
});

t.test(
  'past the comparisons of a second every copy is still sent, and its answer is counted and not kept',
  async (test) => {
    const before = shadow.count;
    await callPrimary(test, 'paced', 20);
    await settled('paced');
    test.equal(shadow.count, before + 20);
    const results = (metrics: { sum: ProxyMetricsSum }, result: string) =>
      metrics.sum('understudy_comparison_results_total', { ...mirrored('paced'), result });
    const metrics = await proxy.metricsOnce(
      (all) => results(all, 'compared') + results(all, 'not_sampled') === 20 && results(all, 'not_sampled') > 0,
    );
    test.ok(results(metrics, 'compared') >= 1, 'the first of a second is compared');
    test.ok(results(metrics, 'not_sampled') >= 1);
    test.equal(results(metrics, 'compared') + results(metrics, 'not_sampled'), 20);
  },
);

t.test('the shadow is shown what a failed primary was asked, once, and the fallback is not compared', async (test) => {
  failing.script = (call) => call.failInHead(14);
  const before = shadow.count;
  test.equal(servedBy(await caller.predict('replaced')), 'lite');
  await settled('replaced');
  test.equal(shadow.count, before + 1);
  test.notOk(lite.calls.at(-1)!.headers['x-understudy-shadow']);
});

t.test('an answer too large to keep is not compared, and is no fault of the shadow', async (test) => {
  const large = Array.from({ length: 400_000 }, () => 0.5);
  primary.script = async (call) => call.answer(predictResponse('primary', await call.body, large));
  const before = (await proxy.metrics()).sum('understudy_comparison_faults_total', { model: 'slow' });
  const answer = await caller.predict('slow');
  test.equal(answer.status, 0);
  primary.script = answers('primary');
  await settled('slow');
  const metrics = await proxy.metrics();
  test.equal(metrics.sum('understudy_comparison_faults_total', { model: 'slow' }), before);
});

t.test('calls that pin a version, and calls about a model, are not shown', async (test) => {
  const before = shadow.count;
  await caller.predict({ name: 'exact', version: { value: '9' } });
  await caller.predict('exact', { ':path': '/tensorflow.serving.PredictionService/GetModelMetadata' });
  await settled('exact');
  test.equal(shadow.count, before);
});

t.test('a caller that cancels leaves nothing behind', async (test) => {
  primary.script = hangs;
  for (let i = 0; i < 20; i++) {
    const stream = caller.open();
    stream.on('error', () => {});
    stream.end(predictRequest('exact'));
    await new Promise((resolve) => setTimeout(resolve, 2));
    stream.close(8);
  }
  primary.script = answers('primary');
  await settled('exact');
  const metrics = await proxy.metricsOnce((reading) => reading.sum('understudy_cluster_in_flight_requests') <= 3);
  test.equal(metrics.sum('understudy_mirror_in_flight_requests', mirrored('exact')), 0);
  test.equal(metrics.sum('understudy_mirror_held_bytes', mirrored('exact')), 0);
  test.equal(metrics.sum('understudy_replay_held_bytes'), 0);
});
