/**
 * Loading gives way to serving: a thread that loads a model runs at a low priority meanwhile, so that on busy cores the
 * threads that serve go first. Linux keeps priorities by thread; taking one back up needs CAP_SYS_NICE, so without it
 * (most containers, unless they are given it) nothing is changed and the kernel's own fairness has to do.
 *
 * Measured with `bench worker --only loadingOther` on a machine busy with other work (one core, a quarter of its load, a new
 * version of 100 MiB every second), in turns: p99 beside loading was 0.8 and 1.2 times that before at nice 15, 1.9 and 6.3
 * times at nice 0.
 */
import { readFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import type { ExecutionSettings } from './provider-options.ts';

/** Nice value while loading. */
export const LOADING_PRIORITY = 15;
/** Means the calling thread to the kernel. */
const THIS_THREAD = 0;
const CAP_SYS_NICE = 23n;

/**
 * Whether loading with these settings keeps to its thread. Threads that it starts, of a pool or a device's driver, would
 * inherit the low priority and serve with it ever after.
 */
export function loadsAlone({ providers, intraOpThreads, interOpThreads }: ExecutionSettings): boolean {
  return providers[0].name === 'cpu' && intraOpThreads === 1 && interOpThreads === 1;
}

/** Whether a process with this `/proc/self/status` may raise priorities again. */
export function mayRaisePriority(status: string): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return effective !== undefined && ((BigInt(`0x${effective}`) >> CAP_SYS_NICE) & 1n) === 1n;
}

/** Lowers the calling thread's priority where that can be undone; the returned function undoes it. */
export function lowerPriority(): () => void {
  if (!canReturn()) return () => {};
  const before = getPriority(THIS_THREAD);
  setPriority(THIS_THREAD, Math.max(before, LOADING_PRIORITY));
  return () => setPriority(THIS_THREAD, before);
}

/** Lowers the calling thread's priority for good, which everybody may: for a thread that is about to end. */
export function giveWay(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(THIS_THREAD, Math.max(getPriority(THIS_THREAD), LOADING_PRIORITY));
  } catch {
    // A sandbox that forbids it: then the thread ends as it is.
  }
}

function canReturn(): boolean {
  if (process.platform !== 'linux') return false;
  try {
    return mayRaisePriority(readFileSync('/proc/self/status', 'utf8'));
  } catch {
    return false;
  }
}
