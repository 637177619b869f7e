/**
 * The soak: a proxy process between callers that die at every stage and upstreams that fail in every way, get killed and
 * halted, while its document is rewritten. Everything is drawn from one seed. At the end the traffic is drained and the
 * books are checked.
 */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ProxyProgram } from '../support/proxy-program.ts';
import { counterFaults, engineEvents, floodFaults, gaugeFaults, isIdle, memoryFlatness } from './checks.ts';
import { grpcCaller } from './grpc-traffic.ts';
import { httpCaller } from './http-traffic.ts';
import { Random } from './random.ts';
import { STUCK_MS, Tally } from './tally.ts';
import { tcpCaller } from './tcp-traffic.ts';
import { UpstreamProgram } from './upstream-program.ts';

export interface SoakOptions {
  readonly seconds: number;
  readonly seed: number;
  /** Told every few seconds. */
  readonly onProgress: (line: string) => void;
}

export interface SoakReport {
  readonly seconds: number;
  readonly seed: number;
  readonly calls: number;
  readonly callsPerSecond: number;
  readonly bytes: number;
  readonly ends: Readonly<Record<string, number>>;
  readonly failures: Readonly<Record<string, number>>;
  readonly upstreamKills: number;
  readonly reloads: number;
  readonly wrong: number;
  readonly stuck: number;
  /** Resident memory after the warm-up and at the end, and the growth that is let pass, bytes. */
  readonly memory: { readonly from: number; readonly to: number; readonly slack: number };
  /** Streams of the proxy by how they ended. */
  readonly streams: Readonly<Record<string, number>>;
  /** What the proxy's engines met from callers and upstreams, by kind; zeros left out. */
  readonly events: Readonly<Record<string, number>>;
  /** Why the soak failed; empty when it did not. */
  readonly faults: readonly string[];
}

const GRPC_CALLERS = 6;
const HTTP_CALLERS = 3;
const TCP_CALLERS = 3;
const PROGRESS_MS = 5000;
const DRAIN_MS = 15_000;

type Upstreams = Record<'primary' | 'fallback' | 'shadow' | 'passthrough', UpstreamProgram>;

/** A document in the forms a rollout takes: weights, shadows, fallbacks, breakers and time limits change. */
function document(random: Random, { primary, fallback, shadow }: Upstreams): string {
  const weight = random.between(0, 100);
  return JSON.stringify({
    defaults: {
      breaker: { open: `${random.between(20, 100)}ms`, maxOpen: '200ms', enabled: random.chance(0.9) },
      timeouts: { request: `${random.between(1000, 2500)}ms` },
      limits: { pendingRequests: random.pick([4, 256]) },
    },
    models: [
      {
        name: 'm',
        split: [
          { model: `m@1 via ${primary.address}`, weight: `${weight}%` },
          { model: `m@2 via ${primary.address}`, weight: `${100 - weight}%` },
        ],
        shadows: random.chance(0.85)
          ? [{ model: `m@3 via ${shadow.address}`, percent: `${random.between(1, 100)}%`, maxConcurrent: 20 }]
          : [],
        fallback: random.chance(0.85) ? [{ model: `lite@9 via ${fallback.address}` }] : [],
        maxReplaySize: random.pick(['64KiB', '1MiB']),
      },
    ],
  });
}

