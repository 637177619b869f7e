/**
 * The shadow matrix: every way a shadow can misbehave, in every protocol. The primary's callers get the primary's answers,
 * what is held for a shadow stays within its bounds, and every request it was meant to see is accounted for: shown or
 * dropped with a reason, and if it was shown, compared or not with a result.
 */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { isRest, MatrixCaller, PROTOCOLS } from '../support/fault-matrix.ts';
import { grpcAnswers, restAnswers } from '../support/matrix-servers.ts';
import { type MetricsReading, ProxyProgram } from '../support/proxy-program.ts';
import { type RestScript, RestUpstream } from '../support/rest-upstream.ts';
import { type Script, ScriptedUpstream } from '../support/scripted-upstream.ts';

const CALLS = 12;
const AT_ONCE = 4;
const MAX_CONCURRENT = 8;
const MAX_BYTES = 256 * 1024;
/** An undisturbed call takes some milliseconds. */
const SLOW_MS = 300;
/** More than a flood may ever leave behind, and less than one that nobody stops. */
const MAX_GROWTH_BYTES = 64 * 1024 * 1024;

interface Misbehaviour {
  readonly name: string;
  readonly grpc: Script;
  readonly rest: RestScript;
  /** Why its requests were dropped; none but these. */
  readonly drops: readonly string[];
}

const CHUNK = Buffer.alloc(64 * 1024, 0x20);

const MISBEHAVIOURS: readonly Misbehaviour[] = [
  {
    name: 'hangs',
    grpc: () => undefined,
    rest: () => undefined,
    drops: ['queue_full', 'pressure'],
  },
  {
    name: 'answers garbage',
    grpc: async (call) => {
      await call.body;
      if (!call.ended) return;
      call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      call.stream.on('wantTrailers', () => call.stream.sendTrailers({ 'grpc-status': '0' }));
      call.stream.end(Buffer.alloc(300, 0xff));
    },
    rest: (_call, response) => response.end(Buffer.alloc(300, 0xff)),
    drops: [],
  },
  {
    name: 'floods',
    grpc: (call) => {
      call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      const more = (): void => {
        while (!call.stream.destroyed && call.stream.write(CHUNK));
      };
      call.stream.on('drain', more);
      more();
    },
    rest: (_call, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write(CHUNK));
      };
      response.on('error', () => undefined);
      response.on('drain', more);
      more();
    },
    drops: ['bytes_full', 'unhealthy', 'queue_full', 'pressure'],
  },
  {
    name: 'dies',
    grpc: async (call) => {
      await call.body;
      call.stream.session?.destroy();
    },
    rest: (call) => call.socket.destroy(),
    drops: ['reset', 'unhealthy', 'queue_full', 'pressure'],
  },
  {
    name: 'is a hundred times slower',
    grpc: async (call) => {
      await delay(SLOW_MS);
      return grpcAnswers(0)(call);
    },
    rest: (call, response) => void setTimeout(() => restAnswers(0)(call, response), SLOW_MS),
    drops: ['queue_full', 'pressure'],
  },
];

const primaries = {
  grpc: await ScriptedUpstream.start(t, 'primary', { script: grpcAnswers(0) }),
  rest: await RestUpstream.start(t, restAnswers(0)),
};
const shadows = await Promise.all(
  MISBEHAVIOURS.map(async ({ grpc, rest }) => ({
    grpc: await ScriptedUpstream.start(t, 'shadow', { script: grpc }),
    rest: await RestUpstream.start(t, rest),
  })),
);
const model = (index: number, kind: 'grpc' | 'rest') => ({
  name: `m${index}-${kind}`,
  split: [{ model: `m${index}-${kind}@1 via ${primaries[kind].address}` }],
  shadows: [
    {
      model: `m${index}-${kind}@2 via ${shadows[index]![kind].address}`,
      maxConcurrent: MAX_CONCURRENT,
      maxSize: `${MAX_BYTES}B`,
    },
  ],
});
const proxy = await ProxyProgram.start(t, {
  ready: false,
  document: { models: MISBEHAVIOURS.flatMap((_, index) => [model(index, 'grpc'), model(index, 'rest')]) },
});
const caller = new MatrixCaller(t, proxy.address);

