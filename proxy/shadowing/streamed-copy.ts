/**
 * A request that is too large to be kept, shown to its shadows while it comes: each piece goes to the caller's own upstream
 * and, as a copy, into the streams of the shadows that still follow.
 *
 * What a shadow has not taken yet is held for it within its bound of bytes; one that falls further behind is cut (its
 * stream is reset) and counted, the others go on. The primary waits for none of it. A request that ends before it is
 * complete is cut everywhere.
 */

import { MirrorDrop } from '../stats/slots.ts';
import type { ShadowCall } from './shadow-call.ts';

const NO_BYTES = Buffer.alloc(0);

export class StreamedCopy {
  private readonly calls: ShadowCall[];

  /** The calls have been given what has come so far. */
  constructor(calls: ShadowCall[]) {
    this.calls = calls;
  }

  /** More of the request; `ended` when it is all. */
  add(buffer: Buffer, start: number, end: number, ended: boolean): void {
    for (let i = 0; i < this.calls.length; i++) this.calls[i]!.more(buffer, start, end, ended);
  }

  /** The request was complete with what has been added. */
  complete(): void {
    this.add(NO_BYTES, 0, 0, true);
  }

  /** Nothing more will come of it. */
  abandon(reason: number = MirrorDrop.INCOMPLETE): void {
    for (const call of this.calls) call.cut(reason);
  }
}
