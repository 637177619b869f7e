/** Callers that vanish at every stage of a request, by the thousand: the others are served, memory stays, counters add up. */
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { answerOf, GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { type MetricsReading, ProxyProgram } from '../support/proxy-program.ts';
import { resetSocket } from '../support/reset.ts';
import { answers, answersAfter, ScriptedUpstream } from '../support/scripted-upstream.ts';

const CANCEL = 8;
const MiB = 1024 * 1024;
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
const PREDICT = {
  ':method': 'POST',
  ':path': '/tensorflow.serving.PredictionService/Predict',
  'content-type': 'application/grpc',
};

const upstream = await ScriptedUpstream.start(t, 'upstream', { forget: true, script: answersAfter('upstream', 30) });
const lite = await ScriptedUpstream.start(t, 'lite', { forget: true });
const proxy = await ProxyProgram.start(t, {
  env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: upstream.address, UNDERSTUDY_OUTBOUND_DETECT_TIMEOUT: '500ms' },
  document: {
    clusters: [{ name: 'lite', model: 'lite', endpoints: [lite.address] }],
    models: [
      { name: 'plain', split: [{ model: `plain@1 via ${upstream.address}` }] },
      {
        name: 'full',
        split: [{ model: `full@1 via ${upstream.address}` }],
        fallback: [{ cluster: 'lite' }],
        shadows: [{ model: `full@2 via ${lite.address}` }],
      },
    ],
  },
});
const [host = '', port = ''] = proxy.address.split(':');
const witness = GrpcCaller.to(t, proxy.address);
const whole = predictRequest('full');
const long = predictRequest(
  'full',
  Array.from({ length: 60_000 }, (_, i) => i),
);

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function leave(socket: Socket, abort: boolean): void {
  if (abort) resetSocket(socket);
  else socket.destroy();
}

/** A connection that writes these bytes, waits, and is gone: in order, or with an abort. */
async function bytesThenGone(bytes: Buffer, abort: boolean): Promise<void> {
  const socket = connect({ host, port: Number(port) });
  socket.on('error', () => {});
  socket.resume();
  socket.write(bytes);
  await delay(2);
  leave(socket, abort);
  await new Promise((resolve) => socket.on('close', resolve));
}

type Stream = ReturnType<GrpcCaller['open']>;

/** A caller that begins three calls as `begin` does and dies with all of them. */
async function callsThenGone(begin: (stream: Stream) => void, abort: boolean, waitMs: number): Promise<void> {
  const socket = connect({ host, port: Number(port) });
  const session = connectHttp2(`http://${proxy.address}`, { createConnection: () => socket });
  session.on('error', () => {});
  await new Promise((resolve) => {
    session.once('connect', resolve);
    session.once('close', resolve);
  });
  for (let i = 0; i < 3; i++) {
    const stream = session.request(PREDICT);
    stream.on('error', () => {});
    begin(stream);
  }
  await delay(waitMs);
  leave(socket, abort);
  session.destroy();
}

const half = Math.floor(long.length / 2);
const headers = Buffer.from([0x83, 0x86, 0x04, 0x03, 0x2f, 0x61, 0x2f]);
const opened = Buffer.concat([PREFACE, SETTINGS]);
const stages: Record<string, (abort: boolean) => Promise<void>> = {
  'without a word': (abort) => bytesThenGone(Buffer.alloc(0), abort),
  'within the preface': (abort) => bytesThenGone(PREFACE.subarray(0, 10), abort),
  'after the preface': (abort) => bytesThenGone(PREFACE, abort),
  'after SETTINGS': (abort) => bytesThenGone(opened, abort),
  'within a frame header': (abort) => bytesThenGone(Buffer.concat([opened, Buffer.from([0, 0])]), abort),
  'within a header block': (abort) => bytesThenGone(Buffer.concat([opened, frame(1, 0, 1, headers)]), abort),
  'with garbage': (abort) => bytesThenGone(Buffer.concat([opened, Buffer.alloc(300, 0xee)]), abort),
  'after the head': (abort) => callsThenGone(() => {}, abort, 3),
  'within the prefix': (abort) => callsThenGone((stream) => stream.write(whole.subarray(0, 3)), abort, 3),
  'before the model is known': (abort) => callsThenGone((stream) => stream.write(long.subarray(0, 1000)), abort, 3),
  'within a long request': (abort) => callsThenGone((stream) => stream.write(long.subarray(0, half)), abort, 10),
  'before the answer': (abort) => callsThenGone((stream) => stream.end(whole), abort, 5),
  'around the answer': (abort) => callsThenGone((stream) => stream.end(whole), abort, 30),
  'with a cancel after the head': (abort) => callsThenGone((stream) => stream.close(CANCEL), abort, 3),
  'with a cancel before the answer': (abort) =>
    callsThenGone(
      (stream) => {
        stream.end(whole);
        setTimeout(() => stream.close(CANCEL), 5);
      },
      abort,
      10,
    ),
};

const quiet = (metrics: MetricsReading): boolean =>
  metrics.sum('understudy_cluster_in_flight_requests') === 0 &&
  metrics.sum('understudy_downstream_open_streams') === 0 &&
  metrics.sum('understudy_mirror_in_flight_requests') === 0 &&
  metrics.sum('understudy_downstream_open_connections') === 1;

