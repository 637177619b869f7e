/** How long a device's memory has been free enough; a machine without devices has no such condition. */

export class MemoryWatch {
  /** The last reading: a fraction in use, null without devices, NaN unknown. */
  used: number | null = null;
  private freeSinceMs = Number.POSITIVE_INFINITY;
  private isOff = true;

  /** Takes a reading; `below` is the fraction under which memory counts as free, 0 for no condition. */
  take(used: number | null, below: number, nowMs: number): void {
    this.used = used;
    this.isOff = used === null || below <= 0;
    // An unknown reading is not under anything.
    if (this.isOff || !(used! < below)) this.freeSinceMs = Number.POSITIVE_INFINITY;
    else if (this.freeSinceMs === Number.POSITIVE_INFINITY) this.freeSinceMs = nowMs;
  }

  /** Whether memory has been free for `forMs`, or there is no such condition. */
  allows(forMs: number, nowMs: number): boolean {
    return this.isOff || nowMs - this.freeSinceMs >= forMs;
  }

  /** Starts the time again. */
  clear(): void {
    this.freeSinceMs = Number.POSITIVE_INFINITY;
  }
}
