/**
 * The fault matrix, as far as a server's process goes: a real worker is killed, stopped, and asked for more memory than
 * there is, while it is asked in every protocol, with a fallback (in a process of its own) and without.
 */
import t, { type Test } from 'tap';
import {
  type Asked,
  CostTable,
  halfMore,
  inferInput,
  isRest,
  MatrixCaller,
  PROTOCOLS,
  type Protocol,
  streamOutcome,
} from '../support/fault-matrix.ts';
import { InferStream } from '../support/infer-stream.ts';
import { ModelFolder } from '../support/model-folder.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { allocator } from '../support/test-models.ts';
import { WorkerProgram } from '../support/worker-program.ts';

/** Ones to add up: long enough that a kill finds calls under way. */
const SOME_WORK = 2_000_000n;
const MORE_THAN_THERE_IS = 2n ** 58n;
const UNREACHABLE = /^the upstream (ended the request|cannot be connected to)$/;

const folder = new ModelFolder();
folder.put('allocator', 1, allocator());
folder.put('lite', 1, halfMore());
t.teardown(() => folder.remove());
const worker = await WorkerProgram.ready([
  `--model_repository=${folder.path}`,
  `--group=main:${folder.at('main.sock')}:allocator`,
  `--group=fallback:${folder.at('fallback.sock')}:lite`,
  '--enable_model_warmup=false',
]);
t.teardown(() => worker.stop());

const cluster = (name: string, model: string, socket: string) => ({
  name,
  model,
  version: '1',
  endpoints: [`unix:${folder.at(socket)}`],
  timeouts: { request: '1s' },
  breaker: { enabled: false },
});
const proxy = await ProxyProgram.start(t, {
  ready: false,
  document: {
    clusters: [cluster('main', 'allocator', 'main.sock'), cluster('lite', 'lite', 'fallback.sock')],
    models: [
      { name: 'm', split: [{ cluster: 'main' }], fallback: [{ cluster: 'lite' }], primaryBudget: '30%' },
      { name: 'alone', split: [{ cluster: 'main' }] },
    ],
  },
});
const caller = new MatrixCaller(t, proxy.address);
const table = new CostTable();

/** Asks both models in every protocol, once, side by side. */
async function inAllProtocols(n: bigint, check: (protocol: Protocol, replaced: Asked, alone: Asked) => void) {
  await Promise.all(
    PROTOCOLS.map(async (protocol) => {
      const both = await Promise.all([caller.ask(protocol, 'm', n), caller.ask(protocol, 'alone', n)]);
      check(protocol, both[0], both[1]);
    }),
  );
}

t.test('undisturbed, the primary answers in every protocol', async (test) => {
  await table.measure(caller, () => 'm');
  await inAllProtocols(7n, (protocol, replaced, alone) => {
    test.equal(replaced.value, 7, protocol);
    test.equal(alone.value, 7, protocol);
  });
});

t.test('out of memory: with a fallback nobody notices, without one everybody is told', async (test) => {
  await inAllProtocols(MORE_THAN_THERE_IS, (protocol, replaced, alone) => {
    test.equal(replaced.text, '', `${protocol} with a fallback`);
    test.equal(Math.fround(replaced.value), Number(MORE_THAN_THERE_IS), `${protocol} with a fallback`);
    table.add('out of memory', protocol, replaced.tookMs);
    // The Open Inference Protocol has few HTTP statuses, and 400 is for all that has none of its own.
    const status = { 'TFS gRPC': 8, 'TFS REST': 429, 'OIP gRPC': 8, 'OIP stream': 2, 'OIP REST': 400 }[protocol];
    test.match(alone, { value: Number.NaN, status, text: /memory/i }, `${protocol} alone`);
  });
});

