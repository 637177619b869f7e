/**
 * Degradation as callers, operators and upstreams see it, with four data threads: who answers while the primary is slow
 * or out of memory, how it is probed, and how it comes back.
 */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { type Answer, GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import {
  InferStream,
  inferRequest,
  inferResponse,
  STREAM_INFER,
  streamServedBy,
  streams,
} from '../support/infer-stream.ts';
import { until } from '../support/patience.ts';
import { decodeMessage, encodeMessage } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import {
  answers,
  answersAfter,
  framed,
  predictResponse,
  type Script,
  ScriptedUpstream,
} from '../support/scripted-upstream.ts';

/** What a call may take of a primary that is well; far from the limit of 500 ms and from what a busy machine adds. */
const QUICK = { meanOver: '500ms', meanSamples: 5, probeInterval: '20ms', probes: 4, stepAnswers: 5 };
const OPEN_ENDED = { consecutiveFailures: 0, errorPercent: '100%', minimumRequests: 1_000_000 };

/** A device that holds 40 requests at once: one more is refused after the time its allocation took to fail. */
function outOfMemoryAbove(most: number): Script {
  let inFlight = 0;
  return async (call) => {
    const body = await call.body;
    inFlight++;
    const fits = inFlight <= most;
    await delay(fits ? 30 : 250);
    inFlight--;
    if (fits) call.answer(predictResponse('primary', body));
    else call.failInTrailers(8, 'out of memory', { 'x-understudy-reason': 'device_out_of_memory' });
  };
}

/** Two such devices, for a model that is degraded and one that is not. */
const small = await Promise.all(
  ['off', 'on'].map(() => ScriptedUpstream.start(t, 'primary', { script: outOfMemoryAbove(40), forget: true })),
);
const crowded = (name: string, upstream: ScriptedUpstream, degradation: object | null) => ({
  name,
  split: [{ model: `${name}@1 via ${upstream.address}` }],
  fallback: [{ cluster: 'lite' }],
  breaker: { enabled: false },
  ...(degradation === null ? {} : { degradation }),
});
let restDelayMs = 0;
let restProbes = 0;
/** What the device of `gpu` has in use, and whether its next allocations fail. */
let usedFraction = 0.9;
let isOutOfMemory = false;
const primary = await ScriptedUpstream.start(t, 'primary');
const lite = await ScriptedUpstream.start(t, 'lite', { forget: true });
const rest = createServer((request, response) => void answerRest(request, response));
await new Promise<void>((resolve) => rest.listen(0, '127.0.0.1', resolve));
t.teardown(() => rest.close());
const restAddress = `127.0.0.1:${(rest.address() as AddressInfo).port}`;

const model = (name: string, degradation: object, more: object = {}) => ({
  name,
  split: [{ model: `${name}@1 via ${primary.address}` }],
  fallback: [{ cluster: 'lite' }],
  breaker: OPEN_ENDED,
  degradation: { preset: 'mean', ...QUICK, ...degradation },
  ...more,
});
const documentOf = (meanOver: string) => ({
  clusters: [{ name: 'lite', model: 'lite', endpoints: [lite.address], breaker: { enabled: false } }],
  models: [
    crowded('ocr-off', small[0]!, null),
    crowded('ocr-on', small[1]!, { preset: 'tail', probeInterval: '1s' }),
    model('life', {}),
    model('oip', {}),
    model('stream', {}),
    {
      name: 'gpu',
      split: [{ model: `gpu@1 via ${restAddress}` }],
      fallback: [{ model: `gpu-lite via ${restAddress}` }],
      breaker: { enabled: false },
      degradation: { preset: 'tail', probeInterval: '20ms', probes: 4, stepAnswers: 5, memoryFor: '400ms' },
    },
    model('operated', {}),
    model('alone', {}),
    model('tuned', { meanOver, probeInterval: '1h' }),
    model('memory', { preset: 'tail', meanOver: '0s' }),
    {
      name: 'rest',
      split: [{ model: `rest@1 via ${restAddress}` }],
      fallback: [{ model: `rest-lite via ${restAddress}` }],
      breaker: OPEN_ENDED,
      degradation: { preset: 'mean', ...QUICK },
    },
  ],
});
const folder = mkdtempSync(join(tmpdir(), 'understudy-degradation-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'mesh.json');
writeFileSync(path, JSON.stringify(documentOf('1h')));
const proxy = await ProxyProgram.start(t, { env: { UNDERSTUDY_CONCURRENCY: '4', UNDERSTUDY_CONFIG_FILE: path } });
/** So many that each data thread has some: the kernel deals connections out. */
const callers = Array.from({ length: 16 }, () => GrpcCaller.to(t, proxy.address));
const askAll = (name: string) => Promise.all(callers.map((caller) => caller.predict(name)));
const reasons = (all: readonly Answer[]) => new Set(all.map(({ served }) => served['reason'] ?? 'primary'));

async function described(name: string) {
  const all = await proxy.json('/degradation');
  return all.find((one: { model: string }) => one.model === name);
}

const command = (name: string, action: string) =>
  proxy.json(`/degradation?model=${name}&action=${action}`, 'POST').then(() => delay(0));

t.test('a slow primary gives way for all threads, is probed, and comes back by the ladder', async (test) => {
  primary.script = answersAfter('primary', 650);
  test.same(reasons(await askAll('life')), new Set(['primary']), 'slow, but an answer');
  await until(async () => (await described('life')).state === 'degraded', 'life is degraded');
  const all = await askAll('life');
  test.same(reasons(all), new Set(['degraded']));
  test.same(new Set(all.map(servedBy)), new Set(['lite']));
  test.equal(all[0]!.served['served-by'], 'lite');

  const before = primary.calls.length;
  primary.script = answers('primary');
  await until(async () => {
    await askAll('life');
    return (await described('life')).state === 'normal';
  }, 'life is normal again');
  const probes = primary.calls.slice(before).filter((call) => call.headers['x-understudy-shadow'] === '1');
  test.ok(probes.length >= 4, `${probes.length} probes, marked as shadows`);
  test.same((await probes[0]!.request()).model_spec, (await primary.calls[0]!.request()).model_spec);
  test.same(reasons(await askAll('life')), new Set(['primary']));

  const { entered, ladder, transitions, deviceMemory } = await described('life');
  test.same({ entered, ladder, deviceMemory }, { entered: 1, ladder: [10, 30, 60, 100], deviceMemory: null });
  const steps = ['degraded', 'returning 10%', 'returning 30%', 'returning 60%', 'returning 100%', 'normal'];
  test.same(
    transitions.map((entry: { to: string }) => entry.to),
    steps,
  );
  const logged = proxy.logged('degradation').filter((line) => line['model'] === 'life');
  test.same(
    logged.map((line) => line['primaryPercent']),
    [0, 10, 30, 60, 100, 100],
  );
  const metrics = await proxy.metrics();
  const counted = (to: string) => metrics.sum('understudy_degradation_transitions_total', { model: 'life', to });
  test.same([counted('degraded'), counted('returning'), counted('normal')], [1, 4, 1]);
  test.equal(metrics.sum('understudy_degradation_state', { model: 'life', state: 'normal' }), 1);
  test.equal(metrics.sum('understudy_degradation_primary_share_fraction', { model: 'life' }), 1);
  test.ok(metrics.sum('understudy_cluster_answers_total', { cluster: 'lite', reason: 'degraded' }) >= 16);
});

t.test('an operator degrades a model, and it stays so until it is restored or reset', async (test) => {
  await command('operated', 'degrade');
  test.same(reasons(await askAll('operated')), new Set(['degraded']));
  for (let i = 0; i < 10; i++) await askAll('operated');
  test.match(await described('operated'), { state: 'degraded', held: true, reason: 'operator', primaryPercent: 0 });
  await command('operated', 'restore');
  await until(async () => {
    await askAll('operated');
    return (await described('operated')).state === 'normal';
  }, 'it has climbed the ladder');
  await command('operated', 'degrade');
  await command('operated', 'reset');
  test.same(reasons(await askAll('operated')), new Set(['primary']));
  test.match(await proxy.json('/degradation?model=operated&action=up', 'POST'), { error: /degrade, restore, reset/ });
  test.match(await proxy.json('/degradation?model=lite&action=reset', 'POST'), { error: /no model/ });
});

t.test('a fallback that fails while the model is degraded leaves the answer to the primary', async (test) => {
  await command('alone', 'degrade');
  lite.script = (call) => call.failInHead(14, 'down');
  const [answer] = await askAll('alone');
  test.match(answer, { status: 0, served: { 'served-by': 'alone@1' } });
  primary.script = (call) => call.failInTrailers(13, 'broken too');
  test.match(await callers[0]!.predict('alone'), { status: 13, message: 'broken too' });
  lite.script = (call) => call.failInHead(3, 'bad shape');
  test.match(await callers[0]!.predict('alone'), { status: 3, message: 'bad shape' }, "the caller's own mistake");
  primary.script = answers('primary');
  lite.script = answers('lite');
});

t.test('thresholds are changed while it runs', async (test) => {
  primary.script = answersAfter('primary', 150);
  for (let i = 0; i < 2; i++) await askAll('tuned');
  await delay(300);
  test.equal((await described('tuned')).state, 'normal');
  writeFileSync(`${path}.new`, JSON.stringify(documentOf('100ms')));
  renameSync(`${path}.new`, path);
  await until(async () => (await proxy.json('/models')).revision > 1, 'the edit is in force');
  await askAll('tuned');
  await until(async () => (await described('tuned')).state === 'degraded', 'the lower limit has degraded it');
  test.match(await described('life'), { state: 'normal', entered: 1 }, 'others keep what they had');
  primary.script = answers('primary');
});

async function answerRest(request: IncomingMessage, response: ServerResponse): Promise<void> {
  request.resume();
  if (request.url === '/metrics') {
    const family = 'understudy_device_memory';
    response.end(
      `${family}_total_bytes{device="0"} 16000\n${family}_used_bytes{device="0"} ${usedFraction * 16_000}\n`,
    );
    return;
  }
  const name = /models\/([a-z-]+)/.exec(request.url!)![1]!;
  if (request.headers['x-understudy-shadow'] === '1') restProbes++;
  if (name === 'rest') await delay(restDelayMs);
  if (name === 'gpu' && isOutOfMemory) response.writeHead(429, { 'x-understudy-reason': 'device_out_of_memory' });
  response.end(JSON.stringify({ predictions: [name] }));
}

async function askRest(name: string): Promise<string> {
  const url = `http://${proxy.address}/v1/models/${name}:predict`;
  const answer = await fetch(url, { method: 'POST', body: '{"instances":[[1]]}' });
  const { predictions } = (await answer.json()) as { predictions: string[] };
  return `${answer.status} ${predictions[0]} ${answer.headers.get('x-understudy-reason')}`;
}

t.test('REST calls give way, are probed and come back likewise', async (test) => {
  const ask = () => askRest('rest');
  restDelayMs = 650;
  test.same(new Set(await Promise.all(Array.from({ length: 8 }, ask))), new Set(['200 rest null']));
  await until(async () => (await described('rest')).state === 'degraded', 'rest is degraded');
  test.equal(await ask(), '200 rest-lite degraded');
  restDelayMs = 0;
  await until(async () => {
    await Promise.all(Array.from({ length: 8 }, ask));
    return (await described('rest')).state === 'normal';
  }, 'rest is normal again');
  test.ok(restProbes >= 4, `${restProbes} probes`);
  test.equal(await ask(), '200 rest null');
});

t.test("out of memory, a primary comes back only once its device's memory has been free for the time", async (test) => {
  isOutOfMemory = true;
  for (let i = 0; i < 3; i++) test.match(await askRest('gpu'), /^200 gpu-lite (status|degraded)$/);
  await until(async () => (await described('gpu')).state === 'degraded', 'gpu is degraded');
  test.equal((await described('gpu')).reason, 'out_of_memory');
  isOutOfMemory = false;
  await until(async () => {
    await askRest('gpu');
    const { probes } = await described('gpu');
    return probes.answers === 4 && probes.failures === 0;
  }, 'its probes are good');
  test.match(await described('gpu'), { state: 'degraded', deviceMemory: 0.9 }, 'memory is what it waits for');
  const metrics = await proxy.metrics();
  test.equal(metrics.sum('understudy_degradation_device_memory_fraction', { model: 'gpu' }), 0.9);
  usedFraction = 0.5;
  await until(async () => {
    await askRest('gpu');
    return (await described('gpu')).state === 'normal';
  }, 'gpu is normal again');
  test.ok(proxy.logged('degradation_device_memory').some((line) => line['model'] === 'gpu'));
});

t.test('Open Inference calls give way, are probed and come back likewise', async (test) => {
  let delayMs = 650;
  const scripted =
    (name: string, ms: () => number): Script =>
    async (call) => {
      const request = decodeMessage('inference.ModelInferRequest', (await call.body).subarray(5));
      await delay(ms());
      call.answer(encodeMessage('inference.ModelInferResponse', inferResponse(name, request, [0.5])));
    };
  primary.script = scripted('primary', () => delayMs);
  lite.script = scripted('lite', () => 0);
  const body = framed(encodeMessage('inference.ModelInferRequest', inferRequest('oip', '1')));
  const ask = () => callers[0]!.call(body, { ':path': '/inference.GRPCInferenceService/ModelInfer' });
  const all = await Promise.all(Array.from({ length: 8 }, ask));
  test.same(reasons(all), new Set(['primary']));
  await until(async () => (await described('oip')).state === 'degraded', 'oip is degraded');
  test.match((await ask()).served, { 'served-by': 'lite', reason: 'degraded' });
  delayMs = 0;
  await until(async () => {
    await Promise.all(Array.from({ length: 8 }, ask));
    return (await described('oip')).state === 'normal';
  }, 'oip is normal again');
  test.match((await ask()).served, { 'served-by': 'oip@1' });
  primary.script = answers('primary');
  lite.script = answers('lite');
});

t.test('every message of a stream gives way, is probed as a call, and comes back likewise', async (test) => {
  let delayMs = 650;
  let probes = 0;
  const streamed = streams('primary', (request) => void delay(delayMs).then(() => request.answer([0.5])));
  primary.script = async (call) => {
    if (call.headers[':path'] === STREAM_INFER) return streamed(call);
    const request = decodeMessage('inference.ModelInferRequest', (await call.body).subarray(5));
    probes += call.headers['x-understudy-shadow'] === '1' ? 1 : 0;
    call.answer(encodeMessage('inference.ModelInferResponse', inferResponse('primary', request, [0.5])));
  };
  lite.script = streams('lite');
  const stream = new InferStream(test, proxy.address);
  let sent = 0;
  const ask = async (count: number) => {
    for (let i = 0; i < count; i++) stream.send('stream', String(++sent));
    return streamServedBy(await stream.until(sent));
  };
  test.equal(await ask(8), 'primary', 'slow, but an answer');
  await until(async () => (await described('stream')).state === 'degraded', 'stream is degraded');
  test.equal(await ask(1), 'lite');
  const { parameters } = stream.answers.at(-1)!.infer_response;
  test.equal(parameters['x-understudy-reason'].string_param, 'degraded');
  delayMs = 0;
  await until(async () => {
    await ask(8);
    return (await described('stream')).state === 'normal';
  }, 'stream is normal again');
  test.ok(probes >= 4, `${probes} probes`);
  test.equal(await ask(1), 'primary');
  await command('stream', 'degrade');
  lite.script = streams('lite', (request) => request.error('down', { grpc_status: '14' }));
  test.equal(await ask(1), 'lite', 'the stream that is open');
  test.equal((await stream.finish()).status, 0);
  const other = new InferStream(test, proxy.address);
  other.send('stream', 'x');
  test.equal(streamServedBy(await other.until(1)), 'primary', 'nobody else answers');
  test.equal((await other.finish()).status, 0);
  primary.script = answers('primary');
  lite.script = answers('lite');
});

t.test('where the primary has no device the log says that memory is not judged', async (test) => {
  await proxy.until(() => proxy.logged('degradation_without_device_memory').length > 0, 'the line about memory');
  const told = () => proxy.logged('degradation_without_device_memory').map((line) => line['model']);
  await proxy.until(() => told().length === 2, 'both lines');
  test.same(told().sort(), ['memory', 'ocr-on'], 'for models that have the condition');
  test.equal((await described('memory')).deviceMemory, null);
});

t.test('80 callers at once on a primary that runs out of memory: no call fails', async (test) => {
  const clients = Array.from({ length: 80 }, () => GrpcCaller.to(test, proxy.address));
  await Promise.all(clients.map((client) => client.predict('operated')));
  const run = async (name: string) => {
    const all: { readonly status: number; readonly tookMs: number; readonly isLate: boolean }[] = [];
    const start = performance.now();
    await Promise.all(
      clients.map(async (client) => {
        for (let at = start; at < start + 1200; at = performance.now()) {
          const { status, tookMs } = await client.predict(name);
          all.push({ status, tookMs, isLate: at > start + 400 });
        }
      }),
    );
    const failed = all.filter(({ status }) => status !== 0).length;
    const late = all.filter(({ isLate }) => isLate);
    return {
      failed,
      text: `${all.length} calls, ${failed} failed, p99 ${p99(all)} ms, ${p99(late)} ms after the first 400 ms`,
    };
  };
  const p99 = (calls: readonly { readonly tookMs: number }[]): number => {
    const took = calls.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
    return Math.round(took[Math.floor(took.length * 0.99)] ?? Number.NaN);
  };
  const off = await run('ocr-off');
  const on = await run('ocr-on');
  test.comment(`degradation off: ${off.text}`);
  test.comment(`degradation on:  ${on.text}`);
  test.same([off.failed, on.failed], [0, 0]);
  test.equal(
    (await proxy.json('/models')).models.find(({ name }: { name: string }) => name === 'ocr-off').degradation,
    null,
  );
  const { entered, transitions } = await described('ocr-on');
  test.same([entered, transitions[0].reason], [1, 'out_of_memory']);
});
