/**
 * The open streams of one connection by identifier.
 *
 * A peer numbers its streams in order, so a table indexed by the low bits of the number has almost no collisions once
 * it is a few times larger than what is open at once; a long-lived stream that sits in the way sends newcomers to a
 * small overflow map. Finding, adding and deleting are an array access each. Deleted streams leave nothing behind:
 * a Map's discarded tables keep dead streams reachable from the old generation, which doubled the collector's work.
 */
import type { Http2Stream } from './stream.ts';

const FIRST_SLOTS = 16;
/** Beyond this many slots collisions go to the overflow map: 8 KiB of pointers per thousand slots. */
const MAX_SLOTS = 4096;
/** The table doubles on a collision while it is less than this many times the streams in it. */
const SPARSENESS = 4;

export class StreamTable {
  /** Streams in the table. */
  size = 0;
  private slots: (Http2Stream | null)[] = emptySlots(FIRST_SLOTS);
  private mask: number = FIRST_SLOTS - 1;
  private overflow: Map<number, Http2Stream> | null = null;

  find(id: number): Http2Stream | null {
    const stream = this.slots[(id >>> 1) & this.mask]!;
    if (stream !== null && stream.id === id) return stream;
    return this.overflow === null ? null : (this.overflow.get(id) ?? null);
  }

  /** Adds a stream whose identifier is not in the table. */
  add(stream: Http2Stream): void {
    this.size++;
    const slot = (stream.id >>> 1) & this.mask;
    if (this.slots[slot] === null) this.slots[slot] = stream;
    else this.addColliding(stream);
  }

  /** Takes a stream out; false if it was not in. */
  delete(stream: Http2Stream): boolean {
    const slot = (stream.id >>> 1) & this.mask;
    if (this.slots[slot] === stream) this.slots[slot] = null;
    else if (this.overflow === null || !this.overflow.delete(stream.id)) return false;
    this.size--;
    return true;
  }

  /** The streams in the order of their identifiers, as they are now; the table may change while they are looked at. */
  list(): Http2Stream[] {
    const streams: Http2Stream[] = [];
    if (this.size === 0) return streams;
    for (const stream of this.slots) if (stream !== null) streams.push(stream);
    if (this.overflow !== null) streams.push(...this.overflow.values());
    return streams.sort(byId);
  }

  clear(): void {
    this.slots = emptySlots(FIRST_SLOTS);
    this.mask = FIRST_SLOTS - 1;
    this.overflow = null;
    this.size = 0;
  }

  private addColliding(stream: Http2Stream): void {
    const slots = this.slots.length;
    if (slots < MAX_SLOTS && slots < this.size * SPARSENESS) {
      this.grow(stream);
      return;
    }
    this.overflow ??= new Map();
    this.overflow.set(stream.id, stream);
  }

  private grow(added: Http2Stream): void {
    const streams = this.list();
    streams.push(added);
    const slots = this.slots.length * 2;
    this.slots = emptySlots(slots);
    this.mask = slots - 1;
    this.overflow = null;
    this.size = 0;
    for (const stream of streams) this.add(stream);
  }
}

/** An array without holes, which the engine reads faster than one that was only given a length. */
function emptySlots(count: number): (Http2Stream | null)[] {
  const slots: (Http2Stream | null)[] = [];
  for (let i = 0; i < count; i++) slots.push(null);
  return slots;
}

function byId(a: Http2Stream, b: Http2Stream): number {
  return a.id - b.id;
}
