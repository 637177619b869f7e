// Owns the dynamic table (RFC 7541 sections 2.3.2 and 4): a ring of fields, newest first by index, evicted from the
// oldest so that `size` never exceeds `maxSize`. Every change of contents changes `generation`.
//
//   slot    ... | oldest | ... | newest | next | ...        (slot = sequence number & mask)

import { FIELD_OVERHEAD_BYTES } from '../header-list.ts';

const INITIAL_SLOTS = 16;

/** The fields one side of a connection has added to its compression context. Memory is bounded by the maximum size. */
export class DynamicTable {
  /** Fields present. */
  count: number;
  /** Octets of the fields present, 32 added for each (RFC 7541 section 4.1). */
  size: number;
  /** The bound on `size`. */
  maxSize: number;
  /** Fields ever inserted; the newest has sequence number `inserted - 1`. */
  inserted: number;
  /** Differs whenever the contents may differ. */
  generation: number;
  private names: string[];
  private values: string[];
  private mask: number;

  constructor(maxSize: number) {
    this.count = 0;
    this.size = 0;
    this.maxSize = maxSize;
    this.inserted = 0;
    this.generation = 0;
    this.names = new Array<string>(INITIAL_SLOTS).fill('');
    this.values = new Array<string>(INITIAL_SLOTS).fill('');
    this.mask = INITIAL_SLOTS - 1;
  }

  /** The name of entry `index`, 0 being the newest. The caller has checked that index < count. */
  nameAt(index: number): string {
    return this.names[(this.inserted - 1 - index) & this.mask]!;
  }

  /** The value of entry `index`, 0 being the newest. The caller has checked that index < count. */
  valueAt(index: number): string {
    return this.values[(this.inserted - 1 - index) & this.mask]!;
  }

  /** Adds a field after evicting what must go. A field larger than the table empties it and is not added (section 4.4). */
  insert(name: string, value: string): void {
    const bytes = name.length + value.length + FIELD_OVERHEAD_BYTES;
    this.generation++;
    this.evictTo(this.maxSize - bytes);
    if (bytes > this.maxSize) return;
    if (this.count > this.mask) this.grow();
    const slot = this.inserted & this.mask;
    this.names[slot] = name;
    this.values[slot] = value;
    this.inserted++;
    this.count++;
    this.size += bytes;
  }

  /** Changes the bound, evicting what no longer fits (section 4.3). */
  resize(maxSize: number): void {
    this.maxSize = maxSize;
    if (this.size > maxSize) {
      this.generation++;
      this.evictTo(maxSize);
    }
  }

  /** Called for each field that leaves, so that an index over the table can follow. */
  protected onEvict(_name: string, _value: string, _sequence: number): void {}

  private evictTo(targetSize: number): void {
    while (this.size > targetSize && this.count > 0) {
      const sequence = this.inserted - this.count;
      const slot = sequence & this.mask;
      const name = this.names[slot]!;
      const value = this.values[slot]!;
      this.names[slot] = '';
      this.values[slot] = '';
      this.count--;
      this.size -= name.length + value.length + FIELD_OVERHEAD_BYTES;
      this.onEvict(name, value, sequence);
    }
  }

  private grow(): void {
    const slots = (this.mask + 1) * 2;
    const names = new Array<string>(slots).fill('');
    const values = new Array<string>(slots).fill('');
    for (let sequence = this.inserted - this.count; sequence < this.inserted; sequence++) {
      names[sequence & (slots - 1)] = this.names[sequence & this.mask]!;
      values[sequence & (slots - 1)] = this.values[sequence & this.mask]!;
    }
    this.names = names;
    this.values = values;
    this.mask = slots - 1;
  }
}