t.test('SIGSTOP: with a fallback nobody notices, without one everybody is told', async (test) => {
  const pid = worker.pid('main');
  process.kill(pid, 'SIGSTOP');
  try {
    await inAllProtocols(7n, (protocol, replaced, alone) => {
      test.match(replaced, { value: 7.5, text: '' }, `${protocol} with a fallback`);
      table.add('SIGSTOP', protocol, replaced.tookMs);
      const status = isRest(protocol) ? 504 : protocol === 'OIP stream' ? 2 : 4;
      const text = 'the deadline passed while the upstream held the request';
      test.match(alone, { value: Number.NaN, status, text }, `${protocol} alone`);
    });
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await inAllProtocols(7n, (protocol, replaced, alone) => {
    test.equal(replaced.value, 7, `${protocol}, running again`);
    test.equal(alone.value, 7, `${protocol} alone, running again`);
  });
});

/** Asks again and again until told to stop; what came of each call. */
async function keepAsking(protocol: Protocol, model: string, stop: () => boolean): Promise<Asked[]> {
  const all: Asked[] = [];
  while (!stop()) all.push(await caller.ask(protocol, model, SOME_WORK));
  return all;
}

/** One stream for all its questions, one after the other; ends it when told to stop. */
async function keepStreaming(test: Test, stop: () => boolean): Promise<Asked[]> {
  const stream = new InferStream(test, proxy.address);
  const all: Asked[] = [];
  while (!stop()) {
    const startedMs = performance.now();
    stream.call.write({ model_name: 'm', id: String(all.length), inputs: [inferInput(String(SOME_WORK))] });
    const answer = await stream.until(all.length + 1);
    all.push({ ...streamOutcome(0, '', answer), tookMs: performance.now() - startedMs });
  }
  test.match(await stream.finish(), { status: 0 }, 'the stream itself ends well');
  return all;
}

t.test('kill -9: with a fallback nobody notices, without one everybody is told', async (test) => {
  const pid = worker.pid('main');
  let stopped = false;
  const stop = (): boolean => stopped;
  const asking = PROTOCOLS.flatMap((protocol) => [
    keepAsking(protocol, 'm', stop),
    keepAsking(protocol, 'alone', stop),
  ]);
  const streaming = keepStreaming(test, stop);
  const sent = () => proxy.metrics().then((metrics) => metrics.sum('understudy_cluster_requests_total'));
  const before = await sent();
  await proxy.metricsOnce((metrics) => metrics.sum('understudy_cluster_requests_total') > before + 50, 10_000);
  process.kill(pid, 'SIGKILL');
  await worker.until(() => {
    const last = worker.changes('main').at(-1)!;
    return last.to === 'READY' && last.pid !== pid;
  }, 'the replacement');
  stopped = true;
  const results = await Promise.all(asking);
  const work = Number(SOME_WORK);
  for (const [i, protocol] of PROTOCOLS.entries()) {
    const [replaced, alone] = [results[2 * i]!, results[2 * i + 1]!];
    const wrong = replaced.filter(({ value }) => value !== work && value !== work + 0.5);
    test.strictSame(wrong, [], `${protocol}: none of ${replaced.length} calls failed`);
    const stoodIn = replaced.filter(({ value }) => value === work + 0.5);
    test.ok(stoodIn.length > 0, `${protocol}: the fallback stood in`);
    // The first of them was under way, or met a socket that nobody listens on.
    table.add('kill -9', protocol, stoodIn[0]?.tookMs ?? Number.NaN);
    const failed = alone.filter(({ value }) => value !== work);
    test.ok(failed.length > 0, `${protocol} alone: calls failed`);
    for (const { status, text } of failed.slice(0, 20)) {
      test.match(text, UNREACHABLE, `${protocol} alone`);
      test.ok(isRest(protocol) ? status === 502 || status === 503 : status === 14, `${protocol} alone: ${status}`);
    }
  }
  const streamed = (await streaming).map(({ value }) => value);
  test.strictSame(new Set(streamed), new Set([work, work + 0.5]), 'a stream lives through it, answered by both');
  test.comment(`\n${table}`);
});
