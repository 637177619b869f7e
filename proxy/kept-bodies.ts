/**
 * Requests that are kept, in whole or so far, until nobody can need them again: to be sent elsewhere, or shown to a
 * shadow. It knows how many bytes the thread keeps; what is too much is decided where the bytes come in.
 */
import { type BodyBuffer, releaseBody } from './body-buffer.ts';
import type { Exchange } from './exchange.ts';
import { ProcessSlot } from './stats/slots.ts';

export class KeptBodies {
  /** Bytes kept by this thread now. */
  bytes = 0;
  private readonly cells: Float64Array;

  constructor(cells: Float64Array) {
    this.cells = cells;
  }

  append(body: BodyBuffer, buffer: Buffer, start: number, end: number): void {
    body.append(buffer, start, end);
    this.bytes += end - start;
    this.cells[ProcessSlot.REPLAY_BYTES] = this.bytes;
  }

  /** Counts bytes that are kept elsewhere; negative when they are given up. */
  hold(bytes: number): void {
    this.bytes += bytes;
    this.cells[ProcessSlot.REPLAY_BYTES] = this.bytes;
  }

  /** Gives the exchange's copy up; does nothing when it has none. */
  drop(exchange: Exchange): void {
    const { body } = exchange;
    if (body === null) return;
    this.bytes -= body.length;
    this.cells[ProcessSlot.REPLAY_BYTES] = this.bytes;
    releaseBody(body);
    exchange.body = null;
  }
}
