/**
 * One HTTP/2 connection, either role (RFC 9113): frames in, stream events out, and the only writer of its socket.
 *
 * Rules it keeps: a header block is encoded in the moment its frame is written, so HPACK state follows the wire; a
 * stream leaves the table when both sides have ended or either resets; every received DATA byte is credited back exactly
 * once, by its consumer or by the reset; an error of the peer costs the stream or the connection, never the process; any
 * callback may reset any stream or close the connection.
 *
 * This file holds the connection's life. What belongs to one idea has a file of its own: `frame-reader` and `frame-writer`,
 * `header-frames`, `data-frames`, `control-frames`, `receive-flow` and `send-flow`, `stream-table` and `stream-ids`,
 * `connection-watch` for everything that takes too long.
 */
import { type ByteReader, type ByteSocket, HIGH_WATER_BYTES } from '../io/byte-socket.ts';
import { type ConnectionOptions, type ConnectionOwner, Http2Error } from './connection-owner.ts';
import { ConnectionAge, watchFor } from './connection-watch.ts';
import { controlFrame, DRAIN_PING } from './control-frames.ts';
import { Http2Counter, noCounters } from './counters.ts';
import { beginData, takeData } from './data-frames.ts';
import { FrameReader, type FrameSink } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { ErrorCode, Flag, FrameType, MAX_STREAM_ID } from './frames.ts';
import { HeaderBlock } from './header-block.ts';
import { continuationFrame, headersFrame } from './header-frames.ts';
import type { HeaderList } from './header-list.ts';
import { isInformational } from './header-validation.ts';
import { HpackDecoder } from './hpack/decoder.ts';
import { HpackEncoder } from './hpack/encoder.ts';
import { Flood, FloodGuard, type Http2Limits } from './limits.ts';
import { ReceiveFlow } from './receive-flow.ts';
import { SendFlow } from './send-flow.ts';
import { OWN_TABLE_BYTES, PeerSettings, settingsPayload } from './settings.ts';
import { Http2Stream, type StreamHandler } from './stream.ts';
import { StreamIds } from './stream-ids.ts';
import { StreamTable } from './stream-table.ts';

export { type ConnectionOptions, type ConnectionOwner, Http2Error } from './connection-owner.ts';

/** Streams the table may hold before the peer's SETTINGS say how many: the least RFC 9113 recommends to allow. */
const STREAMS_BEFORE_SETTINGS = 100;
/** Gives a peer this long to take our last words before the socket is destroyed, milliseconds. */
const LINGER_MS = 1000;

export class Http2Connection implements ByteReader, FrameSink {
  readonly client: boolean;
  readonly io: ByteSocket;
  readonly limits: Http2Limits;
  readonly peer = new PeerSettings();
  readonly owner: ConnectionOwner;
  readonly counters: Float64Array;
  /** For the owner's own use. */
  context: unknown = null;
  /** No more frames are read or written. */
  dead = false;
  /** Client: the socket stands. Streams of a connection that never stood were never processed. */
  established = false;
  /** GOAWAY was sent or received. */
  draining = false;

  // What follows is for the engine's own files.
  readonly table = new StreamTable();
  readonly ids: StreamIds;
  readonly decoder: HpackDecoder;
  readonly encoder = new HpackEncoder();
  readonly writer: FrameWriter;
  readonly receive: ReceiveFlow;
  readonly send: SendFlow;
  readonly flood: FloodGuard;
  readonly block: HeaderBlock;
  readonly reader: FrameReader;
  readonly age: ConnectionAge;
  /** The peer's first SETTINGS have come. */
  settingsSeen = false;
  /** Server: our first GOAWAY has been sent, and the PING that tells when it has been read. */
  drainPingSent = false;
  /** Stream of the DATA frame being read; null when its bytes are to be dropped. */
  private dataStream: Http2Stream | null = null;
  private burialError: Error | null = null;

  constructor(io: ByteSocket, options: ConnectionOptions) {
    const { limits } = options;
    this.io = io;
    this.client = options.client;
    this.limits = limits;
    this.owner = options.owner;
    this.counters = options.counters ?? noCounters();
    this.ids = new StreamIds(options.client);
    this.decoder = new HpackDecoder({
      maxTableSize: OWN_TABLE_BYTES,
      maxListSize: limits.maxHeaderListBytes,
      maxFields: limits.maxHeaderFields,
    });
    this.writer = new FrameWriter(io);
    this.receive = new ReceiveFlow(this, this.writer);
    this.send = new SendFlow(this, this.writer);
    this.flood = new FloodGuard(limits, options.clock);
    this.block = new HeaderBlock(limits);
    this.reader = new FrameReader(this, !options.client);
    const watch = watchFor(options.clock);
    this.age = new ConnectionAge(this, watch);
    io.reader = this;
    if (this.client) this.writer.clientPreface();
    this.writer.settings(settingsPayload(limits, this.client));
    this.receive.announce();
    watch.add(this.age);
  }

