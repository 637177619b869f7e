/**
 * Everything at once for a few seconds, from a fixed seed: callers that cancel, die and set deadlines, upstreams that fail
 * in every way, reloads. Every answer is right or an honest failure, nothing is stuck, and the counters add up.
 */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { answerOf, GrpcCaller, predictRequest } from '../support/grpc-caller.ts';
import { decodeMessage, encodeMessage } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { type Script, ScriptedUpstream, type UpstreamCall } from '../support/scripted-upstream.ts';
import { floats } from '../support/tfs-client.ts';

const SECONDS = 4;
const CANCEL = 8;

/** Uniform in 0..1 (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let z = Math.imul(state ^ (state >>> 15), 1 | state);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Answers with the inputs it was sent, under the model and version it was asked for. */
async function echoes(call: UpstreamCall): Promise<void> {
  await call.body;
  if (!call.ended || call.stream.destroyed) return;
  const { model_spec, inputs } = await call.request();
  const { float_val } = inputs.x;
  const response = { model_spec, outputs: { x: floats([1, float_val.length], float_val) } };
  call.answer(encodeMessage('tensorflow.serving.PredictResponse', response));
}

/** Fails in some way in `share` of its calls. */
function unreliable(random: () => number, share: number): Script {
  return async (call) => {
    if (random() >= share) {
      await echoes(call);
      return;
    }
    const ways = [
      () => call.failInHead(14, 'told to'),
      () => call.body.then(() => call.failInTrailers(13, 'told to')),
      () => call.reset(),
      () => call.refuse(),
      () => {},
      () => call.body.then(() => delay(40)).then(() => echoes(call)),
      () => call.failInHead(14, 'full', { 'x-understudy-reason': 'batch_queue_full' }),
      () => random() < 0.1 && call.stream.session?.close(),
      () => random() < 0.1 && call.stream.session?.socket.destroy(),
    ];
    await ways[Math.floor(random() * ways.length)]!();
  };
}

