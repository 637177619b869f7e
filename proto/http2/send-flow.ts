/**
 * Flow control of what we send (RFC 9113, section 5.2 and 6.9): DATA leaves as far as the stream's window, the
 * connection's window and the socket allow; the rest waits on its stream, and the streams that wait take turns.
 */
import { threadMemory } from '../io/memory-budget.ts';
import type { Http2Connection } from './connection.ts';
import { type FrameWriter, MIN_SPLIT_BYTES } from './frame-writer.ts';
import { DEFAULT_WINDOW_BYTES, MAX_WINDOW_BYTES } from './frames.ts';
import { SendQueue } from './send-queue.ts';
import type { Http2Stream } from './stream.ts';

/** One turn gives each waiting stream this many bytes, so that none starves. */
const TURN_BYTES = 65_536;
/** Streams that died while listed are swept out when there are this many and they are the most. */
const MIN_STALE = 32;

export class SendFlow {
  /** What the peer lets us send on the connection. */
  window: number = DEFAULT_WINDOW_BYTES;
  private readonly connection: Http2Connection;
  private readonly writer: FrameWriter;
  /** Streams with queued bytes, in the order of their turns; may hold some that have none any more. */
  private waiting: Http2Stream[] = [];
  private stale = 0;
  private pumping = false;

  constructor(connection: Http2Connection, writer: FrameWriter) {
    this.connection = connection;
    this.writer = writer;
  }

  /** Writes as much DATA as is allowed; returns the bytes written. Ends the stream when all of it went. */
  write(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): number {
    const sent = this.transmit(stream, buffer, start, end, endStream);
    if (endStream && start + sent === end) this.connection.endLocal(stream);
    return sent;
  }

  /** Writes two short parts as one DATA frame if windows and socket allow all of it now; false where they do not. */
  writeParts(
    stream: Http2Stream,
    first: Buffer,
    firstEnd: number,
    rest: Buffer,
    start: number,
    end: number,
    endStream: boolean,
  ): boolean {
    const bytes = firstEnd + end - start;
    if (bytes > MIN_SPLIT_BYTES || bytes > stream.sendWindow || bytes > this.window || !this.connection.io.writable) {
      return false;
    }
    this.writer.dataOfParts(stream.id, first, firstEnd, rest, start, end, endStream);
    this.connection.flood.frames++;
    stream.sendWindow -= bytes;
    this.window -= bytes;
    if (endStream) this.connection.endLocal(stream);
    return true;
  }

  /** Queues a copy of what `write` did not take, and its end. */
  queue(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    stream.queue ??= new SendQueue();
    const { queue } = stream;
    if (queue.bytes === 0) threadMemory.register(stream);
    queue.append(buffer, start, end);
    queue.end = endStream;
    if (queue.listed) return;
    queue.listed = true;
    queue.idleLooks = 0;
    this.waiting.push(stream);
  }

  /** Whether DATA of some stream could leave. */
  get open(): boolean {
    return this.window > 0 && this.connection.io.writable && !this.connection.dead;
  }

  /** WINDOW_UPDATE for the connection; false when the window would pass its maximum. */
  widen(increment: number): boolean {
    this.window += increment;
    if (this.window > MAX_WINDOW_BYTES) return false;
    this.pump();
    return true;
  }

  /** WINDOW_UPDATE for a stream; false when the window would pass its maximum. */
  widenStream(stream: Http2Stream, increment: number): boolean {
    stream.sendWindow += increment;
    if (stream.sendWindow > MAX_WINDOW_BYTES) return false;
    // Whoever else waits while the connection is open waits for a window of its own.
    const { queue } = stream;
    while (queue !== null && queue.bytes > 0 && this.open && this.sendQueued(stream, queue));
    return true;
  }

