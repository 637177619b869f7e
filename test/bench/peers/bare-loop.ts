/**
 * Process entry: nothing but `session.run` in a loop at the batch size that carries most items a second: what the model
 * itself allows on one core. Arguments: the execution provider, and `NAME=FILE=WIDTH` for each model. Over IPC it announces `{ ready: true }` and
 * answers each `{ model, seconds }` with `{ items, seconds, batch }`.
 */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { INPUT } from '../worker/models.ts';

const BATCHES = [1, 2, 4, 8, 16, 32, 64, 128];
const SCAN_MS = 250;

interface Model {
  readonly session: InferenceSession;
  readonly width: number;
  batch: number;
}

const models = new Map<string, Model>();
const [provider, ...files] = process.argv.slice(2) as [string, ...string[]];
const options = { executionProviders: [provider], intraOpNumThreads: 1, interOpNumThreads: 1 };
for (const argument of files) {
  const [name, file, width] = argument.split('=') as [string, string, string];
  const session = await InferenceSession.create(file, options);
  const model: Model = { session, width: Number(width), batch: 1 };
  let best = 0;
  for (const batch of BATCHES) {
    const { items, seconds } = await loop(model, batch, SCAN_MS);
    const rate = items / seconds;
    if (rate > best) model.batch = batch;
    best = Math.max(best, rate);
  }
  models.set(name, model);
}

async function loop(
  { session, width }: Model,
  batch: number,
  forMs: number,
): Promise<{ items: number; seconds: number }> {
  const values = Float32Array.from({ length: batch * width }, (_, i) => Math.sin(i));
  const feeds = { [INPUT]: new Tensor('float32', values, [batch, width]) };
  await session.run(feeds);
  const startMs = performance.now();
  let nowMs = startMs;
  let items = 0;
  while (nowMs < startMs + forMs) {
    await session.run(feeds);
    items += batch;
    nowMs = performance.now();
  }
  return { items, seconds: (nowMs - startMs) / 1000 };
}

process.on('message', async ({ model: name, seconds }: { model: string; seconds: number }) => {
  const model = models.get(name)!;
  const count = await loop(model, model.batch, seconds * 1000);
  process.send?.({ ...count, batch: model.batch });
});
process.on('disconnect', () => process.exit(0));
process.send?.({ ready: true });
