/**
 * What a stream identifier that is not in the table means (RFC 9113, section 5.1 and 5.1.1): never used, closed, reset
 * by us a moment ago, or above what our GOAWAY promised to look at. The peer's frames are judged by it.
 */
import { MAX_STREAM_ID } from './frames.ts';

/** Streams reset lately of which frames may still be under way. */
const RESET_MEMORY = 256;

export class StreamIds {
  private readonly client: boolean;
  /** Client: identifier of the next stream. */
  next = 1;
  /** Server: the highest identifier the peer has used, refused and ignored ones included. */
  lastSeen = 0;
  /** Server: the highest identifier that was or may be acted on; what GOAWAY names. */
  lastProcessed = 0;
  /** Server: streams above it are ignored: our GOAWAY said that they are not processed. */
  refuseAbove: number = MAX_STREAM_ID;
  private recentlyReset: Int32Array | null = null;
  private resetCount = 0;
  /** Resets up to this identifier may have been forgotten; such streams get the benefit of the doubt. */
  private forgottenUpTo = 0;

  constructor(client: boolean) {
    this.client = client;
  }

  /** How many identifiers of the connection are used up. */
  get used(): number {
    return this.client ? (this.next - 1) / 2 : (this.lastSeen + 1) / 2;
  }

  /** Nobody has opened it. Even ones nobody opens: push is off. */
  isIdle(id: number): boolean {
    if ((id & 1) === 0) return true;
    return this.client ? id >= this.next : id > this.lastSeen;
  }

  /** We reset it while the peer could still send: what it sent before it heard of that is ignored, not punished. */
  noteReset(id: number): void {
    this.recentlyReset ??= new Int32Array(RESET_MEMORY);
    const at = this.resetCount++ % RESET_MEMORY;
    const replaced = this.recentlyReset[at]!;
    if (replaced > this.forgottenUpTo) this.forgottenUpTo = replaced;
    this.recentlyReset[at] = id;
  }

  /** Frames on this closed stream may honestly be late. */
  mayBeLate(id: number): boolean {
    if (id > this.refuseAbove || id <= this.forgottenUpTo) return true;
    return this.recentlyReset?.includes(id) ?? false;
  }
}