  /** The peer changed its initial window: all streams' windows move, below zero if need be (section 6.9.2). */
  shift(change: number): boolean {
    for (const stream of this.connection.table.list()) {
      stream.sendWindow += change;
      if (stream.sendWindow > MAX_WINDOW_BYTES) return false;
    }
    if (change > 0) this.pump();
    return true;
  }

  /** Gives the waiting streams their turns until windows or socket are used up. */
  pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    let progress = true;
    while (progress && this.waiting.length > 0 && this.open) progress = this.serveRound();
    this.pumping = false;
  }

  /** The stream ended or died: its queue is dropped. */
  forget(stream: Http2Stream): void {
    const { queue } = stream;
    if (queue === null) return;
    if (queue.bytes > 0) threadMemory.forget(stream);
    queue.clear();
    if (!queue.listed) return;
    this.stale++;
    if (this.stale < MIN_STALE || this.stale * 2 < this.waiting.length) return;
    this.stale = 0;
    this.waiting = this.waiting.filter(keepQueued);
  }

  /** Streams with queued bytes, as they are now. */
  stalled(): Http2Stream[] {
    return this.waiting.filter(hasQueue);
  }

  private serveRound(): boolean {
    let progress = false;
    const round = this.waiting;
    const { stale } = this;
    this.waiting = [];
    this.stale = 0;
    for (let i = 0; i < round.length; i++) {
      const stream = round[i]!;
      if (!this.open) {
        // Those who had no turn go first next time.
        this.waiting = round.slice(i).concat(this.waiting);
        this.stale = stale; // at most: some have been passed already
        return false;
      }
      const queue = stream.queue!;
      queue.listed = false;
      if (queue.bytes === 0) continue;
      if (this.sendQueued(stream, queue)) progress = true;
      if (queue.bytes === 0 || queue.listed) continue;
      queue.listed = true;
      this.waiting.push(stream);
    }
    return progress;
  }

  /** Sends a turn's worth of a stream's queue; true if anything went. */
  private sendQueued(stream: Http2Stream, queue: SendQueue): boolean {
    let sent = 0;
    while (queue.bytes > 0 && sent < TURN_BYTES) {
      const start = queue.headStart;
      const end = Math.min(queue.headEnd, start + TURN_BYTES - sent);
      const last = queue.end && queue.trailers === null && queue.bytes === end - start;
      const count = this.transmit(stream, queue.head, start, end, last);
      queue.consume(count);
      sent += count;
      if (count < end - start) break;
    }
    if (sent === 0) return false;
    queue.idleLooks = 0;
    if (queue.bytes === 0) this.finishQueue(stream, queue);
    if (!stream.dead) stream.handler.onSent(stream, sent);
    return true;
  }

  private finishQueue(stream: Http2Stream, queue: SendQueue): void {
    const { end, trailers } = queue;
    threadMemory.forget(stream);
    queue.end = false;
    queue.trailers = null;
    if (trailers !== null) this.connection.writeHeaders(stream, trailers, true);
    else if (end) this.connection.endLocal(stream);
  }

  /** DATA frames as far as windows and socket allow, END_STREAM on the last if it comes so far; returns the bytes. */
  private transmit(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): number {
    const { writer } = this;
    const { io, flood } = this.connection;
    let stop = end;
    if (stop - start > stream.sendWindow) stop = start + stream.sendWindow;
    if (stop - start > this.window) stop = start + this.window;
    if (!io.writable || stop < start) stop = start;
    if (stop === start && !(endStream && start === end)) return 0;
    let at = start;
    do {
      at += writer.data(stream.id, buffer, at, stop, endStream && stop === end);
      flood.frames++;
    } while (at < stop && io.writable);
    stream.sendWindow -= at - start;
    this.window -= at - start;
    return at - start;
  }
}

function hasQueue(stream: Http2Stream): boolean {
  return stream.queuedBytes > 0;
}

function keepQueued(stream: Http2Stream): boolean {
  const queue = stream.queue!;
  if (queue.bytes > 0) return true;
  queue.listed = false;
  return false;
}
