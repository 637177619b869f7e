/** Entry of the thread that tries one execution provider: posts null when a run on it succeeds, else why it does not. */
import { parentPort, workerData } from 'node:worker_threads';
import { isProviderBuiltIn, NativeSession, ortTensor } from './native-session.ts';
import type { ExecutionSettings } from './provider-options.ts';
import type { ProbeResult } from './provider-probe.ts';

/** y = x + x, float32 [2], as a serialized ONNX model. */
const PROBE_MODEL = Buffer.from(
  'CAgSCnVuZGVyc3R1ZHk6QAoVCgF4CgF4EgF5GgVBZGRfMCIDQWRkEgVwcm9iZVoPCgF4EgoKCAgBEgQKAggCYg8KAXkSCgoICAESBAoCCAJCAhAR',
  'base64',
);

function probe(execution: ExecutionSettings): ProbeResult {
  const { name, deviceIds } = execution.providers[0];
  if (!isProviderBuiltIn(name)) return 'this build of onnxruntime does not have it';
  try {
    for (let instance = 0; instance < Math.max(1, deviceIds.length); instance++) runOnce(execution, instance);
    return null;
  } catch (error) {
    return (error as Error).message.trim();
  }
}

function runOnce(execution: ExecutionSettings, instance: number): void {
  const session = new NativeSession(PROBE_MODEL, execution, instance);
  try {
    const { y } = session.run({ x: ortTensor('float32', Float32Array.of(1, 2), [2]) }, { y: null });
    if ((y.data as Float32Array)[1] !== 4) throw new Error('it computes 2 + 2 wrongly');
  } finally {
    session.release();
  }
}

parentPort!.postMessage(probe(workerData as ExecutionSettings));
