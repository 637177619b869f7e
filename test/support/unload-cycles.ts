/**
 * Process entry: loads and unloads a model as a group's process does, again and again, and prints what the process's
 * memory did: one line of JSON with MiB before the first load, while it is loaded, and after the last unload.
 * Arguments: path of the model, cycles.
 */
import { systemClock } from '../../base/clock.ts';
import { Logger } from '../../base/logger.ts';
import { type OutputView, PredictCall, type Servable } from '../../inference-worker/batching/batcher.ts';
import { DEFAULT_BATCHING } from '../../inference-worker/batching/batching-options.ts';
import { loadServable } from '../../inference-worker/session/loader.ts';
import { float32, predictRequest } from './predict-tasks.ts';

const MIB = 1024 * 1024;
const SETTLE_MS = 300;

const [path, cycles] = process.argv.slice(2) as [string, string];

function load(file: string) {
  return loadServable({
    model: 'm',
    version: 1n,
    path: file,
    batching: { ...DEFAULT_BATCHING, maxBatchSize: 8 },
    clock: systemClock,
    log: new Logger('silent'),
  });
}

/** Looks at one value of the answer, so that what is measured is the worker's memory and not the caller's. */
class OneCall extends PredictCall {
  resolve: () => void = () => {};
  reject: (error: Error) => void = () => {};

  override onOutputs(outputs: readonly OutputView[]): void {
    if (outputs[0]!.data[0] === 0) this.reject(new Error('the answer is wrong'));
    else this.resolve();
  }

  override onFailure(error: Error): void {
    this.reject(error);
  }
}

const { view, buf } = predictRequest({ x: float32([1, 256], new Array(256).fill(1)) });

function predict(servable: Servable): Promise<void> {
  return new Promise((resolve, reject) => {
    const call = new OneCall(servable.signatures.get('serving_default')!);
    call.resolve = resolve;
    call.reject = reject;
    const refusal = servable.submit(call, view, buf);
    if (refusal !== null) reject(refusal);
  });
}

async function cycle(): Promise<number> {
  const servable = await load(path);
  await predict(servable);
  const loaded = process.memoryUsage().rss;
  await servable.close();
  return loaded;
}

/** What is resident once the collector has had its say. */
async function settled(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  }
  return process.memoryUsage().rss;
}

// A first cycle pays for what stays: code, threads' stacks and onnxruntime's own tables.
const start = await settled();
await cycle();
const before = await settled();
let loaded = 0;
for (let i = 0; i < Number(cycles); i++) loaded = Math.max(loaded, await cycle());
const after = await settled();
const mib = (bytes: number): number => Math.round((bytes / MIB) * 10) / 10;
process.stdout.write(
  `${JSON.stringify({ rssMiBAtStart: mib(start), rssMiBBefore: mib(before), rssMiBLoaded: mib(loaded), rssMiBAfter: mib(after) })}\n`,
);
