/**
 * What data threads and the control thread share of degradation: one SharedArrayBuffer of Int32 cells.
 *
 *     [ header: models, threads, ... (16) ] then per model:
 *     [ WITHHELD, PROBE_DUE, ... (16) | thread 0's ring | thread 1's ring | ... ]
 *     ring:   [ WRITTEN, ... (16) | 256 samples x 4 ]
 *     sample: ENDED_AT LATENCY_US KIND SEQUENCE
 *
 * The control thread alone writes WITHHELD, so all data threads serve by one state from one store on. A ring has one
 * writer, its thread, which writes a sample and then counts it; the control thread reads. It is read a few times a
 * second; a thread that answers more than 256 requests in between overwrites the oldest, which are then counted as
 * missed and not judged. Times are whole milliseconds modulo 2^32 of clocks that share an origin.
 */
import { assert } from '../../base/assert.ts';

const HEADER_CELLS = 16;
const MODEL_CELLS = 16;
const RING_HEAD_CELLS = 16;
const SAMPLE_CELLS = 4;
export const RING_SAMPLES = 256;
const RING_CELLS = RING_HEAD_CELLS + RING_SAMPLES * SAMPLE_CELLS;

const MAX_MODELS = 1024;
const MAX_THREADS = 63;

/** Offsets in a model's cells. */
export const ModelCell = {
  /** Share of the traffic the primary does not get, hundredths of a percent; zeroed memory withholds nothing. */
  WITHHELD: 0,
  /** When the next probe may go. */
  PROBE_DUE: 1,
} as const;

const ENDED_AT = 0;
const LATENCY_US = 1;
const KIND = 2;
const SEQUENCE = 3;
const PROBE_FLAG = 8;
const MAX_LATENCY_US = 2 ** 31 - 1;

/** A sample as it is read; reused, so its fields are to be copied. */
export class RingSample {
  endedMs = 0;
  latencyMs = 0;
  kind = 0;
  isProbe = false;
}

export class DegradationCells {
  readonly buffer: SharedArrayBuffer;
  readonly cells: Int32Array;
  readonly models: number;
  readonly threads: number;
  /** Which thread this view writes for; -1 for the control thread. */
  readonly threadIndex: number;

  constructor(buffer: SharedArrayBuffer, threadIndex = -1) {
    this.buffer = buffer;
    this.cells = new Int32Array(buffer);
    this.models = this.cells[0]!;
    this.threads = this.cells[1]!;
    this.threadIndex = threadIndex;
    assert(this.models > 0, 'the buffer was not made by DegradationCells.allocate');
    assert(threadIndex < this.threads, 'threadIndex outside the threads allocated for');
  }

  /** A zeroed buffer. Memory is the system's until it is written to: only models that have the policy cost any. */
  static allocate(models: number, threads: number): SharedArrayBuffer {
    assert(models >= 1 && models <= MAX_MODELS, 'models outside 1..1024');
    assert(threads >= 1 && threads <= MAX_THREADS, 'threads outside 1..63');
    const buffer = new SharedArrayBuffer((HEADER_CELLS + models * modelCells(threads)) * Int32Array.BYTES_PER_ELEMENT);
    const header = new Int32Array(buffer);
    header[0] = models;
    header[1] = threads;
    return buffer;
  }

  modelBase(place: number): number {
    assert(place >= 0 && place < this.models, 'place outside the models allocated for');
    return HEADER_CELLS + place * modelCells(this.threads);
  }

  /** Control thread: withholds this much from the primary, hundredths of a percent. */
  withhold(place: number, hundredths: number): void {
    Atomics.store(this.cells, this.modelBase(place) + ModelCell.WITHHELD, hundredths);
  }

  /** Data thread: one answer of the primary. */
  write(base: number, kind: number, isProbe: boolean, latencyMs: number, nowMs: number): void {
    const { cells } = this;
    const ring = base + MODEL_CELLS + this.threadIndex * RING_CELLS;
    const written = cells[ring]!;
    const at = ring + RING_HEAD_CELLS + (written & (RING_SAMPLES - 1)) * SAMPLE_CELLS;
    cells[at + ENDED_AT] = Math.floor(nowMs) | 0;
    cells[at + LATENCY_US] = Math.min(MAX_LATENCY_US, Math.max(0, Math.round(latencyMs * 1000)));
    cells[at + KIND] = kind | (isProbe ? PROBE_FLAG : 0);
    cells[at + SEQUENCE] = written;
    Atomics.store(cells, ring, (written + 1) | 0);
  }

  /** Control thread: samples written by a thread so far, modulo 2^32. */
  written(base: number, thread: number): number {
    return Atomics.load(this.cells, base + MODEL_CELLS + thread * RING_CELLS);
  }

  /** Control thread: reads sample number `sequence`; false when it has been overwritten. */
  read(base: number, thread: number, sequence: number, nowMs: number, into: RingSample): boolean {
    const { cells } = this;
    const ring = base + MODEL_CELLS + thread * RING_CELLS;
    const at = ring + RING_HEAD_CELLS + (sequence & (RING_SAMPLES - 1)) * SAMPLE_CELLS;
    const kind = cells[at + KIND]!;
    const age = ((Math.floor(nowMs) | 0) - cells[at + ENDED_AT]!) | 0;
    into.endedMs = Math.floor(nowMs) - age;
    into.latencyMs = cells[at + LATENCY_US]! / 1000;
    into.kind = kind & (PROBE_FLAG - 1);
    into.isProbe = (kind & PROBE_FLAG) !== 0;
    // The writer may have come round while these were read; it has then begun the sample that takes this place.
    const ahead = (Atomics.load(cells, ring) - sequence) | 0;
    return cells[at + SEQUENCE] === sequence && ahead > 0 && ahead < RING_SAMPLES;
  }
}

function modelCells(threads: number): number {
  return MODEL_CELLS + threads * RING_CELLS;
}
