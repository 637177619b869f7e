/**
 * The labels of one model, by TensorFlow Serving's rules: a label is assigned to a version that serves. With
 * `allowUnavailable` a new label may name one that does not; a label in use is never moved to such a version.
 *
 * At start, where nobody is there to be refused, a label waits for its version instead and is assigned once it serves.
 */
export class VersionLabels {
  private assigned: ReadonlyMap<string, bigint> = new Map();
  private waiting: ReadonlyMap<string, bigint>;

  constructor(initial: ReadonlyMap<string, bigint>) {
    this.waiting = initial;
  }

  /** Labels in force. */
  get current(): ReadonlyMap<string, bigint> {
    return this.assigned;
  }

  /** Assigns labels whose version has begun to serve. */
  settle(serves: (version: bigint) => boolean): void {
    if (this.waiting.size === 0) return;
    const assigned = new Map(this.assigned);
    const waiting = new Map<string, bigint>();
    for (const [label, version] of this.waiting) {
      if (serves(version)) assigned.set(label, version);
      else waiting.set(label, version);
    }
    this.assigned = assigned;
    this.waiting = waiting;
  }

  /** The version that keeps `wanted` from being assigned, or null. */
  obstacle(
    wanted: ReadonlyMap<string, bigint>,
    serves: (version: bigint) => boolean,
    allowUnavailable: boolean,
  ): bigint | null {
    for (const [label, version] of wanted) {
      const current = this.assigned.get(label);
      if (serves(version) || current === version) continue;
      if (!allowUnavailable || current !== undefined) return version;
    }
    return null;
  }

  /** Puts `wanted` in the place of every label there was. */
  replace(wanted: ReadonlyMap<string, bigint>): void {
    this.assigned = new Map(wanted);
    this.waiting = new Map();
  }
}