const of = (metrics: MetricsReading, name: string, model: string, more: object = {}): number =>
  metrics.sum(`understudy_${name}`, { model, ...more });

t.test('undisturbed calls first, so that growth is that of the shadows', async (test) => {
  for (const protocol of PROTOCOLS) {
    const answer = await caller.ask(protocol, isRest(protocol) ? 'm1-rest' : 'm1-grpc', 1n);
    test.equal(answer.value, 1, protocol);
  }
});

/** Requests that were meant for a model's shadow so far. */
const selected = new Map<string, number>([
  ['m1-grpc', 3],
  ['m1-rest', 2],
]);

for (const [index, { name, drops }] of MISBEHAVIOURS.entries()) {
  t.test(`a shadow that ${name} moves nothing, holds little, and is accounted for`, async (test) => {
    const rssBefore = proxy.rssBytes();
    let most = 0;
    let watching = true;
    const watch = (async () => {
      while (watching) {
        const metrics = await proxy.metrics();
        for (const kind of ['grpc', 'rest']) {
          most = Math.max(most, of(metrics, 'mirror_held_bytes', `m${index}-${kind}`));
        }
        await delay(20);
      }
    })();
    for (const protocol of PROTOCOLS) {
      const asked = `m${index}-${isRest(protocol) ? 'rest' : 'grpc'}`;
      for (let i = 0; i < CALLS; i += AT_ONCE) {
        const numbers = Array.from({ length: AT_ONCE }, (_, n) => BigInt(i + n));
        const answers = await Promise.all(numbers.map((n) => caller.ask(protocol, asked, n)));
        for (const [at, answer] of answers.entries()) {
          if (answer.value !== i + at) test.fail(`${protocol}: ${JSON.stringify(answer)}`);
        }
      }
      selected.set(asked, (selected.get(asked) ?? 0) + CALLS);
    }
    for (const kind of ['grpc', 'rest']) {
      const shown = `m${index}-${kind}`;
      const isQuiet = (metrics: MetricsReading): boolean =>
        of(metrics, 'mirror_in_flight_requests', shown) === (name === 'hangs' ? MAX_CONCURRENT : 0) &&
        offered(metrics, shown) === selected.get(shown);
      const metrics = await proxy.metricsOnce(isQuiet, 8000);
      const inFlight = of(metrics, 'mirror_in_flight_requests', shown);
      test.equal(offered(metrics, shown), selected.get(shown), `${kind}: shown or dropped`);
      const results = of(metrics, 'comparison_results_total', shown);
      test.equal(results + inFlight, of(metrics, 'mirror_requests_total', shown), `${kind}: each shown has a result`);
      const known = drops.reduce((sum, reason) => sum + of(metrics, 'mirror_drops_total', shown, { reason }), 0);
      test.equal(
        known,
        of(metrics, 'mirror_drops_total', shown),
        `${kind}: dropped for ${drops.join(', ') || 'nothing'}`,
      );
    }
    watching = false;
    await watch;
    test.ok(most <= MAX_BYTES, `${most} bytes held at most`);
    const growth = proxy.rssBytes() - rssBefore;
    test.ok(growth < MAX_GROWTH_BYTES, `${growth} bytes more`);
  });
}

/** Requests that were shown, and those that were dropped before. */
function offered(metrics: MetricsReading, model: string): number {
  const dropped = of(metrics, 'mirror_drops_total', model) - of(metrics, 'mirror_cut_requests_total', model);
  return of(metrics, 'mirror_requests_total', model) + dropped;
}

t.test('the primary saw each request once, and nothing that its shadows did counts for it', async (test) => {
  const metrics = await proxy.metrics();
  const all = [...selected.values()].reduce((sum, count) => sum + count, 0);
  const outcomes = (outcome: string): number =>
    metrics.sum('understudy_cluster_requests_total', { outcome, model_version: '1' });
  test.equal(outcomes('ok'), all);
  for (const outcome of ['upstream_error', 'upstream_reset', 'connect_failed', 'deadline', 'bad_output']) {
    test.equal(outcomes(outcome), 0, outcome);
  }
});
