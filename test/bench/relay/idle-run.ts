/** What idle connections cost a proxy: resident memory before and after many have been used once and fallen silent. */
import { join } from 'node:path';
import { residentMiB } from '../measure/process-tree.ts';
import { median } from '../measure/statistics.ts';
import type { BenchOptions } from '../options.ts';
import { AskedProgram } from '../programs/asked-program.ts';
import { startBackend } from './backend.ts';
import { OURS, type ProxyOptions, REFERENCE, startProxy } from './proxies.ts';
import { countWrong } from './traffic.ts';
import { IDLE_WORKLOAD } from './workloads.ts';

export interface IdleFigures {
  readonly name: string;
  /** Medians over the rounds, MiB. */
  readonly addedMiB: number;
  readonly beforeMiB: number;
  /** Connections that did not get their answer or did not stay open, in all rounds. */
  readonly missing: number;
}

type Callers = AskedProgram<{ readonly ready: true }, { port: number; connections: number }, { readonly open: number }>;

/** Each round starts its proxy anew; memory differs little between rounds, so there are at most these. */
const MOST_ROUNDS = 3;
const QUICK_BELOW_SECONDS = 1;
const REQUEST_BYTES = 512;
/** Requests before the first look, so that what any traffic at all costs is not counted for the connections. */
const WARM_UP_REQUESTS = 2000;
/**
 * Ages of a proxy, milliseconds, at which its memory is looked at before and after: each a second behind the time when ours
 * gives back what it does not use (`proxy/native-memory.ts`: 7.5 and 15.5 s after its start). Between two such times pages of
 * the executable that any connection touches come back, however few there are.
 */
const LOOK_BEFORE_MS = 8500;
const LOOK_AFTER_MS = 16_500;

/** Measures ours and haproxy, as far as `names` has them and the machine. */
export async function measureIdle(
  names: readonly string[],
  options: BenchOptions,
  proxyOptions: (name: string, backendPort: number) => ProxyOptions,
): Promise<IdleFigures[]> {
  const backend = await startBackend('grpc', options.loadCore, [REQUEST_BYTES]);
  const script = join(import.meta.dirname, 'idle-connections.ts');
  const callers: Callers = await AskedProgram.start({ name: 'callers', core: options.loadCore, script, args: [] });
  const rounds = options.seconds < QUICK_BELOW_SECONDS ? 1 : Math.min(options.rounds, MOST_ROUNDS);
  const figures: IdleFigures[] = [];
  for (const name of [OURS, REFERENCE].filter((one) => names.includes(one))) {
    const before: number[] = [];
    const added: number[] = [];
    let missing = 0;
    for (let round = 0; round < rounds; round++) {
      const startedMs = performance.now();
      const proxy = await startProxy(name, proxyOptions(name, backend.announcement.port));
      if (proxy === null) break;
      missing += await countWrong('grpc', proxy.port, REQUEST_BYTES, WARM_UP_REQUESTS);
      await until(startedMs + LOOK_BEFORE_MS);
      const beforeMiB = residentMiB(proxy.program.pid);
      const { open } = await callers.ask({ port: proxy.port, connections: IDLE_WORKLOAD.connections });
      await until(startedMs + LOOK_AFTER_MS);
      missing += IDLE_WORKLOAD.connections - open;
      before.push(beforeMiB);
      added.push(residentMiB(proxy.program.pid) - beforeMiB);
      await callers.ask({ port: 0, connections: 0 });
      await proxy.program.stop();
    }
    if (added.length > 0) figures.push({ name, addedMiB: median(added), beforeMiB: median(before), missing });
    process.stderr.write(`${IDLE_WORKLOAD.name}: ${name}\n`);
  }
  await callers.program.stop();
  await backend.program.stop();
  return figures;
}

function until(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms - performance.now())));
}
