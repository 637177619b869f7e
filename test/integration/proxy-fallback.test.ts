/** The fallback answers in the same request, for every way in which a primary can fail, and says so. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Answer, GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { answers, answersAfter, hangs, type Script, ScriptedUpstream } from '../support/scripted-upstream.ts';

const primary = await ScriptedUpstream.start(t, 'primary');
const fallback = await ScriptedUpstream.start(t, 'lite');
const spare = await ScriptedUpstream.start(t, 'spare');
/** Accepts connections and never says a word. */
const silent = createServer(() => {}).listen(0, '127.0.0.1');
const silentPort = await new Promise<number>((resolve) =>
  silent.on('listening', () => resolve((silent.address() as { port: number }).port)),
);
t.teardown(() => silent.close());

const logFile = join(t.testdir(), 'access.log');
const lite = { cluster: 'lite@7' };
const clusters = [{ name: 'lite@7', model: 'lite', version: '7', endpoints: [fallback.address] }];
const off = { breaker: { enabled: false } };
const proxy = await ProxyProgram.start(t, {
  ready: false,
  env: {
    UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: primary.address,
    UNDERSTUDY_ACCESS_LOG: 'json',
    UNDERSTUDY_ACCESS_LOG_FILE: logFile,
  },
  document: {
    clusters,
    models: [
      { name: 'm', split: [{ model: `m@1 via ${primary.address}` }], fallback: [lite], ...off },
      { name: 'alone', split: [{ model: `alone@1 via ${primary.address}` }], ...off },
      { name: 'refused', split: [{ model: 'refused@1 via 127.0.0.1:1' }], fallback: [lite], ...off },
      {
        name: 'steps',
        split: [{ model: 'steps@1 via 127.0.0.1:1' }],
        fallback: [{ model: `first@1 via ${spare.address}` }, lite],
        ...off,
      },
      {
        name: 'broken',
        split: [{ model: `broken@1 via ${primary.address}` }],
        fallback: [lite],
        breaker: { consecutiveFailures: 1, open: '1h', maxOpen: '1h' },
      },
      {
        name: 'narrow',
        split: [{ model: `narrow@1 via ${primary.address}` }],
        fallback: [lite],
        limits: { concurrentRequests: 2 },
        ...off,
      },
      {
        name: 'picky',
        split: [{ model: `picky@1 via ${primary.address}` }],
        fallback: [lite],
        fallbackStatuses: ['ABORTED'],
        ...off,
      },
      {
        name: 'small',
        split: [{ model: `small@1 via ${primary.address}` }],
        fallback: [lite],
        maxReplaySize: '1KiB',
        ...off,
      },
    ],
  },
});
const caller = GrpcCaller.to(t, proxy.address);

function checkStoodIn(test: Test, answer: Answer, reason: string): void {
  test.equal(answer.status, 0, answer.message);
  test.equal(servedBy(answer), 'lite');
  test.match(answer.served, { 'served-by': 'lite@7', 'model-version': '7', reason });
}

/** Runs one call while the primary does as told. */
async function during(script: Script, call: () => Promise<Answer>): Promise<Answer> {
  primary.script = script;
  const answer = await call();
  primary.script = answers('primary');
  return answer;
}

t.test('a primary that answers is the one that answers', async (test) => {
  const answer = await caller.predict('m');
  test.equal(servedBy(answer), 'primary');
  test.strictSame(answer.served, { 'served-by': 'm@1', 'model-version': '1' });
});

const triggers: Record<string, { script: Script; reason: string }> = {
  'a status in the head': { script: (call) => call.failInHead(14, 'down'), reason: 'status' },
  'a status in the trailers': { script: (call) => call.failInTrailers(13, 'bug'), reason: 'status' },
  'a reset before the answer': { script: (call) => call.reset(), reason: 'reset' },
  'a reset in the middle of the answer': { script: (call) => void call.answerHalf(), reason: 'reset' },
  'a connection that is cut': { script: (call) => void call.stream.session?.socket.destroy(), reason: 'reset' },
  'a refusal that repeats': { script: (call) => call.refuse(), reason: 'reset' },
  'HTTP 503': { script: (call) => call.stream.respond({ ':status': 503 }, { endStream: true }), reason: 'status' },
  'an answer without a status': {
    script: (call) => {
      call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      call.stream.end('x');
    },
    reason: 'status',
  },
  batch_queue_full: {
    script: (call) => call.failInHead(14, 'full', { 'x-understudy-reason': 'batch_queue_full' }),
    reason: 'status',
  },
};

