/**
 * Bytes this thread holds for others: stream queues and output the kernel has not taken. Each queue has a bound of its
 * own; this one is for their sum, so that thousands of slow peers cannot end the process. When the sum passes the limit,
 * the holders that hold most are told to let go, once the current event has been handled, until it is below again.
 */

/** Something that holds bytes and can give them up at the price of its stream or connection. */
export interface BufferHolder {
  /** Bytes held now. */
  readonly heldBytes: number;
  /** Lets go of them. Must reduce `heldBytes` to 0, at once or in a later turn. */
  shed(): void;
}

/** Enough for hundreds of stalled peers with full windows; a sidecar's own bars are far below. */
export const DEFAULT_MEMORY_LIMIT_BYTES: number = 128 * 1024 * 1024;

export class MemoryBudget {
  limitBytes: number;
  /** Bytes held now. */
  heldBytes = 0;
  /** Holders that were told to let go. */
  sheds = 0;
  private readonly holders = new Set<BufferHolder>();
  private enforcing = false;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  hold(bytes: number): void {
    this.heldBytes += bytes;
    if (this.heldBytes > this.limitBytes && !this.enforcing) this.enforceSoon();
  }

  release(bytes: number): void {
    this.heldBytes -= bytes;
  }

  /** Adds a holder that may be told to let go. */
  register(holder: BufferHolder): void {
    this.holders.add(holder);
  }

  forget(holder: BufferHolder): void {
    this.holders.delete(holder);
  }

  /** Holders that may be told to let go. */
  get holderCount(): number {
    return this.holders.size;
  }

  /** Tells the heaviest to let go until the rest is within the limit. */
  enforce(): void {
    let excess = this.heldBytes - this.limitBytes;
    if (excess <= 0) return;
    const heaviestFirst = [...this.holders].sort(byHeldBytes);
    for (const holder of heaviestFirst) {
      if (excess <= 0) return;
      const bytes = holder.heldBytes;
      this.holders.delete(holder);
      if (bytes === 0) continue;
      excess -= bytes;
      this.sheds++;
      holder.shed();
    }
  }

  /** Not within the call that holds the bytes: its caller may not expect to be shed in the middle of it. */
  private enforceSoon(): void {
    this.enforcing = true;
    setImmediate(() => {
      this.enforcing = false;
      this.enforce();
    });
  }
}

function byHeldBytes(a: BufferHolder, b: BufferHolder): number {
  return b.heldBytes - a.heldBytes;
}

/** The budget of this thread; `limitBytes` is set at start from the process's share. */
export const threadMemory: MemoryBudget = new MemoryBudget(DEFAULT_MEMORY_LIMIT_BYTES);