export async function soak(options: SoakOptions): Promise<SoakReport> {
  const { seconds, seed, onProgress } = options;
  const tally = new Tally();
  const random = new Random(seed);
  const folder = mkdtempSync(join(tmpdir(), 'understudy-soak-'));
  const upstreams: Upstreams = {
    primary: new UpstreamProgram('primary', seed + 1000, 0.15, tally),
    fallback: new UpstreamProgram('fallback', seed + 2000, 0.05, tally),
    shadow: new UpstreamProgram('shadow', seed + 3000, 0.3, tally),
    passthrough: new UpstreamProgram('passthrough', seed + 4000, 0.1, tally),
  };
  const all = Object.values(upstreams);
  let proxy: ProxyProgram | null = null;
  // A soak that is ended from outside takes its proxy with it; upstreams notice by themselves.
  const onExit = () => proxy?.child.kill('SIGKILL');
  process.once('exit', onExit);
  try {
    await Promise.all(all.map((upstream) => upstream.start()));
    const file = join(folder, 'config.json');
    const configure = (text: string) => {
      writeFileSync(`${file}.new`, text);
      renameSync(`${file}.new`, file);
    };
    configure(document(random, upstreams));
    proxy = new ProxyProgram({
      env: {
        UNDERSTUDY_CONFIG_FILE: file,
        UNDERSTUDY_CONCURRENCY: '2',
        UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: upstreams.passthrough.address,
      },
    });
    const running = proxy;
    await running.until(() => running.address !== '' && running.adminUrl !== '', 'its addresses');
    await running.ready();

    const startMs = performance.now();
    const untilMs = startMs + seconds * 1000;
    const stop = new AbortController();
    const faults: string[] = [];
    const memory: number[] = [];
    let reloads = 0;
    let stuck = 0;
    const callers = [
      ...Array.from({ length: GRPC_CALLERS }, (_, i) =>
        grpcCaller(running.address, new Random(seed + i), tally, untilMs),
      ),
      ...Array.from({ length: HTTP_CALLERS }, (_, i) =>
        httpCaller(running.address, new Random(seed + 50 + i), tally, untilMs),
      ),
      ...Array.from({ length: TCP_CALLERS }, (_, i) =>
        tcpCaller(running.address, new Random(seed + 90 + i), tally, untilMs),
      ),
    ];
    /** Does something again and again at random distances, milliseconds, until the time is over. */
    const every = async (from: number, to: number, chance: Random, step: () => void | Promise<void>) => {
      while (!stop.signal.aborted && performance.now() < untilMs) {
        await delay(chance.between(from, to), undefined, { signal: stop.signal }).catch(() => {});
        if (!stop.signal.aborted) await step();
      }
    };
    const killing = new Random(seed + 7);
    const halting = new Random(seed + 8);
    const reloading = new Random(seed + 9);
    const troubles = Promise.all([
      every(2000, 7000, killing, async () => {
        const upstream = killing.pick(all);
        await upstream.kill();
        await delay(killing.between(0, 1000));
        await upstream.start();
      }),
      every(3000, 9000, halting, async () => {
        const upstream = halting.pick(all);
        upstream.halt();
        await delay(halting.between(50, 800));
        upstream.resume();
      }),
      every(500, 4000, reloading, () => {
        reloads++;
        configure(reloading.chance(0.1) ? '{"models": [{}]' : document(reloading, upstreams));
      }),
      every(1000, 1000, random, () => void memory.push(running.rssBytes())),
      every(PROGRESS_MS, PROGRESS_MS, random, () => {
        stuck = Math.max(stuck, tally.stuck().length);
        onProgress(progressLine(tally, running, startMs, stuck));
      }),
    ]);
    const died = running.exit.then((code) => `the proxy ended by itself with ${code}`);
    const settled = Promise.all([...callers, troubles]).then(() => null);
    const limit = delay(seconds * 1000 + STUCK_MS + 5000, null, { signal: stop.signal }).catch(() => null);
    const end = await Promise.race([died, settled, limit]);
    stop.abort();
    if (end !== null) faults.push(end);
    stuck = Math.max(stuck, tally.open);
    if (tally.open > 0) faults.push(`${tally.open} calls never settled: ${tally.inFlightNow().join(', ')}`);
    await troubles;

    if (tally.wrongCount > 0) faults.push(`${tally.wrongCount} wrong: ${tally.wrongs.join('; ')}`);
    if (tally.count('ok') < seconds * 10) faults.push(`only ${tally.count('ok')} calls were answered`);
    const flat = memoryFlatness(memory, seconds);
    if (flat.to > flat.from + flat.slack) faults.push(`resident memory grew from ${flat.from} to ${flat.to} bytes`);
    const streams: Record<string, number> = {};
    const events: Record<string, number> = {};
    if (running.child.exitCode === null && running.child.signalCode === null) {
      const metrics = await running.metricsOnce(isIdle, DRAIN_MS);
      faults.push(...gaugeFaults(metrics), ...counterFaults(metrics, tally), ...floodFaults(metrics));
      Object.assign(events, engineEvents(metrics));
      streams['accepted'] = metrics.sum('understudy_downstream_streams_total');
      for (const outcome of ['answered', 'refused', 'cancelled', 'cut']) {
        streams[outcome] = metrics.sum('understudy_downstream_requests_total', { outcome });
      }
      const deaths = running.logged('data_thread_died').length;
      if (deaths > 0)
        faults.push(
          `${deaths} data threads died: ${JSON.stringify([...running.logged('data_thread_error'), ...running.logged('data_thread_died'), ...running.logs.filter((log) => 'text' in log)])}`,
        );
      const code = await running.stop();
      if (code !== 0) faults.push(`the proxy ended with ${code} when told to`);
    }
    return {
      seconds,
      seed,
      calls: tally.total,
      callsPerSecond: Math.round(tally.total / seconds),
      bytes: tally.bytes,
      ends: Object.fromEntries([...tally.ends].sort()),
      failures: Object.fromEntries([...tally.failures].sort()),
      upstreamKills: all.reduce((sum, upstream) => sum + upstream.kills, 0),
      reloads,
      wrong: tally.wrongCount,
      stuck,
      memory: flat,
      streams,
      events,
      faults,
    };
  } finally {
    process.off('exit', onExit);
    await proxy?.kill();
    await Promise.all(all.map((upstream) => upstream.kill()));
    rmSync(folder, { recursive: true, force: true });
  }
}

function progressLine(tally: Tally, proxy: ProxyProgram, startMs: number, stuck: number): string {
  const seconds = (performance.now() - startMs) / 1000;
  const failures = [...tally.failures].map(([kind, count]) => `${kind} ${count}`).join(', ');
  const told = [...tally.wrongs, ...tally.stuck()].map((text) => `\n  ${text}`).join('');
  const memory = Math.round(proxy.rssBytes() / 1024 / 1024);
  return (
    `${seconds.toFixed(0)} s: ${Math.round(tally.total / seconds)} calls/s, ${tally.total} calls ` +
    `(${tally.count('ok')} ok, ${tally.count('gone')} gone), ${memory} MiB, ${tally.open} open, ${stuck} stuck, ` +
    `${tally.wrongCount} wrong; ${failures}${told}`
  );
}