for (const [what, { script, reason }] of Object.entries(triggers)) {
  t.test(`${what} is answered by the fallback`, async (test) => {
    checkStoodIn(test, await during(script, () => caller.predict('m')), reason);
    const asked = await fallback.calls.at(-1)!.request();
    test.match(asked.model_spec, { name: 'lite', version: { value: '7' } }, 'under its own name and version');
  });
}

t.test(
  'a status that comes before the request is complete is answered by the fallback, which gets all of it',
  async (test) => {
    primary.script = (call) => call.failInHead(14);
    const whole = predictRequest(
      'm',
      Array.from({ length: 50_000 }, (_, i) => i),
    );
    const answer = await caller.call([whole.subarray(0, 100_000), whole.subarray(100_000)]);
    primary.script = answers('primary');
    checkStoodIn(test, answer, 'status');
    test.equal((await fallback.calls.at(-1)!.request()).inputs.x.float_val.length, 50_000);
  },
);

t.test('a primary that cannot be connected to is answered for by the fallback', async (test) => {
  checkStoodIn(test, await caller.predict('refused'), 'connect_failed');
});

t.test('a primary that hangs past its share of the deadline is answered for within the deadline', async (test) => {
  const answer = await during(hangs, () => caller.predict('m', { 'grpc-timeout': '2S' }));
  checkStoodIn(test, answer, 'deadline_budget');
  test.ok(answer.tookMs >= 1580 && answer.tookMs < 2000, `${answer.tookMs} ms`);
});

t.test('an open breaker is answered for without asking the primary', async (test) => {
  checkStoodIn(
    test,
    await during(
      (call) => call.failInHead(14),
      () => caller.predict('broken'),
    ),
    'status',
  );
  const before = primary.count;
  checkStoodIn(test, await caller.predict('broken'), 'breaker_open');
  test.equal(primary.count, before);
});

t.test('calls above the concurrency limit are answered by the fallback', async (test) => {
  primary.script = answersAfter('primary', 200);
  const all = await Promise.all(Array.from({ length: 6 }, () => caller.predict('narrow')));
  primary.script = answers('primary');
  const names = all.map(servedBy).sort();
  test.same(names, ['lite', 'lite', 'lite', 'lite', 'primary', 'primary']);
  for (const answer of all) if (servedBy(answer) === 'lite') checkStoodIn(test, answer, 'overflow');
});

t.test('a second fallback answers for the first, with the reason of the primary', async (test) => {
  spare.script = (call) => call.failInHead(14);
  checkStoodIn(test, await caller.predict('steps'), 'connect_failed');
  test.equal(spare.count, 1);
});

t.test('statuses that blame the caller are passed on, and so is every status that is not listed', async (test) => {
  for (const [model, status] of [
    ['m', 3],
    ['m', 7],
    ['m', 11],
    ['m', 12],
    ['picky', 14],
  ] as const) {
    const before = fallback.count;
    const answer = await during(
      (call) => call.failInHead(status, 'says the primary'),
      () => caller.predict(model),
    );
    test.equal(answer.status, status);
    test.equal(answer.message, 'says the primary');
    test.equal(fallback.count, before);
  }
  checkStoodIn(
    test,
    await during(
      (call) => call.failInHead(10),
      () => caller.predict('picky'),
    ),
    'status',
  );
});

t.test('when the fallback fails too, the caller gets what the primary said', async (test) => {
  fallback.script = (call) => call.failInTrailers(2, 'says the fallback');
  const failures: [Script, number, RegExp][] = [
    [(call) => call.failInHead(14, 'says the primary', { 'x-detail': 'd' }), 14, /^says the primary$/],
    [(call) => call.failInTrailers(13, 'says the primary', { 'x-detail': 'd' }), 13, /^says the primary$/],
    [(call) => call.reset(), 14, /the%20upstream%20ended/],
  ];
  for (const [script, status, message] of failures) {
    const answer = await during(script, () => caller.predict('m'));
    test.equal(answer.status, status);
    test.match(answer.message, message);
    test.equal(answer.body.length, 0, 'no half answer');
  }
  fallback.script = (call) => call.reset();
  test.match(
    await during(
      (call) => call.failInHead(14, 'primary'),
      () => caller.predict('m'),
    ),
    { status: 14, message: 'primary' },
  );
  test.match(await caller.predict('refused'), { status: 14, message: /cannot%20be%20connected/ });
  fallback.script = hangs;
  const late = await during(hangs, () => caller.predict('m', { 'grpc-timeout': '200m' }));
  test.equal(late.status, 4);
  fallback.script = answers('lite');
});

