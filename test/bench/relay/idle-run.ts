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
/** How long memory is left to settle before a look. */
const SETTLE_MS = 1000;

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
      const proxy = await startProxy(name, proxyOptions(name, backend.announcement.port));
      if (proxy === null) break;
      missing += await countWrong('grpc', proxy.port, REQUEST_BYTES, WARM_UP_REQUESTS);
      await settle();
      const beforeMiB = residentMiB(proxy.program.pid);
      const { open } = await callers.ask({ port: proxy.port, connections: IDLE_WORKLOAD.connections });
      await settle();
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

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
}