  // ---- what owners ask for ---------------------------------------------------------------------------------------

  /** Streams open now, both roles. */
  get activeStreams(): number {
    return this.table.size;
  }

  /** Client: whether `openStream` would succeed now. */
  get canOpen(): boolean {
    return !this.dead && !this.draining && this.table.size < this.streamLimit;
  }

  /** Client: streams we may have open at once: what the peer allows, and our own limit where it allows more. */
  get streamLimit(): number {
    if (!this.settingsSeen) return Math.min(STREAMS_BEFORE_SETTINGS, this.limits.maxConcurrentStreams);
    return Math.min(this.peer.maxConcurrentStreams, this.limits.maxConcurrentStreams);
  }

  /** Client: the stream identifiers are used up; the owner opens another connection and lets this one finish. */
  get exhausted(): boolean {
    return this.ids.next > MAX_STREAM_ID;
  }

  /** Client: opens a stream with its request head, or returns null when the connection takes no more now. */
  openStream(handler: StreamHandler, headers: HeaderList, endStream: boolean): Http2Stream | null {
    if (!this.canOpen) return null;
    const { ids } = this;
    const id = ids.next;
    ids.next += 2;
    const stream = new Http2Stream(this, id, handler, this.peer.initialWindowSize, this.receive.initialWindow);
    stream.bodyless = headers.get(':method') === 'HEAD';
    this.table.add(stream);
    this.writeHeaders(stream, headers, endStream);
    if (ids.used >= this.limits.maxStreamsPerConnection || this.exhausted) this.drain();
    return stream;
  }

  /**
   * Graceful end; open streams finish. Client: no new streams. Server: GOAWAY for everything first, then, when the peer
   * has surely read it, for what it had opened until then.
   */
  drain(): void {
    if (this.dead || this.drainPingSent) return;
    this.drainPingSent = true;
    this.draining = true;
    if (this.client) {
      this.writer.goaway(0, ErrorCode.NO_ERROR, '');
      this.closeIfDrained();
    } else {
      this.writer.goaway(MAX_STREAM_ID, ErrorCode.NO_ERROR, '');
      this.writer.ping(DRAIN_PING, 0, false);
    }
    this.owner.onDraining(this);
  }

  /** Ends the connection at once, telling the peer why. */
  close(errorCode: number = ErrorCode.NO_ERROR, message = ''): void {
    if (this.dead) return;
    this.writer.goaway(this.ids.lastProcessed, errorCode, message);
    this.io.end();
    this.bury(errorCode === ErrorCode.NO_ERROR ? null : new Http2Error(errorCode, message), errorCode);
  }

  // ---- what streams and the engine's files ask for ---------------------------------------------------------------

  writeHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (!stream.headSent) stream.headSent = this.client || !isInformational(headers);
    this.writer.headers(stream.id, this.encoder.encode(headers), endStream);
    if (endStream) this.endLocal(stream);
  }

  /** Our side of the stream has ended on the wire. */
  endLocal(stream: Http2Stream): void {
    stream.localEnded = true;
    if (stream.remoteEnded) this.retire(stream);
  }

  resetStream(stream: Http2Stream, errorCode: number): void {
    this.writer.reset(stream.id, errorCode);
    if (!stream.remoteEnded) this.ids.noteReset(stream.id);
    this.kill(stream);
  }

  /** Resets a stream because of what the peer did, and tells the handler. */
  failStream(stream: Http2Stream, errorCode: number): void {
    if (stream.dead) return;
    if (errorCode !== ErrorCode.NO_ERROR) this.counters[Http2Counter.STREAM_ERRORS]!++;
    this.resetStream(stream, errorCode);
    stream.handler.onReset(stream, errorCode);
    if (!this.client) this.spend(Flood.RESET);
  }

  /** The stream's queue is wanted back (`MemoryBudget`). */
  shedStream(stream: Http2Stream): void {
    if (stream.dead) return;
    this.counters[Http2Counter.MEMORY_SHEDS]!++;
    this.resetStream(stream, ErrorCode.ENHANCE_YOUR_CALM);
    stream.handler.onReset(stream, ErrorCode.ENHANCE_YOUR_CALM);
  }

  /** The peer's side of the stream has ended, and its last event has been delivered. */
  retireIfEnded(stream: Http2Stream): void {
    if (stream.localEnded && !stream.dead) this.retire(stream);
  }

  /** A reset in either direction: nothing more is sent or credited for the stream. */
  kill(stream: Http2Stream): void {
    stream.dead = true;
    this.receive.release(stream);
    this.send.forget(stream);
    if (this.table.delete(stream)) this.vacated();
  }

  /** Takes one token of a flood budget; false after ending a connection whose peer has used it up. */
  spend(kind: number): boolean {
    if (this.flood.spend(kind)) return true;
    this.counters[Http2Counter.FLOODS + kind]!++;
    this.fail(ErrorCode.ENHANCE_YOUR_CALM, 'too many frames that carry nothing');
    return false;
  }

  /** The peer broke the protocol, or went too far. */
  fail(errorCode: number, message: string): void {
    if (this.dead) return;
    this.counters[Http2Counter.CONNECTION_ERRORS]!++;
    this.close(errorCode, message);
  }

  /** A frame on a stream that is not in the table: an error unless it may be late. Nothing is owed for it. */
  judgeAbsent(streamId: number, what: string): void {
    if (streamId === 0 || this.ids.isIdle(streamId)) {
      this.fail(ErrorCode.PROTOCOL_ERROR, `${what} on an idle stream`);
    } else if (!this.client && !this.ids.mayBeLate(streamId)) {
      this.fail(ErrorCode.STREAM_CLOSED, `${what} on a closed stream`);
    }
  }

  closeIfDrained(): void {
    if (this.table.size > 0 || this.dead) return;
    const askedOnly = !this.client && this.drainPingSent && this.ids.refuseAbove === MAX_STREAM_ID;
    if (askedOnly && !this.io.readEnded) return;
    this.io.end();
    this.bury(null, ErrorCode.NO_ERROR);
  }

  // ---- bytes in --------------------------------------------------------------------------------------------------

  onBytes(buffer: Buffer, length: number): void {
    if (this.dead) return;
    this.reader.read(buffer, 0, length);
    if (this.io.pendingBytes > HIGH_WATER_BYTES + this.limits.maxUnreadControlBytes) this.judgeUnread();
  }

  /** FIN: an HTTP/2 peer that says it will send no more is gone, and its streams with it. */
  onEnd(): void {
    if (this.dead) return;
    if (this.table.size > 0) {
      this.bury(null, ErrorCode.CANCEL);
      this.io.destroy();
      return;
    }
    this.draining = true;
    this.closeIfDrained();
    this.owner.onDraining(this);
  }

  onDrained(): void {
    this.send.pump();
  }

  onClosed(error: Error | null): void {
    if (!this.dead) this.bury(error, ErrorCode.CANCEL);
    this.owner.onClosed(this, error ?? this.burialError);
  }

  // ---- frames in (FrameSink) -------------------------------------------------------------------------------------

  dataFrame(streamId: number, frameBytes: number, padBytes: number): void {
    this.dataStream = beginData(this, streamId, frameBytes, padBytes);
  }

  dataBytes(buffer: Buffer, start: number, end: number, endStream: boolean): void {
    takeData(this, this.dataStream, buffer, start, end, endStream);
  }

  frame(type: number, flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    const { block } = this;
    if (block.streamId !== 0 && (type !== FrameType.CONTINUATION || streamId !== block.streamId)) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'a header block was interrupted');
    } else if (!this.settingsSeen && (type !== FrameType.SETTINGS || (flags & Flag.ACK) !== 0)) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'the first frame must be SETTINGS');
    } else if (type === FrameType.HEADERS) {
      headersFrame(this, flags, streamId, buffer, start, end);
    } else if (type === FrameType.CONTINUATION) {
      continuationFrame(this, flags, buffer, start, end);
    } else {
      controlFrame(this, type, flags, streamId, buffer, start, end);
    }
  }

  // ---- ends ------------------------------------------------------------------------------------------------------

  notHttp2(): void {
    this.counters[Http2Counter.CONNECTION_ERRORS]!++;
    this.bury(new Http2Error(ErrorCode.PROTOCOL_ERROR, 'not an HTTP/2 client'), ErrorCode.PROTOCOL_ERROR);
    this.io.destroy();
  }

  /** Both sides have ended: the stream leaves the table. */
  private retire(stream: Http2Stream): void {
    if (!this.table.delete(stream)) return;
    this.send.forget(stream);
    this.flood.finished++;
    this.vacated();
  }

  private vacated(): void {
    if (this.draining) this.closeIfDrained();
    else if (this.client) this.owner.onCapacity(this);
  }

  /** Marks the connection dead and resets what is open. The socket's close is reported to the owner later. */
  private bury(error: Error | null, errorCode: number): void {
    this.dead = true;
    this.draining = true;
    this.burialError = error;
    this.age.forget();
    const open = this.table.list();
    this.table.clear();
    for (const stream of open) {
      stream.dead = true;
      stream.outstanding = 0;
      stream.refused = this.client && !this.established;
      this.send.forget(stream);
    }
    for (const stream of open) stream.handler.onReset(stream, errorCode);
    lingerThenDestroy(this.io);
  }

  /** Only control output can pass the bound: DATA waits in streams' queues once the socket is at its high-water mark. */
  private judgeUnread(): void {
    if (this.dead) return;
    this.counters[Http2Counter.UNREAD_CONTROL]!++;
    this.fail(ErrorCode.ENHANCE_YOUR_CALM, 'the peer does not read our answers');
    this.io.destroy();
  }
}

function lingerThenDestroy(io: ByteSocket): void {
  if (io.closed) return;
  const timer = setTimeout(() => io.destroy(), LINGER_MS);
  timer.unref();
}