t.test('a storm of failures leaves every answer right and nothing behind', async (test) => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-chaos-'));
  test.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const random = seeded(20_261_121);
  const primary = await ScriptedUpstream.start(test, 'primary', { forget: true, script: unreliable(random, 0.4) });
  const shadow = await ScriptedUpstream.start(test, 'shadow', { forget: true, script: unreliable(random, 0.6) });
  const lite = await ScriptedUpstream.start(test, 'lite', { forget: true, script: unreliable(random, 0.05) });
  const file = join(folder, 'config.json');
  const configure = (weight: number) => {
    const document = {
      defaults: { breaker: { open: '50ms', maxOpen: '100ms' } },
      models: [
        {
          name: 'm',
          split: [
            { model: `m@1 via ${primary.address}`, weight: `${weight}%` },
            { model: `m@2 via ${primary.address}`, weight: `${100 - weight}%` },
          ],
          shadows: [{ model: `m@3 via ${shadow.address}`, percent: '70%', maxConcurrent: 20 }],
          fallback: [{ model: `lite@9 via ${lite.address}` }],
          maxReplaySize: '64KiB',
          hedge: { after: '20ms', budget: '50%', budgetFloor: 1000 },
        },
      ],
    };
    writeFileSync(`${file}.new`, JSON.stringify(document));
    renameSync(`${file}.new`, file);
  };
  configure(50);
  const proxy = await ProxyProgram.start(test, {
    env: { UNDERSTUDY_CONFIG_FILE: file, UNDERSTUDY_CONCURRENCY: '2' },
  });
  const end = performance.now() + SECONDS * 1000;
  const outcomes = new Map<string, number>();
  const wrong: string[] = [];
  const count = (outcome: string) => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);

  const oneCall = async (caller: GrpcCaller): Promise<void> => {
    const values = Array.from({ length: random() < 0.1 ? 20_000 : 3 }, () => Math.floor(random() * 1000));
    const body = predictRequest('m', values);
    const stream = caller.open({ 'grpc-timeout': '400m' });
    const answered = answerOf(stream);
    const cut = random() < 0.3 ? Math.floor(random() * body.length) : 0;
    stream.write(body.subarray(0, cut));
    if (cut > 0) await delay(random() * 3);
    const cancels = random() < 0.1;
    if (cancels) setTimeout(() => stream.close(CANCEL), random() * 20);
    if (!stream.destroyed) stream.end(body.subarray(cut));
    const answer = await Promise.race([answered, delay(5000, null)]);
    if (answer === null) {
      wrong.push('stuck');
      return;
    }
    if (answer.status !== 0) {
      count(answer.resetCode !== 0 ? 'reset' : `status ${answer.status}`);
      if (![4, 13, 14].includes(answer.status) && !cancels && !caller.session.destroyed) {
        wrong.push(`status ${answer.status} reset ${answer.resetCode} ${answer.message}`);
      }
      return;
    }
    count('ok');
    const { model_spec, outputs } = decodeMessage('tensorflow.serving.PredictResponse', answer.body.subarray(5));
    const same = JSON.stringify(outputs.x.float_val) === JSON.stringify(values);
    const servedBy = answer.served['served-by'];
    // Another model's version would mean nothing under the name that was asked for.
    const by = `${model_spec.name}@${model_spec.version?.value ?? ''}`;
    if (!same || by !== (servedBy === 'lite@9' ? 'm@' : servedBy))
      wrong.push(`wrong answer by ${by}, ${JSON.stringify(answer.served)}`);
  };
  const callers = Array.from({ length: 12 }, async () => {
    while (performance.now() < end) {
      const caller = new GrpcCaller(proxy.address);
      const calls = Array.from({ length: 4 }, async () => {
        while (performance.now() < end && !caller.session.destroyed && !caller.session.closed) await oneCall(caller);
      });
      const dies = random() < 0.5;
      await Promise.race([Promise.all(calls), delay(300 + random() * 700)]);
      if (dies) caller.session.socket.destroy();
      caller.close();
      await Promise.all(calls);
    }
  });
  const reloads = (async () => {
    for (let weight = 10; performance.now() < end; weight = (weight + 10) % 100) {
      await delay(500);
      configure(weight);
    }
  })();
  await Promise.all([...callers, reloads]);

  test.comment(JSON.stringify(Object.fromEntries(outcomes)));
  test.same([...new Set(wrong)], []);
  // How many there are is the machine's affair; a storm that answers hardly anybody would show nothing.
  test.ok(outcomes.get('ok')! > 50, 'many are answered');
  const metrics = await proxy.metricsOnce(
    (reading) =>
      reading.sum('understudy_downstream_open_connections') === 0 &&
      reading.sum('understudy_cluster_in_flight_requests') === 0 &&
      reading.sum('understudy_mirror_in_flight_requests') === 0,
    12_000,
  );
  for (const gauge of [
    'understudy_downstream_open_connections',
    'understudy_downstream_open_streams',
    'understudy_cluster_in_flight_requests',
    'understudy_mirror_in_flight_requests',
    'understudy_mirror_held_bytes',
    'understudy_replay_held_bytes',
  ]) {
    test.equal(metrics.sum(gauge), 0, gauge);
  }
  const shown = metrics.sum('understudy_mirror_requests_total');
  const results = metrics.sum('understudy_comparison_results_total');
  test.equal(results, shown, 'what was shown became a pair, or is counted as none');
  const hedges = (event: string) => metrics.sum('understudy_cluster_hedges_total', { event });
  const ended = hedges('won') + hedges('lost') + hedges('failed') + hedges('cancelled');
  test.equal(hedges('started'), ended, 'every hedge is accounted for');
  test.ok(ended > 50, `${ended} hedges`);
  test.equal(proxy.logged('data_thread_died').length, 0);
  test.equal(await proxy.stop(), 0);
});
