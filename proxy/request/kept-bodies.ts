/**
 * Requests that are kept, in whole or so far, until nobody can need them again: to be sent elsewhere, or shown to a
 * shadow. It knows how many bytes the thread keeps; what is too much is decided where the bytes come in.
 *
 * All bytes count in the thread's memory budget. Exchanges that keep more than a little, and those whose model is still
 * to be found, are registered with it: at its bound the heaviest are told to let go (`DataPlane.shed`). What the light
 * ones keep is bounded by the requests in flight.
 */
import { threadMemory } from '../../proto/io/memory-budget.ts';
import { MemoryVerdict, ProcessSlot } from '../stats/slots.ts';
import { type BodyBuffer, releaseBody } from './body-buffer.ts';
import type { Exchange } from './exchange.ts';

/** An exchange that keeps as much may be told to let go, bytes. */
const HEAVY_BYTES = 4096;

export class KeptBodies {
  /** Bytes kept by this thread now. */
  bytes = 0;
  /** Bytes of requests whose model is still to be found. */
  waitingBytes = 0;
  private readonly cells: Float64Array;
  private readonly maxWaitingBytes: number;

  /** `maxWaitingBytes` is for all requests together whose model is still to be found. */
  constructor(cells: Float64Array, maxWaitingBytes: number) {
    this.cells = cells;
    this.maxWaitingBytes = maxWaitingBytes;
  }

  append(exchange: Exchange, body: BodyBuffer, buffer: Buffer, start: number, end: number): void {
    body.append(buffer, start, end);
    this.bytes += end - start;
    this.cells[ProcessSlot.REPLAY_BYTES] = this.bytes;
    if (body.length >= HEAVY_BYTES) this.register(exchange);
  }

  /** Part of an answer that is held back. */
  appendAnswer(exchange: Exchange, body: BodyBuffer, buffer: Buffer, start: number, end: number): void {
    body.append(buffer, start, end);
    if (body.length >= HEAVY_BYTES) this.register(exchange);
  }

  /** Counts bytes that are kept elsewhere; negative when they are given up. */
  hold(bytes: number): void {
    this.bytes += bytes;
    this.cells[ProcessSlot.REPLAY_BYTES] = this.bytes;
  }

  /** The same for bytes that are in nobody's `BodyBuffer`. */
  holdCopy(bytes: number): void {
    this.hold(bytes);
    threadMemory.hold(bytes);
  }

  /** The request's model is still to be found in what has come; false when too much waits for that. */
  wait(exchange: Exchange): boolean {
    const { length } = exchange.body!;
    this.waitingBytes += length - exchange.waitingBytes;
    exchange.waitingBytes = length;
    this.register(exchange);
    if (this.waitingBytes <= this.maxWaitingBytes) return true;
    this.cells[ProcessSlot.MEMORY_VERDICTS + MemoryVerdict.WAITING_REFUSED]! += 1;
    return false;
  }

  /** It is found, or nobody looks any more. */
  stopWaiting(exchange: Exchange): void {
    this.waitingBytes -= exchange.waitingBytes;
    exchange.waitingBytes = 0;
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

  /** The exchange is over. */
  forget(exchange: Exchange): void {
    if (exchange.waitingBytes > 0) this.stopWaiting(exchange);
    if (!exchange.registered) return;
    exchange.registered = false;
    threadMemory.forget(exchange);
  }

  private register(exchange: Exchange): void {
    if (exchange.registered) return;
    exchange.registered = true;
    threadMemory.register(exchange);
  }
}