async function checkQuiet(test: Test): Promise<MetricsReading> {
  const metrics = await proxy.metricsOnce(quiet);
  for (const gauge of [
    'understudy_cluster_in_flight_requests',
    'understudy_downstream_open_streams',
    'understudy_mirror_in_flight_requests',
    'understudy_mirror_held_bytes',
    'understudy_replay_held_bytes',
    'understudy_opaque_open_connections',
  ]) {
    test.equal(metrics.sum(gauge), 0, gauge);
  }
  test.equal(metrics.sum('understudy_downstream_open_connections'), 1, 'only the witness is there');
  return metrics;
}

async function vanish(rounds: number): Promise<number> {
  const all = Object.values(stages);
  for (let round = 0; round < rounds; round++) {
    const abort = round % 2 === 1;
    await Promise.all([...all, ...all, ...all, ...all].map((stage) => stage(abort)));
  }
  return rounds * all.length * 4;
}

/** The witness calls one after the other while callers vanish; afterwards it is silent, so that nothing at all is in flight. */
async function besideWitness(vanishing: () => Promise<void>, failures: string[]): Promise<void> {
  let running = true;
  let served = 0;
  const serving = (async () => {
    for (; running; served++) {
      const answer = await witness.predict('plain');
      if (answer.status !== 0) failures.push(`${answer.status} ${answer.message}`);
    }
  })();
  await vanishing();
  running = false;
  await serving;
  if (served === 0) failures.push('the witness was not served');
}

t.test('callers that vanish at every stage harm nobody', async (test) => {
  const failures: string[] = [];
  let vanished = 0;
  await besideWitness(async () => {
    vanished += await vanish(20);
  }, failures);
  await checkQuiet(test);
  const settledBytes = proxy.rssBytes();
  await besideWitness(async () => {
    const startedMs = performance.now();
    while (performance.now() - startedMs < 5000) vanished += await vanish(4);
  }, failures);
  await checkQuiet(test);
  const grown = (proxy.rssBytes() - settledBytes) / MiB;
  test.comment(`${vanished} callers vanished; memory grew by ${grown.toFixed(1)} MiB`);
  test.ok(grown < 32, `memory grew by ${grown} MiB`);
  test.same(failures, []);
  test.equal(proxy.logged('data_thread_died').length, 0);
});

t.test('every stream has one end: answered, failed here, or cancelled', async (test) => {
  const metrics = await checkQuiet(test);
  const streams = metrics.sum('understudy_downstream_streams_total');
  const answered = metrics.sum('understudy_cluster_answers_total');
  const local = metrics.sum('understudy_local_replies_total');
  const succeeded = metrics.sum('understudy_cluster_requests_total', { outcome: 'ok' });
  test.ok(streams > 1000);
  test.ok(answered + local <= streams, `${answered} + ${local} of ${streams}`);
  const shadowed = metrics.sum('understudy_cluster_requests_total', { cluster: 'full@2', outcome: 'ok' });
  test.equal(succeeded - shadowed, answered, 'each success was an answer');
  test.ok(metrics.sum('understudy_cluster_requests_total', { outcome: 'cancelled' }) > 100);
  for (const outcome of ['upstream_reset', 'deadline', 'connect_failed', 'upstream_error']) {
    test.equal(metrics.sum('understudy_cluster_requests_total', { outcome }), 0, outcome);
  }
  const { clusters } = await proxy.json('/models');
  for (const { name, breaker } of clusters) test.equal(breaker.state, 'closed', name);
});

t.test(
  'callers that leave in the middle of long answers give the upstream connection its window back',
  async (test) => {
    // The upstream has ended its answer while most of it waits for the caller: only the proxy can give the credit back.
    // Without that, some 70 such callers used the 16 MiB window of the shared connection up, and it stood still.
    const answer = Buffer.alloc(240_000, 1);
    upstream.script = (call) => void call.body.then(() => call.answer(answer));
    for (const model of ['plain', 'full']) {
      const caller = connectHttp2(`http://${proxy.address}`, { settings: { initialWindowSize: 10_000 } });
      caller.on('error', () => {});
      test.teardown(() => caller.destroy());
      for (let i = 0; i < 160; i++) {
        const stream = caller.request(PREDICT);
        stream.on('error', () => {});
        stream.end(predictRequest(model));
        await Promise.race([new Promise((resolve) => stream.once('response', resolve)), delay(500)]);
        await delay(4);
        stream.close(CANCEL);
      }
      const last = witness.open({ 'grpc-timeout': '2S' });
      last.end(predictRequest(model));
      const { status, body } = await answerOf(last);
      test.equal(status, 0, model);
      test.equal(body.length, answer.length + 5);
      caller.destroy();
    }
    upstream.script = answers('upstream');
    await checkQuiet(test);
  },
);

t.test(
  'callers that leave while the upstream does not read get the window of their own connection back',
  async (test) => {
    upstream.script = (call) => void call.stream.pause();
    const caller = GrpcCaller.to(test, proxy.address);
    for (let i = 0; i < 60; i++) {
      const stream = caller.open();
      stream.on('error', () => {});
      stream.write(long);
      await delay(5);
      stream.close(CANCEL);
    }
    upstream.script = answers('upstream');
    test.equal(servedBy(await caller.call(long, { 'grpc-timeout': '3S' })), 'upstream');
  },
);
