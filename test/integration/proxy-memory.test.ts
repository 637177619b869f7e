/** What one data thread holds for slow requests in all: at its bounds the heaviest give way, and nobody else notices. */
import http2 from 'node:http2';
import t, { type Test } from 'tap';
import { answerOf, GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { answers, framed, type Script, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { bytesField } from '../support/wire-fields.ts';

const primary = await ScriptedUpstream.start(t, 'primary');
let arrived = 0;
const readsOnly: Script = async (call) => {
  await call.body;
  arrived++;
};
const slow = await ScriptedUpstream.start(t, 'slow', { script: readsOnly, forget: true });
const lite = await ScriptedUpstream.start(t, 'lite', { script: answers('lite') });
const model = (name: string, via: ScriptedUpstream) => ({
  name,
  split: [{ model: `${name}@1 via ${via.address}` }],
  fallback: [{ model: `lite via ${lite.address}` }],
  breaker: { enabled: false },
});
const start = (test: Test) =>
  ProxyProgram.start(test, {
    env: {
      UNDERSTUDY_OUTBOUND_MAX_HELD_SIZE: '2MiB',
      UNDERSTUDY_OUTBOUND_MAX_WAITING_SIZE: '1MiB',
      UNDERSTUDY_CONCURRENCY: '1',
    },
    document: {
      models: [
        model('m', primary),
        model('slow', slow),
        {
          ...model('sheds', slow),
          fallback: [{ model: `lite@2 via ${lite.address}` }],
          breaker: { consecutiveFailures: 1 },
        },
      ],
    },
    ready: false,
  });

/** A Predict of about this size whose model is named at its beginning, or at its end. */
function request(name: string, bytes: number, isNamedLast = false): Buffer {
  const spec = predictRequest(name).subarray(5);
  const rest = bytesField(100, Buffer.alloc(bytes));
  return framed(Buffer.concat(isNamedLast ? [rest, spec] : [spec, rest]));
}

function open(session: http2.ClientHttp2Session): http2.ClientHttp2Stream {
  return session.request({
    ':method': 'POST',
    ':path': '/tensorflow.serving.PredictionService/Predict',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
}

/** Calls in a row, all answered by the primary; their times, milliseconds, sorted. */
async function honestCalls(test: Test, caller: GrpcCaller): Promise<void> {
  const took: number[] = [];
  for (let i = 0; i < 100; i++) {
    const answer = await caller.predict('m');
    if (answer.status !== 0 || servedBy(answer) !== 'primary') test.fail(`${answer.status} ${answer.message}`);
    took.push(answer.tookMs);
  }
  took.sort((a, b) => a - b);
  test.comment(`honest client: p50 ${took[50]!.toFixed(2)} ms, p99 ${took[98]!.toFixed(2)} ms`);
}

t.test('copies kept for a fallback are given up, the heaviest first, and their requests go on', async (test) => {
  const proxy = await start(test);
  const session = http2.connect(`http://${proxy.address}`);
  test.teardown(() => session.destroy());
  session.on('error', () => {});
  // Nine requests wait for an upstream that does not answer: 2.2 MB, of which two are 400 KB each.
  for (const size of [200, 200, 400, 200, 200, 400, 200, 200, 200]) {
    const stream = open(session);
    stream.on('error', () => {});
    const before = arrived;
    stream.end(request('slow', size * 1000));
    // One after the other, so that none of them waits for the upstream's window as well.
    await until(() => arrived > before, 'the request is there', 10_000);
  }
  const given = { verdict: 'copy_given_up' };
  const metrics = await proxy.metricsOnce(
    (reading) =>
      reading.sum('understudy_memory_verdicts_total', given) > 0 &&
      reading.sum('understudy_cluster_in_flight_requests') === 9,
    10_000,
  );
  const count = metrics.sum('understudy_memory_verdicts_total', given);
  test.ok(count >= 1 && count < 9, `${count} of 9: some, and not the rest`);
  test.ok(metrics.sum('understudy_replay_held_bytes') < 2 * 1024 * 1024);
  test.equal(metrics.sum('understudy_cluster_in_flight_requests'), 9, 'all of them still wait for their answers');
  test.equal(metrics.sum('understudy_cluster_unreplayable_requests_total'), count);
  await honestCalls(test, GrpcCaller.to(test, proxy.address));
});

t.test('requests whose model is still to come share a bound: the one that brings more is refused', async (test) => {
  const proxy = await start(test);
  const session = http2.connect(`http://${proxy.address}`, { settings: { initialWindowSize: 1024 * 1024 } });
  test.teardown(() => session.destroy());
  session.on('error', () => {});
  const streams = Array.from({ length: 8 }, () => open(session));
  const ends = streams.map((stream) => answerOf(stream));
  // Each sends 180 KB of a message that names its model at the end, and stops there.
  for (const stream of streams) stream.write(request('m', 400_000, true).subarray(0, 180_000));
  const refused = { verdict: 'waiting_refused' };
  const full = await proxy.metricsOnce(
    (reading) => reading.sum('understudy_memory_verdicts_total', refused) >= 3,
    10_000,
  );
  test.equal(full.sum('understudy_memory_verdicts_total', refused), 3, '5 of 180 KB fit into 1 MiB');
  await honestCalls(test, GrpcCaller.to(test, proxy.address));
  const rest = request('m', 400_000, true).subarray(180_000);
  for (const stream of streams) if (!stream.destroyed) stream.end(rest);
  const answersSeen = await Promise.all(ends);
  const statuses = answersSeen.map((answer) => answer.status);
  test.equal(statuses.filter((status) => status === 8).length >= 3, true, `${statuses}`);
  test.ok(answersSeen.some((answer) => answer.status === 0 && servedBy(answer) === 'primary'));
  const reasons = answersSeen.filter((answer) => answer.status === 8).map((answer) => answer.served['reason']);
  for (const reason of reasons) test.equal(reason, 'memory_overflow');
  const idle = await proxy.metricsOnce((reading) => reading.sum('understudy_memory_held_bytes') === 0);
  test.equal(idle.sum('understudy_memory_held_bytes'), 0, 'nothing is left');
});

t.test(
  'answers held back for a fallback count too: the heaviest request ends with RESOURCE_EXHAUSTED',
  async (test) => {
    const proxy = await start(test);
    slow.script = async (call) => {
      await call.body;
      call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      call.stream.write(Buffer.alloc(900_000));
    };
    const session = http2.connect(`http://${proxy.address}`);
    test.teardown(() => session.destroy());
    session.on('error', () => {});
    const ends = Array.from({ length: 3 }, () => {
      const stream = open(session);
      const end = answerOf(stream);
      stream.end(request('sheds', 100));
      return end;
    });
    const refused = await Promise.race(ends);
    test.equal(refused.status, 8);
    const metrics = await proxy.metrics();
    test.ok(metrics.sum('understudy_memory_verdicts_total', { verdict: 'request_refused' }) >= 1);
    test.equal(
      metrics.sum('understudy_breaker_state', { cluster: 'sheds@1', state: 'closed' }),
      1,
      'our bound, not its fault',
    );
    await honestCalls(test, GrpcCaller.to(test, proxy.address));
  },
);
