/** A proxy that hedges, between a caller and upstreams that do as they are told. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Test } from 'tap';
import { GrpcCaller } from './grpc-caller.ts';
import { ProxyProgram } from './proxy-program.ts';
import { RestUpstream, restAnswers } from './rest-upstream.ts';
import { answers, predictResponse, type Script, ScriptedUpstream } from './scripted-upstream.ts';

const off = { breaker: { enabled: false }, retries: { attempts: 0 } };
const hedge = { after: '40ms', budget: '100%', budgetFloor: 1000 };
const to = (name: string, upstream: { address: string }) => ({ model: `${name} via ${upstream.address}` });
const breaker = { breaker: { enabled: false } };

export interface HedgeLab {
  readonly proxy: ProxyProgram;
  readonly caller: GrpcCaller;
  readonly primary: ScriptedUpstream;
  /** The primary's second endpoint, of the model `pair` only. */
  readonly twin: ScriptedUpstream;
  /** The last fallback of every model, `lite@7`. */
  readonly lite: ScriptedUpstream;
  /** The first fallback of the model `two`, `spare@3`. */
  readonly spare: ScriptedUpstream;
  readonly restPrimary: RestUpstream;
  readonly restLite: RestUpstream;
  /** The access log, JSON. */
  readonly logFile: string;
  /** How often each event of a model's hedges came so far. */
  events(model: string): Promise<Record<string, number>>;
  /** How often each event of a model's hedges came during `run`. */
  eventsOf(model: string, run: () => Promise<void>): Promise<Record<string, number>>;
}

/** Upstreams that answer at once before each test, and a proxy whose models hedge with them. */
export async function openHedgeLab(t: Test): Promise<HedgeLab> {
  const primary = await ScriptedUpstream.start(t, 'primary');
  const twin = await ScriptedUpstream.start(t, 'twin');
  const lite = await ScriptedUpstream.start(t, 'lite');
  const spare = await ScriptedUpstream.start(t, 'spare');
  const restPrimary = await RestUpstream.start(t, () => {});
  const restLite = await RestUpstream.start(t, restAnswers('lite'));
  const logFile = join(mkdtempSync(join(tmpdir(), 'understudy-hedge-')), 'access.log');
  t.teardown(() => rmSync(dirname(logFile), { recursive: true, force: true }));
  const proxy = await ProxyProgram.start(t, {
    ready: false,
    env: {
      UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: primary.address,
      UNDERSTUDY_ACCESS_LOG: 'json',
      UNDERSTUDY_ACCESS_LOG_FILE: logFile,
    },
    document: {
      clusters: [
        { name: 'pair@1', model: 'pair', version: '1', endpoints: [primary.address, twin.address], ...off },
        { name: 'judged@1', model: 'judged', version: '1', endpoints: [primary.address] },
        { name: 'lite@7', model: 'lite', version: '7', endpoints: [lite.address], ...off },
        { name: 'spare@3', model: 'spare', version: '3', endpoints: [spare.address], ...off },
      ],
      models: [
        { name: 'm', split: [to('m@1', primary)], fallback: [{ cluster: 'lite@7' }], hedge, ...breaker },
        {
          name: 'calm',
          split: [to('calm@1', primary)],
          fallback: [{ cluster: 'lite@7' }],
          hedge: { after: '30s' },
          ...breaker,
        },
        {
          name: 'two',
          split: [to('two@1', primary)],
          fallback: [{ cluster: 'spare@3' }, { cluster: 'lite@7' }],
          hedge,
          ...breaker,
        },
        { name: 'pair', split: [{ cluster: 'pair@1' }], hedge: { ...hedge, to: 'endpoint' } },
        {
          name: 'thrifty',
          split: [to('thrifty@1', primary)],
          fallback: [{ cluster: 'lite@7' }],
          hedge: { after: '40ms', budget: '0%', budgetFloor: 0 },
          ...breaker,
        },
        {
          name: 'checked',
          split: [to('checked@1', primary)],
          fallback: [{ cluster: 'lite@7' }],
          hedge,
          checkOutputs: true,
          ...breaker,
        },
        {
          name: 'roomy',
          split: [to('roomy@1', primary)],
          fallback: [{ cluster: 'lite@7' }],
          hedge,
          degradation: { preset: 'tail' },
          ...breaker,
        },
        { name: 'judged', split: [{ cluster: 'judged@1' }], fallback: [{ cluster: 'lite@7' }], hedge },
        { name: 'rest', split: [to('rest@1', restPrimary)], fallback: [to('restlite@7', restLite)], hedge, ...breaker },
      ],
    },
  });
  const caller = GrpcCaller.to(t, proxy.address);

  t.beforeEach(() => {
    for (const upstream of [primary, twin, lite, spare]) upstream.script = answers(upstream.name);
  });

  async function events(model: string): Promise<Record<string, number>> {
    const metrics = await proxy.metrics();
    const names = ['started', 'won', 'lost', 'failed', 'cancelled', 'over_budget', 'refused'];
    return Object.fromEntries(
      names.map((event) => [event, metrics.sum('understudy_cluster_hedges_total', { cluster: `${model}@1`, event })]),
    );
  }

  async function eventsOf(model: string, run: () => Promise<void>): Promise<Record<string, number>> {
    const before = await events(model);
    await run();
    const after = await events(model);
    return Object.fromEntries(
      Object.entries(after).flatMap(([key, n]) => (n === before[key] ? [] : [[key, n - before[key]!]])),
    );
  }

  return { proxy, caller, primary, twin, lite, spare, restPrimary, restLite, logFile, events, eventsOf };
}

/** Answers once `gate` opens. */
export function answersWhen(name: string, gate: Promise<unknown>): Script {
  return async (call) => {
    const body = await call.body;
    await gate;
    if (call.ended && call.resetCode === null) call.answer(predictResponse(name, body));
  };
}

/** To be asked at the end of a file that must have made `atLeast` hedges: each has one outcome, and nothing is held any more. */
export async function accountedFor(test: Test, proxy: ProxyProgram, atLeast: number): Promise<void> {
  const metrics = await proxy.metricsOnce((reading) => reading.sum('understudy_cluster_in_flight_requests') === 0);
  test.equal(metrics.sum('understudy_cluster_in_flight_requests'), 0);
  test.equal(metrics.sum('understudy_replay_held_bytes'), 0);
  test.equal(metrics.sum('understudy_downstream_open_streams'), 0);
  const count = (event: string) => metrics.sum('understudy_cluster_hedges_total', { event });
  test.ok(count('started') >= atLeast, `${count('started')} hedges`);
  test.equal(count('started'), count('won') + count('lost') + count('failed') + count('cancelled'));
  test.equal(metrics.sum('understudy_cluster_answers_total', { reason: 'hedge' }), count('won'));
}
