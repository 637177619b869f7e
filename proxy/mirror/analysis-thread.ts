/**
 * The analysis thread's entry: ports in, reports out. What is decided is decided in analysis.ts.
 *
 * A batch's buffer goes back to its sender as soon as its records are read, whatever they held. The thread ends when it is
 * told to, after a last report; it never ends the process. Where it shares a core with data threads it gives way to them.
 */
import { getPriority, setPriority } from 'node:os';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { assert } from '../../base/assert.ts';
import { collectStartGarbage } from '../../base/start-garbage.ts';
import { Analysis } from './analysis.ts';
import type { AnalysisWorkerData, FreeBuffer, FromAnalysis, PairBatch, ToAnalysis } from './messages.ts';
import type { PairKeeper } from './pair-keeper.ts';
import { NO_STORE_COUNTS, type PairStoreOptions } from './store-counts.ts';

/** Linux takes 0 for the calling thread. Elsewhere it is the process, whose priority is left alone. */
const THIS_THREAD = 0;
/** A third of a data thread's share of a core that both want: enough to keep up, on a busy machine too. */
const ANALYSIS_PRIORITY = 5;

assert(parentPort !== null, 'the analysis runs in a worker thread');
if (process.platform === 'linux') setPriority(THIS_THREAD, Math.max(getPriority(THIS_THREAD), ANALYSIS_PRIORITY));
const control: MessagePort = parentPort;
const start = workerData as AnalysisWorkerData;
const keeper = start.store === null ? null : await openKeeper(start.store);
const analysis = new Analysis(start.policies, start.initial, start.counts, keeper);
const ports = new Set<MessagePort>();
collectStartGarbage();
const timer = setInterval(() => report(-1), start.reportEveryMs);

control.on('message', (message: ToAnalysis) => {
  switch (message.type) {
    case 'policies':
      analysis.setPolicies(message.policies);
      break;
    case 'port':
      adopt(message.port);
      break;
    case 'figures':
      report(message.request);
      break;
    case 'stop':
      stop();
      break;
  }
});

/** SQLite is loaded only where pairs are kept. */
async function openKeeper(options: PairStoreOptions): Promise<PairKeeper> {
  const { PairKeeper } = await import('./pair-keeper.ts');
  return new PairKeeper(options);
}

function adopt(port: MessagePort): void {
  ports.add(port);
  port.on('close', () => ports.delete(port));
  port.on('message', (message: PairBatch) => {
    if (message.type !== 'pairs') return;
    const { buffer } = message;
    analysis.process(Buffer.from(buffer), Math.min(message.length, buffer.byteLength));
    port.postMessage({ type: 'free', buffer } satisfies FreeBuffer, [buffer]);
  });
}

/** Answers a request with everything; unasked, tells what changed, if anything did. */
function report(request: number): void {
  const changes = analysis.report(request >= 0);
  if (changes === null) return;
  const message: FromAnalysis = {
    type: 'figures',
    request,
    ...changes,
    counts: analysis.counts,
    store: keeper?.store.counts ?? NO_STORE_COUNTS,
  };
  control.postMessage(message);
}

function stop(): void {
  clearInterval(timer);
  report(-1);
  keeper?.store.close();
  for (const port of ports) port.close();
  control.close();
}
