/**
 * One session at a time on a device whose provider cannot take more. onnxruntime's WebGPU provider has one device context
 * per process and crashes when two threads run on it at once; CUDA, TensorRT and the CPU have no such limit and no lock.
 */
import type { ExecutionSettings } from './provider-options.ts';

const FREE = 0;
const HELD = 1;

export class DeviceLock {
  /** Shared with the threads that run on the device. */
  readonly memory: SharedArrayBuffer;
  private readonly word: Int32Array;

  constructor(memory = new SharedArrayBuffer(4)) {
    this.memory = memory;
    this.word = new Int32Array(memory);
  }

  /** Runs `work` while no other thread runs any; waits, blocking this thread, until it may. */
  hold<T>(work: () => T): T {
    while (Atomics.compareExchange(this.word, 0, FREE, HELD) !== FREE) Atomics.wait(this.word, 0, HELD);
    try {
      return work();
    } finally {
      Atomics.store(this.word, 0, FREE);
      Atomics.notify(this.word, 0, 1);
    }
  }
}

let ofProcess: DeviceLock | null = null;

/** Whether runs on the provider in force must not overlap. */
export function needsDeviceLock({ providers }: ExecutionSettings): boolean {
  return providers[0].name === 'webgpu';
}

/** The lock of this process for sessions with these settings, or null where none is needed. For the thread that serves. */
export function deviceLockFor(execution: ExecutionSettings): DeviceLock | null {
  if (!needsDeviceLock(execution)) return null;
  ofProcess ??= new DeviceLock();
  return ofProcess;
}