t.test('an answer larger than what is held back is streamed, and a failure in it is the answer', async (test) => {
  const before = fallback.count;
  const answer = await during(
    (call) => void call.answerHalf(3_000_000),
    () => caller.predict('m'),
  );
  test.equal(answer.status, 14);
  test.ok(answer.body.length > 1_000_000);
  test.equal(fallback.count, before);
});

t.test('a request too large to keep is not replayed', async (test) => {
  const whole = predictRequest(
    'small',
    Array.from({ length: 40_000 }, (_, i) => i),
  );
  primary.script = async (call) => {
    await call.body;
    call.failInHead(14, 'down');
  };
  const answer = await caller.call(whole);
  primary.script = answers('primary');
  test.match(answer, { status: 14, message: 'down' });
  const metrics = await proxy.metrics();
  test.equal(metrics.sum('understudy_cluster_unreplayable_requests_total', { cluster: 'small@1' }), 1);
  let lines: { model: string; replayable: boolean }[] = [];
  await until(() => {
    lines = readFileSync(logFile, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line));
    return lines.some(({ model }) => model === 'small');
  }, 'the line is written');
  test.same(new Set(lines.filter(({ replayable }) => !replayable).map(({ model }) => model)), new Set(['small']));
});

t.test('a call that pins a version the proxy does not know is not answered by another model', async (test) => {
  const before = fallback.count;
  const pinned = { name: 'm', version: { value: '99' } };
  const answer = await during(
    (call) => call.failInHead(5, 'no version 99'),
    () => caller.predict(pinned),
  );
  test.equal(answer.status, 5);
  test.equal(fallback.count, before);
});

t.test('calls about a model are not answered by another model', async (test) => {
  const before = fallback.count;
  const answer = await during(
    (call) => call.failInHead(14, 'down'),
    () => caller.predict('m', { ':path': '/tensorflow.serving.PredictionService/GetModelMetadata' }),
  );
  test.equal(answer.status, 14);
  test.equal(fallback.count, before);
});

t.test('a model without a fallback passes errors on as they are', async (test) => {
  const inTrailers = await during(
    (call) => call.failInTrailers(14, 'down', { 'x-more': '1' }),
    () => caller.predict('alone'),
  );
  test.match(inTrailers, { status: 14, message: 'down', trailers: { 'x-more': '1' } });
  test.equal(String(inTrailers.body.subarray(5)), 'half an answer');
  const reset = await during(
    (call) => call.reset(),
    () => caller.predict('alone'),
  );
  test.match(reset, { status: 14 });
});

t.test('a connect that gets no answer ends with its timeout', async (test) => {
  // Connected, but not one HTTP/2 frame: only the deadline can tell.
  const other = await ProxyProgram.start(test, {
    ready: false,
    document: {
      clusters,
      models: [{ name: 'm', split: [{ model: `m@1 via 127.0.0.1:${silentPort}` }], fallback: [lite] }],
    },
  });
  const answer = await GrpcCaller.to(test, other.address).predict('m', { 'grpc-timeout': '300m' });
  checkStoodIn(test, answer, 'deadline_budget');
});

t.test('what stood in is counted by reason, and nothing stays in flight', async (test) => {
  const metrics = await proxy.metricsOnce((reading) => reading.sum('understudy_cluster_in_flight_requests') === 0);
  test.equal(metrics.sum('understudy_cluster_in_flight_requests'), 0);
  test.equal(metrics.sum('understudy_replay_held_bytes'), 0);
  test.equal(metrics.sum('understudy_downstream_open_streams'), 0);
  for (const reason of ['status', 'reset', 'connect_failed', 'deadline_budget', 'breaker_open', 'overflow']) {
    test.ok(metrics.sum('understudy_cluster_answers_total', { cluster: 'lite@7', reason }) > 0, reason);
  }
});
