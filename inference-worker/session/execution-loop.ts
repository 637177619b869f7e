/**
 * What an execution thread does: loads the model, then sleeps until the front hands over a batch, runs it over the slab,
 * and posts the result. It ends only between runs, when told to: ending a thread inside onnxruntime aborts the process.
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { slabViews } from '../batching/slab.ts';
import { DeviceLock } from './device-lock.ts';
import { giveWay } from './loading-priority.ts';
import { inspectModel, loadModel } from './model-loading.ts';
import type { NativeSession } from './native-session.ts';
import { SlabRunner } from './slab-runner.ts';
import {
  BEGUN,
  type FromThread,
  STOP,
  ThreadControl,
  type ThreadData,
  type ToThread,
  WAKE,
  WRITTEN,
} from './thread-protocol.ts';

const port = parentPort!;
const data = workerData as ThreadData;
const control = new ThreadControl(data.control);
const lock = data.deviceLock === null ? null : new DeviceLock(data.deviceLock);
const runners = new Map<number, SlabRunner>();
const strings = new Map<number, readonly (readonly string[] | null)[]>();
const NO_STRINGS: readonly null[] = [];

function post(message: FromThread): void {
  port.postMessage(message);
}

/** Loads and announces the model; null when it cannot be loaded. */
function load(): NativeSession | null {
  try {
    const loaded = loadModel(data.path, data.execution, lock, data.instance);
    const info = inspectModel(loaded, data.maxBatchSize, data.allowedBatchSizes);
    post({ kind: 'loaded', info });
    return loaded.session;
  } catch (error) {
    post({ kind: 'unloadable', message: (error as Error).message });
    return null;
  }
}

/** Takes in slabs and strings that were posted before the command now read. */
function readMessages(session: NativeSession): void {
  for (let received = receiveMessageOnPort(port); received !== undefined; received = receiveMessageOnPort(port)) {
    const message = received.message as ToThread;
    if (message.kind === 'slab') {
      const views = slabViews(message.plan, message.memory);
      runners.set(message.id, new SlabRunner(session, message.plan, views));
    } else if (message.kind === 'strings') {
      strings.set(message.id, message.strings);
    } else {
      runners.delete(message.id);
    }
  }
}

function execute(session: NativeSession, sequence: number): void {
  readMessages(session);
  const id = control.slabIdOf(sequence);
  const runner = runners.get(id);
  if (runner === undefined) throw new Error(`slab ${id} was never announced`);
  const texts = strings.get(id) ?? NO_STRINGS;
  strings.delete(id);
  const beganMs = performance.now();
  let loose: ReturnType<SlabRunner['run']>;
  try {
    loose = runner.run(control.rowsOf(sequence), texts);
  } catch (error) {
    post({ kind: 'failed', sequence, message: (error as Error).message });
    return;
  }
  control.setDuration(sequence, performance.now() - beganMs);
  post(loose === null ? sequence : { kind: 'outputs', sequence, loose });
}

function serve(session: NativeSession): void {
  let done = 0;
  for (;;) {
    const wake = Atomics.load(control.words, WAKE);
    while (Atomics.load(control.words, WRITTEN) !== done) {
      Atomics.store(control.words, BEGUN, (done + 1) | 0);
      execute(session, done);
      done = (done + 1) | 0;
    }
    if (Atomics.load(control.words, STOP) === 1) break;
    Atomics.wait(control.words, WAKE, wake);
  }
  // Taking a large model apart is no more urgent than loading one, and nothing follows it.
  giveWay();
  runners.clear();
  session.release();
}

/** Runs until told to stop. `ready` is called once the model is loaded and measured. */
export function runExecutionThread(ready: () => void): void {
  const session = load();
  ready();
  if (session !== null) serve(session);
}
