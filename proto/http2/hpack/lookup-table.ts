// Owns an encoder's view of its dynamic table: the same ring, with an index from name and value to position that is
// kept through every insertion and eviction, so that a lookup costs two hash probes.

import { DynamicTable } from './dynamic-table.ts';

class NameEntries {
  /** Sequence number of the newest entry with this name; alive as long as any is. */
  newest: number;
  readonly byValue: Map<string, number>;

  constructor() {
    this.newest = 0;
    this.byValue = new Map();
  }
}

/** A dynamic table that answers where a field is. Positions are 0 for the newest entry; -1 means absent. */
export class LookupTable extends DynamicTable {
  private readonly byName = new Map<string, NameEntries>();

  /** Position of the newest entry with this name and value. */
  findField(name: string, value: string): number {
    const entries = this.byName.get(name);
    if (entries === undefined) return -1;
    const sequence = entries.byValue.get(value);
    return sequence === undefined ? -1 : this.inserted - 1 - sequence;
  }

  /** Position of the newest entry with this name. */
  findName(name: string): number {
    const entries = this.byName.get(name);
    return entries === undefined ? -1 : this.inserted - 1 - entries.newest;
  }

  override insert(name: string, value: string): void {
    const sequence = this.inserted;
    super.insert(name, value);
    if (this.inserted === sequence) return; // larger than the whole table
    let entries = this.byName.get(name);
    if (entries === undefined) {
      entries = new NameEntries();
      this.byName.set(name, entries);
    }
    entries.newest = sequence;
    entries.byValue.set(value, sequence);
  }

  protected override onEvict(name: string, value: string, sequence: number): void {
    const entries = this.byName.get(name)!;
    // A field inserted twice is indexed by its newer copy, which stays.
    if (entries.byValue.get(value) !== sequence) return;
    entries.byValue.delete(value);
    if (entries.byValue.size === 0) this.byName.delete(name);
  }
}
