/** Deadlines are the proxy's to keep, and a caller that gives up is heard upstream at once. */
import { setTimeout as delay, setImmediate as immediate } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import t from 'tap';
import { GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { SOON_MS } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { answers, answersAfter, hangs, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';

const CANCEL = 8;

const upstream = await ScriptedUpstream.start(t, 'upstream');
const proxy = await ProxyProgram.start(t, {
  env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: upstream.address },
  document: {
    models: [
      { name: 'm', split: [{ model: `m@1 via ${upstream.address}` }], breaker: { enabled: false } },
      {
        name: 'limited',
        split: [{ model: `limited@1 via ${upstream.address}` }],
        timeouts: { request: '200ms' },
        breaker: { enabled: false },
      },
    ],
  },
});
const caller = GrpcCaller.to(t, proxy.address);

/** The upstream's view of the last call once it was reset; how long after `sinceMs` that was. */
async function resetAfter(sinceMs: number): Promise<{ code: number | null; tookMs: number }> {
  const call = upstream.calls.at(-1)!;
  while (call.resetCode === null && performance.now() < sinceMs + SOON_MS) await delay(5);
  return { code: call.resetCode, tookMs: call.resetAtMs - sinceMs };
}

t.test('a deadline that passes is answered with DEADLINE_EXCEEDED, and the upstream is cancelled', async (test) => {
  upstream.script = hangs;
  const answer = await caller.predict('m', { 'grpc-timeout': '100m' });
  const endedMs = performance.now();
  test.equal(answer.status, 4);
  test.equal(answer.served['reason'], 'deadline_exceeded');
  test.ok(answer.tookMs >= 100 && answer.tookMs < SOON_MS, `${answer.tookMs} ms`);
  const { code, tookMs } = await resetAfter(endedMs);
  test.equal(code, CANCEL);
  test.ok(tookMs < SOON_MS, `${tookMs} ms`);
});

t.test('every unit of grpc-timeout is read', async (test) => {
  upstream.script = hangs;
  for (const value of ['100000u', '99999999n', '100m']) {
    const answer = await caller.predict('m', { 'grpc-timeout': value });
    test.equal(answer.status, 4, value);
    test.ok(answer.tookMs >= 95 && answer.tookMs < SOON_MS, `${value}: ${answer.tookMs} ms`);
  }
  upstream.script = answers('upstream');
  for (const value of ['1S', '1M', '1H', '99999999H']) {
    test.equal((await caller.predict('m', { 'grpc-timeout': value })).status, 0, value);
  }
});

t.test('without a deadline of the caller the one of the configuration holds', async (test) => {
  upstream.script = hangs;
  const answer = await caller.predict('limited');
  test.equal(answer.status, 4);
  test.ok(answer.tookMs >= 200 && answer.tookMs < SOON_MS, `${answer.tookMs} ms`);
});

t.test('a deadline that passes within the answer ends it with trailers', async (test) => {
  upstream.script = (call) => {
    call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    call.stream.write('part');
  };
  const answer = await caller.predict('m', { 'grpc-timeout': '100m' });
  test.equal(answer.status, 4);
  test.equal(String(answer.body), 'part');
  test.equal((await resetAfter(performance.now())).code, CANCEL);
});

t.test('a call that is only relayed keeps its deadline too', async (test) => {
  upstream.script = hangs;
  const answer = await caller.predict('m', { ':path': '/other.Service/Call', 'grpc-timeout': '100m' });
  test.equal(answer.status, 4);
  test.equal((await resetAfter(performance.now())).code, CANCEL);
});

t.test('an answer in time is not disturbed, with a thousand deadlines armed', async (test) => {
  upstream.script = answersAfter('upstream', 1000);
  const all = await Promise.all(
    Array.from({ length: 900 }, (_, i) => caller.predict('m', { 'grpc-timeout': i % 3 === 0 ? '50m' : '20S' })),
  );
  test.equal(all.filter(({ status }) => status === 0).length, 600);
  test.equal(all.filter(({ status }) => status === 4).length, 300);
});

t.test('a caller that cancels is heard upstream at once', async (test) => {
  upstream.script = hangs;
  const client = new TfsClient(proxy.address);
  test.teardown(() => client.close());
  const before = upstream.calls.length;
  const { reply, cancel } = client.start('tensorflow.serving.PredictionService', 'Predict', {
    model_spec: modelSpec('m'),
    inputs: { x: floats([1], [1]) },
  });
  while (upstream.calls.length === before) await delay(5);
  await upstream.calls.at(-1)!.body;
  const cancelledMs = performance.now();
  cancel();
  await test.rejects(reply, { code: grpc.status.CANCELLED });
  const { code, tookMs } = await resetAfter(cancelledMs);
  test.equal(code, CANCEL);
  test.ok(tookMs < SOON_MS, `${tookMs} ms`);
});

t.test('a cancel is heard upstream before the next call of the same caller', async (test) => {
  // Order shows what a clock could not on a busy machine: the proxy passes a cancel on in the turn in which it reads it.
  for (let round = 0; round < 5; round++) {
    upstream.script = hangs;
    const before = upstream.calls.length;
    const stream = caller.open();
    stream.on('error', () => {});
    stream.end(predictRequest('m'));
    while (upstream.calls.length === before) await delay(5);
    await upstream.calls[before]!.body;
    let heard: number | null = null;
    upstream.script = async (call) => {
      await immediate();
      heard = upstream.calls[before]!.resetCode;
      await answers('upstream')(call);
    };
    stream.close(CANCEL);
    test.equal((await caller.predict('m')).status, 0);
    test.equal(heard, CANCEL);
  }
});

t.test('a caller that dies is heard upstream at once, for all of its calls', async (test) => {
  upstream.script = hangs;
  const other = new GrpcCaller(proxy.address);
  const before = upstream.calls.length;
  for (let i = 0; i < 20; i++) void other.predict('m');
  while (upstream.calls.length < before + 20) await delay(5);
  other.session.socket.destroy();
  const diedMs = performance.now();
  await resetAfter(diedMs);
  const calls = upstream.calls.slice(before);
  while (calls.some(({ resetCode }) => resetCode === null) && performance.now() < diedMs + SOON_MS) await delay(5);
  test.ok(calls.every(({ resetCode }) => resetCode === CANCEL));
  other.close();
});

t.test('a cancelled call leaves its neighbours on the same connections alone', async (test) => {
  upstream.script = answersAfter('upstream', 60);
  const streams = Array.from({ length: 50 }, () => {
    const stream = caller.open();
    stream.on('error', () => {});
    stream.end(predictRequest('m'));
    return stream;
  });
  const kept = Array.from({ length: 50 }, () => caller.predict('m'));
  await delay(20);
  for (const stream of streams) stream.close(CANCEL);
  const all = await Promise.all(kept);
  test.ok(all.every((answer) => answer.status === 0 && servedBy(answer) === 'upstream'));
});

t.test('outcomes are counted, and nothing is left', async (test) => {
  const metrics = await proxy.metricsOnce((reading) => reading.sum('understudy_cluster_in_flight_requests') === 0);
  test.equal(metrics.sum('understudy_cluster_in_flight_requests'), 0);
  test.equal(metrics.sum('understudy_downstream_open_streams'), 0);
  test.equal(metrics.sum('understudy_cluster_requests_total', { cluster: 'm@1', outcome: 'cancelled' }), 76);
  test.equal(metrics.sum('understudy_local_replies_total', { reason: 'deadline' }), 307);
});
