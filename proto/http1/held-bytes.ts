/**
 * Bytes that came before their turn: the beginning of a head, or requests behind the one being answered. Grows as
 * needed (its user bounds what it puts in), counts in the thread's memory budget, and gives its memory back when it is
 * empty, so idle connections hold none.
 */
import { giveBuffer, takeBuffer } from '../io/buffer-pool.ts';
import { type BufferHolder, threadMemory } from '../io/memory-budget.ts';

export class HeldBytes {
  buffer: Buffer = NONE;
  start = 0;
  end = 0;
  /** Who is told to let go of them. */
  private readonly holder: BufferHolder;

  constructor(holder: BufferHolder) {
    this.holder = holder;
  }

  get length(): number {
    return this.end - this.start;
  }

  append(source: Buffer, start: number, end: number): void {
    const size = end - start;
    if (size === 0) return;
    if (this.length === 0) threadMemory.register(this.holder);
    threadMemory.hold(size);
    if (this.end + size > this.buffer.length) this.makeRoom(size);
    source.copy(this.buffer, this.end, start, end);
    this.end += size;
  }

  /** Forgets what lies before `at`, an index of `buffer`. Not while somebody reads in it. */
  dropUntil(at: number): void {
    threadMemory.release(at - this.start);
    this.start = at;
    if (this.start < this.end) return;
    threadMemory.forget(this.holder);
    giveBuffer(this.buffer);
    this.reset();
  }

  /** Forgets everything; somebody may be reading in the buffer, so it is left to the collector. */
  clear(): void {
    if (this.length > 0) {
      threadMemory.release(this.length);
      threadMemory.forget(this.holder);
    }
    this.reset();
  }

  private reset(): void {
    this.buffer = NONE;
    this.start = 0;
    this.end = 0;
  }

  private makeRoom(size: number): void {
    const kept = this.length;
    // Moved to the front when that leaves as much room again, so that bytes are not moved over and over.
    const old = this.buffer;
    const target = (kept + size) * 2 <= old.length ? old : takeBuffer((kept + size) * 2);
    old.copy(target, 0, this.start, this.end);
    if (target !== old) giveBuffer(old);
    this.buffer = target;
    this.start = 0;
    this.end = kept;
  }
}

const NONE = Buffer.alloc(0);
