/**
 * Bytes that came before their turn: the beginning of a head, or requests behind the one being answered. Grows as
 * needed (its user bounds what it puts in) and gives its memory back when it is empty, so idle connections hold none.
 */

const MIN_BYTES = 1024;

export class HeldBytes {
  buffer: Buffer = NONE;
  start = 0;
  end = 0;

  get length(): number {
    return this.end - this.start;
  }

  append(source: Buffer, start: number, end: number): void {
    const size = end - start;
    if (this.end + size > this.buffer.length) this.makeRoom(size);
    source.copy(this.buffer, this.end, start, end);
    this.end += size;
  }

  /** Forgets what lies before `at`, an index of `buffer`. */
  dropUntil(at: number): void {
    this.start = at;
    if (this.start === this.end) this.clear();
  }

  clear(): void {
    this.buffer = NONE;
    this.start = 0;
    this.end = 0;
  }

  private makeRoom(size: number): void {
    const kept = this.length;
    const target = kept + size <= this.buffer.length >>> 1 ? this.buffer : allocate(kept + size);
    this.buffer.copy(target, 0, this.start, this.end);
    this.buffer = target;
    this.start = 0;
    this.end = kept;
  }
}

const NONE = Buffer.alloc(0);

function allocate(needed: number): Buffer {
  return Buffer.allocUnsafeSlow(Math.max(MIN_BYTES, needed * 2));
}
