/**
 * How the front and one execution thread talk. Commands go through shared memory, because the thread sleeps in
 * `Atomics.wait` and has no event loop; what does not fit there (slabs, strings, loose outputs, errors) goes by message.
 *
 *   Int32   0 WAKE     bumped with every command and on stop; the thread waits on it
 *           1 STOP     1: end once all commands are done
 *           2 WRITTEN  commands written so far (front)
 *           3 BEGUN    commands begun so far (thread)
 *           4..        ring of RING_SLOTS commands: slab id, rows to execute
 *   Float64 one per ring slot: milliseconds the run took (thread)
 *
 * Counters wrap as 32-bit integers. A message the front posts before it writes a command is there when the thread reads it.
 */

import type { LooseOutput, SlabPlan } from '../batching/slab.ts';
import type { ModelInfo } from './model-info.ts';
import type { ExecutionSettings } from './provider-options.ts';

export const WAKE = 0;
export const STOP = 1;
export const WRITTEN = 2;
export const BEGUN = 3;
const RING_AT = 4;
/** A power of two, and more than the batches a thread is ever given at once. */
export const RING_SLOTS = 4;
const COMMAND_INTS = 2;
const DURATIONS_AT_BYTE = 64;
const CONTROL_BYTES = DURATIONS_AT_BYTE + RING_SLOTS * 8;

/** Both sides' view of the control memory. */
export class ThreadControl {
  readonly memory: SharedArrayBuffer;
  readonly words: Int32Array;
  private readonly durations: Float64Array;

  constructor(memory = new SharedArrayBuffer(CONTROL_BYTES)) {
    this.memory = memory;
    this.words = new Int32Array(memory, 0, DURATIONS_AT_BYTE / 4);
    this.durations = new Float64Array(memory, DURATIONS_AT_BYTE, RING_SLOTS);
  }

  /** Front: hands over command number `sequence`. */
  write(sequence: number, slabId: number, rows: number): void {
    const at = RING_AT + (sequence & (RING_SLOTS - 1)) * COMMAND_INTS;
    this.words[at] = slabId;
    this.words[at + 1] = rows;
    Atomics.store(this.words, WRITTEN, (sequence + 1) | 0);
    this.wake();
  }

  /** Front: the thread looks at commands and the stop flag. */
  wake(): void {
    Atomics.add(this.words, WAKE, 1);
    Atomics.notify(this.words, WAKE);
  }

  slabIdOf(sequence: number): number {
    return this.words[RING_AT + (sequence & (RING_SLOTS - 1)) * COMMAND_INTS];
  }

  rowsOf(sequence: number): number {
    return this.words[RING_AT + (sequence & (RING_SLOTS - 1)) * COMMAND_INTS + 1];
  }

  setDuration(sequence: number, ms: number): void {
    this.durations[sequence & (RING_SLOTS - 1)] = ms;
  }

  durationOf(sequence: number): number {
    return this.durations[sequence & (RING_SLOTS - 1)];
  }
}

/** What the thread is started with. */
export interface ThreadData {
  readonly path: string;
  readonly execution: ExecutionSettings;
  /** Which of the servable's sessions this is, from 0. */
  readonly instance: number;
  /** Memory of the lock its runs must hold; null where runs may overlap. */
  readonly deviceLock: SharedArrayBuffer | null;
  readonly control: SharedArrayBuffer;
  readonly maxBatchSize: number;
  readonly allowedBatchSizes: readonly number[];
}

/** Front to thread. */
export type ToThread =
  | { readonly kind: 'slab'; readonly id: number; readonly plan: SlabPlan; readonly memory: SharedArrayBuffer }
  | { readonly kind: 'forget'; readonly id: number }
  | { readonly kind: 'strings'; readonly id: number; readonly strings: readonly (readonly string[] | null)[] };

/**
 * Thread to front. A plain number is the sequence of a command that succeeded with all outputs in the slab. Commands are
 * reported in order.
 */
export type FromThread =
  | number
  | { readonly kind: 'loaded'; readonly info: ModelInfo }
  | { readonly kind: 'unloadable'; readonly message: string }
  | { readonly kind: 'outputs'; readonly sequence: number; readonly loose: (LooseOutput | null)[] }
  | { readonly kind: 'failed'; readonly sequence: number; readonly message: string };
