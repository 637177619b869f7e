/**
 * One HTTP/2 connection, either role (RFC 9113): frames in, stream events out, and the only writer of its socket.
 *
 * Rules it keeps: a header block is encoded in the moment its frame is written, so HPACK state follows the wire; a
 * stream leaves the table when both sides have ended or either resets; every received DATA byte is credited back exactly
 * once, by its consumer or by the reset; an error of the peer costs the stream or the connection, never the process.
 * The file is long because the state machine is one: what a frame means depends on all the rest of it.
 */
import type { Clock } from '../../base/clock.ts';
import type { ByteReader, ByteSocket } from '../io/byte-socket.ts';
import { copyBytes, HIGH_WATER_BYTES } from '../io/byte-socket.ts';
import { Http2Counter, noCounters } from './counters.ts';
import { FrameReader, type FrameSink } from './frame-reader.ts';
import {
  CLIENT_PREFACE,
  DEFAULT_MAX_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  ErrorCode,
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  MAX_STREAM_ID,
  MAX_WINDOW_BYTES,
  readUint31,
  readUint32,
  writeFrameHeader,
  writeUint32,
} from './frames.ts';
import { HEADER_LIST_TOO_LARGE, HeaderList } from './header-list.ts';
import { isRequest, isResponse, isTrailers } from './header-validation.ts';
import { HpackDecoder } from './hpack/decoder.ts';
import { HpackEncoder } from './hpack/encoder.ts';
import { Flood, FloodGuard, type Http2Limits } from './limits.ts';
import { PeerSettings, settingsPayload } from './settings.ts';
import { Http2Stream, type StreamHandler } from './stream.ts';

/** What a connection tells its owner. */
export interface ConnectionOwner {
  /** Server: a request begins; returns the handler of its stream. `onHeaders` follows at once. */
  acceptStream(stream: Http2Stream): StreamHandler;
  /** The peer sent GOAWAY, or we did: no new streams. Open ones go on. */
  onDraining(connection: Http2Connection): void;
  /** Client: a stream may be opened that was not possible before. */
  onCapacity(connection: Http2Connection): void;
  /** The connection is gone; every open stream has had its `onReset`. */
  onClosed(connection: Http2Connection, error: Error | null): void;
}

export interface ConnectionOptions {
  readonly client: boolean;
  readonly limits: Http2Limits;
  readonly clock: Clock;
  readonly owner: ConnectionOwner;
  /** Slots of `Http2Counter`; shared by all connections of a listener or cluster. */
  readonly counters?: Float64Array;
}

/** An HTTP/2 failure that ended a connection. `errorCode` is RFC 9113's. */
export class Http2Error extends Error {
  override readonly name = 'Http2Error';
  readonly code = 'http2_error';
  readonly errorCode: number;

  constructor(errorCode: number, message: string) {
    super(message);
    this.errorCode = errorCode;
  }
}

/** Streams we reset lately: frames the peer sent before it heard of it are ignored, not punished. */
const RESET_MEMORY = 256;
const STATUS_431 = HeaderList.of([':status', '431']);
/** One turn of the send loop gives each waiting stream at most this many bytes, so that none starves. */
const SEND_QUANTUM_BYTES = 65_536;

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
  /** Streams open now, both roles. */
  activeStreams = 0;
  private readonly streams = new Map<number, Http2Stream>();
  private readonly decoder: HpackDecoder;
  private readonly encoder = new HpackEncoder();
  private readonly reader: FrameReader;
  private readonly flood: FloodGuard;
  private readonly recentlyReset = new Int32Array(RESET_MEMORY);
  private recentlyResetAt = 0;
  private prefaceAt: number;
  private settingsSeen = false;
  private lastPeerStreamId = 0;
  /** Streams above it were promised not to be processed (our GOAWAY). */
  private refuseAbove = MAX_STREAM_ID;
  private nextStreamId = 1;
  private sendWindow = DEFAULT_WINDOW_BYTES;
  private receiveWindow: number;
  private uncredited = 0;
  private blocked: Http2Stream[] = [];
  /** Stream of the DATA frame being read; null when its bytes are to be dropped. */
  private dataStream: Http2Stream | null = null;
  /** A header block in progress over CONTINUATION frames. */
  private blockStreamId = 0;
  private blockEndStream = false;
  private blockParts: Buffer[] = [];
  private blockBytes = 0;
  private lastStream: Http2Stream | null = null;
  private drainPingSent = false;

  constructor(io: ByteSocket, options: ConnectionOptions) {
    this.io = io;
    this.client = options.client;
    this.limits = options.limits;
    this.owner = options.owner;
    this.counters = options.counters ?? noCounters();
    this.prefaceAt = options.client ? CLIENT_PREFACE.length : 0;
    this.receiveWindow = options.limits.connectionWindowBytes;
    this.decoder = new HpackDecoder({
      maxTableSize: 4096,
      maxListSize: options.limits.maxHeaderListBytes,
      maxFields: options.limits.maxHeaderFields,
    });
    this.reader = new FrameReader(this);
    this.flood = new FloodGuard(options.limits, options.clock);
    io.reader = this;
    this.writePreface();
  }

  // ---- what owners and streams ask for -------------------------------------------------------------------------

  /** Client: whether `openStream` would succeed now. */
  get canOpen(): boolean {
    return (
      !this.dead &&
      !this.draining &&
      this.activeStreams < this.peer.maxConcurrentStreams &&
      this.nextStreamId <= MAX_STREAM_ID
    );
  }

  /** Client: the stream identifiers are used up; the owner opens another connection and lets this one finish. */
  get exhausted(): boolean {
    return this.nextStreamId > MAX_STREAM_ID;
  }

  /** Client: opens a stream with its request head, or returns null when the connection takes no more now. */
  openStream(handler: StreamHandler, headers: HeaderList, endStream: boolean): Http2Stream | null {
    if (!this.canOpen) return null;
    const { limits, peer } = this;
    const id = this.nextStreamId;
    this.nextStreamId += 2;
    const stream = new Http2Stream(this, id, handler, peer.initialWindowSize, limits.streamWindowBytes);
    this.streams.set(id, stream);
    this.activeStreams++;
    this.writeHeaders(stream, headers, endStream);
    return stream;
  }

  /** Server: graceful end. GOAWAY for everything, then, when the peer has surely read it, for what it opened until then. */
  drain(): void {
    if (this.dead || this.drainPingSent) return;
    this.drainPingSent = true;
    this.draining = true;
    if (!this.client) {
      this.writeGoaway(MAX_STREAM_ID, ErrorCode.NO_ERROR, '');
      this.writePing(DRAIN_PING, false);
    } else {
      this.writeGoaway(0, ErrorCode.NO_ERROR, '');
      this.closeIfDrained();
    }
    this.owner.onDraining(this);
  }

  /** Ends the connection at once, telling the peer why. */
  close(errorCode: number = ErrorCode.NO_ERROR, message = ''): void {
    if (this.dead) return;
    this.writeGoaway(this.lastPeerStreamId, errorCode, message);
    this.io.flush();
    this.io.end();
    this.bury(errorCode === ErrorCode.NO_ERROR ? null : new Http2Error(errorCode, message), errorCode);
  }

  writeHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    const block = this.encoder.encode(headers);
    const { io } = this;
    const { length } = block;
    // A peer may allow larger frames than 16 KiB, never smaller ones, so that size always fits.
    const first = Math.min(length, DEFAULT_MAX_FRAME_BYTES);
    const flags = (endStream ? Flag.END_STREAM : 0) | (first === length ? Flag.END_HEADERS : 0);
    const out = io.reserve(FRAME_HEADER_BYTES + first);
    const at = io.position();
    writeFrameHeader(out, at, first, FrameType.HEADERS, flags, stream.id);
    copyBytes(block, 0, first, out, at + FRAME_HEADER_BYTES);
    io.advance(FRAME_HEADER_BYTES + first);
    if (first < length) this.writeContinuations(stream.id, block, first);
    stream.headSent = true;
    if (endStream) this.endLocal(stream);
  }

  /** Writes as much DATA as windows and socket allow; returns the bytes written. Ends the stream when all of it went. */
  writeData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): number {
    const { io } = this;
    let allowed = end - start;
    if (allowed > stream.sendWindow) allowed = stream.sendWindow;
    if (allowed > this.sendWindow) allowed = this.sendWindow;
    if (!io.writable || allowed < 0) allowed = 0;
    const complete = allowed === end - start;
    if (allowed === 0 && !(complete && endStream)) return 0;
    stream.sendWindow -= allowed;
    this.sendWindow -= allowed;
    let left = allowed;
    do {
      const size = Math.min(left, DEFAULT_MAX_FRAME_BYTES);
      left -= size;
      const last = left === 0 && complete && endStream;
      const out = io.reserve(FRAME_HEADER_BYTES + size);
      const at = io.position();
      writeFrameHeader(out, at, size, FrameType.DATA, last ? Flag.END_STREAM : 0, stream.id);
      copyBytes(buffer, start, start + size, out, at + FRAME_HEADER_BYTES);
      io.advance(FRAME_HEADER_BYTES + size);
      start += size;
      // Every frame we send may honestly cost the peer an acknowledgement or two.
      this.flood.earn(Flood.WINDOW_UPDATE, 2);
    } while (left > 0);
    if (complete && endStream) this.endLocal(stream);
    return allowed;
  }

  resetStream(stream: Http2Stream, errorCode: number): void {
    this.writeReset(stream.id, errorCode);
    this.recentlyReset[this.recentlyResetAt++ % RESET_MEMORY] = stream.id;
    this.kill(stream);
  }

  creditStream(stream: Http2Stream, bytes: number): void {
    stream.outstanding -= bytes;
    if (!stream.remoteEnded) {
      stream.uncredited += bytes;
      if (stream.uncredited >= this.limits.streamWindowBytes >>> 1) {
        stream.receiveWindow += stream.uncredited;
        this.writeWindowUpdate(stream.id, stream.uncredited);
        stream.uncredited = 0;
      }
    }
    this.creditConnection(bytes);
  }

  /** Puts a stream with queued bytes in the list that is served when windows or the socket open. */
  block(stream: Http2Stream): void {
    if (stream.inBlockedList) return;
    stream.inBlockedList = true;
    this.blocked.push(stream);
  }

  // ---- bytes in ------------------------------------------------------------------------------------------------

  onBytes(buffer: Buffer, length: number): void {
    if (this.dead) return;
    let at = 0;
    if (this.prefaceAt < CLIENT_PREFACE.length) {
      at = this.readPreface(buffer, length);
      if (this.dead) return;
    }
    this.reader.read(buffer, at, length);
    if (!this.dead && this.io.pendingBytes > HIGH_WATER_BYTES + this.limits.maxUnreadControlBytes) this.checkUnread();
  }

  onEnd(): void {
    // The peer closed its side: streams it has not finished cannot finish, and answers have nobody to read them.
    if (this.dead) return;
    for (const stream of this.streams.values()) {
      if (!stream.remoteEnded) {
        this.bury(null, ErrorCode.CANCEL);
        this.io.destroy();
        return;
      }
    }
    this.draining = true;
    this.owner.onDraining(this);
    this.closeIfDrained();
  }

  onDrained(): void {
    this.sendBlocked();
  }

  onClosed(error: Error | null): void {
    if (!this.dead) this.bury(error, ErrorCode.CANCEL);
    this.owner.onClosed(this, error ?? this.burialError);
  }

  // ---- frames in (FrameSink) -----------------------------------------------------------------------------------

  dataFrame(streamId: number, frameBytes: number, padBytes: number): void {
    this.receiveWindow -= frameBytes;
    if (this.receiveWindow < 0) {
      this.fail(ErrorCode.FLOW_CONTROL_ERROR, 'more DATA than the connection window allows');
      return;
    }
    if (!this.settingsSeen || this.blockStreamId !== 0) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'DATA where another frame was due');
      return;
    }
    const stream = this.find(streamId);
    this.dataStream = null;
    if (stream === null) {
      this.creditConnection(frameBytes);
      this.judgeAbsent(streamId, 'DATA');
      return;
    }
    if (stream.remoteEnded || (this.client ? !stream.headReceived : false)) {
      this.creditConnection(frameBytes);
      this.failStream(stream, stream.remoteEnded ? ErrorCode.STREAM_CLOSED : ErrorCode.PROTOCOL_ERROR);
      return;
    }
    stream.receiveWindow -= frameBytes;
    if (stream.receiveWindow < 0) {
      this.creditConnection(frameBytes);
      this.failStream(stream, ErrorCode.FLOW_CONTROL_ERROR);
      return;
    }
    stream.outstanding += frameBytes;
    if (padBytes > 0) this.creditStream(stream, padBytes);
    if (stream.contentLeft >= 0) {
      stream.contentLeft -= frameBytes - padBytes;
      if (stream.contentLeft < 0) {
        this.failStream(stream, ErrorCode.PROTOCOL_ERROR);
        return;
      }
    }
    this.dataStream = stream;
  }

  dataBytes(buffer: Buffer, start: number, end: number, endStream: boolean): void {
    const stream = this.dataStream;
    if (stream === null || stream.dead) return;
    if (start === end && !endStream) {
      this.spend(Flood.EMPTY_DATA);
      return;
    }
    if (endStream) {
      if (stream.contentLeft > 0) {
        this.failStream(stream, ErrorCode.PROTOCOL_ERROR);
        return;
      }
      stream.remoteEnded = true;
    }
    this.flood.earn(Flood.PING, 1);
    stream.handler.onData(stream, buffer, start, end, endStream);
    if (endStream && stream.localEnded && !stream.dead) this.retire(stream);
  }

  frame(type: number, flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (this.blockStreamId !== 0 && (type !== FrameType.CONTINUATION || streamId !== this.blockStreamId)) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'a header block was interrupted');
      return;
    }
    if (!this.settingsSeen && (type !== FrameType.SETTINGS || (flags & Flag.ACK) !== 0)) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'the first frame must be SETTINGS');
      return;
    }
    switch (type) {
      case FrameType.HEADERS:
        this.headersFrame(flags, streamId, buffer, start, end);
        return;
      case FrameType.WINDOW_UPDATE:
        this.windowUpdateFrame(streamId, buffer, start, end);
        return;
      case FrameType.RST_STREAM:
        this.resetFrame(streamId, buffer, start, end);
        return;
      case FrameType.SETTINGS:
        this.settingsFrame(flags, streamId, buffer, start, end);
        return;
      case FrameType.PING:
        this.pingFrame(flags, streamId, buffer, start, end);
        return;
      case FrameType.GOAWAY:
        this.goawayFrame(streamId, buffer, start, end);
        return;
      case FrameType.CONTINUATION:
        this.continuationFrame(flags, buffer, start, end);
        return;
      case FrameType.PRIORITY:
        this.priorityFrame(streamId, end - start);
        return;
      case FrameType.PUSH_PROMISE:
        this.fail(ErrorCode.PROTOCOL_ERROR, 'PUSH_PROMISE although push is off');
        return;
      default:
        this.spend(Flood.UNKNOWN_FRAME);
    }
  }

  fail(errorCode: number, message: string): void {
    if (this.dead) return;
    this.counters[Http2Counter.CONNECTION_ERRORS]!++;
    this.close(errorCode, message);
  }

  private headersFrame(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (streamId === 0) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'HEADERS on stream 0');
      return;
    }
    let padding = 0;
    if ((flags & Flag.PADDED) !== 0) padding = end > start ? buffer[start++]! : -1;
    if ((flags & Flag.PRIORITY) !== 0) start += 5;
    end -= padding;
    if (padding < 0 || start > end) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'HEADERS padding longer than its frame');
      return;
    }
    const endStream = (flags & Flag.END_STREAM) !== 0;
    if ((flags & Flag.END_HEADERS) !== 0) {
      this.headerBlock(streamId, endStream, buffer, start, end);
      return;
    }
    this.blockStreamId = streamId;
    this.blockEndStream = endStream;
    this.addBlockPart(buffer, start, end);
  }

  private continuationFrame(flags: number, buffer: Buffer, start: number, end: number): void {
    if (this.blockStreamId === 0) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'CONTINUATION without HEADERS');
      return;
    }
    if (!this.addBlockPart(buffer, start, end)) return;
    if ((flags & Flag.END_HEADERS) === 0) return;
    const block = Buffer.concat(this.blockParts);
    const streamId = this.blockStreamId;
    this.blockStreamId = 0;
    this.blockParts = [];
    this.blockBytes = 0;
    this.headerBlock(streamId, this.blockEndStream, block, 0, block.length);
  }

  private addBlockPart(buffer: Buffer, start: number, end: number): boolean {
    this.blockBytes += end - start;
    if (this.blockBytes > this.limits.maxHeaderBlockBytes || this.blockParts.length > this.limits.maxContinuations) {
      this.counters[Http2Counter.CONTINUATION_FLOODS]!++;
      this.fail(ErrorCode.ENHANCE_YOUR_CALM, 'header block too long');
      return false;
    }
    this.blockParts.push(Buffer.from(buffer.subarray(start, end)));
    return true;
  }

  /** A complete header block. It is decoded whatever becomes of it: the table must follow the peer's. */
  private headerBlock(streamId: number, endStream: boolean, buffer: Buffer, start: number, end: number): void {
    let list: HeaderList;
    try {
      list = this.decoder.decode(buffer, start, end);
    } catch (error) {
      this.fail(ErrorCode.COMPRESSION_ERROR, (error as Error).message);
      return;
    }
    let stream = this.find(streamId);
    if (stream === null) {
      stream = this.client ? null : this.admitStream(streamId);
      if (stream === null) return;
    } else if (stream.remoteEnded) {
      this.failStream(stream, ErrorCode.STREAM_CLOSED);
      return;
    }
    if (list === HEADER_LIST_TOO_LARGE) {
      this.refuseHeaderList(stream);
      return;
    }
    this.deliverHeaders(stream, list, endStream);
  }

  private deliverHeaders(stream: Http2Stream, list: HeaderList, endStream: boolean): void {
    if (stream.headReceived) {
      if (!endStream || !isTrailers(list) || stream.contentLeft > 0) {
        this.failStream(stream, ErrorCode.PROTOCOL_ERROR);
        return;
      }
    } else if (this.client ? !isResponse(list) : !isRequest(list)) {
      this.failStream(stream, ErrorCode.PROTOCOL_ERROR);
      return;
    } else if (this.client && list.get(':status')!.charCodeAt(0) === 0x31) {
      if (endStream) this.failStream(stream, ErrorCode.PROTOCOL_ERROR);
      else stream.handler.onHeaders(stream, list, false);
      return;
    } else if (!declareContentLength(stream, list, endStream)) {
      this.failStream(stream, ErrorCode.PROTOCOL_ERROR);
      return;
    }
    const first = !stream.headReceived;
    stream.headReceived = true;
    if (endStream) stream.remoteEnded = true;
    if (first && !this.client) stream.handler = this.owner.acceptStream(stream);
    stream.handler.onHeaders(stream, list, endStream);
    if (endStream && stream.localEnded && !stream.dead) this.retire(stream);
  }

  /** Server: a new request's stream, or null when it is refused, ignored or an error. */
  private admitStream(streamId: number): Http2Stream | null {
    if ((streamId & 1) === 0) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'a client used an even stream identifier');
      return null;
    }
    if (streamId <= this.lastPeerStreamId) {
      if (!this.wasReset(streamId)) this.fail(ErrorCode.STREAM_CLOSED, 'HEADERS on a closed stream');
      return null;
    }
    if (streamId > this.refuseAbove) return null;
    this.lastPeerStreamId = streamId;
    if (this.activeStreams >= this.limits.maxConcurrentStreams) {
      this.counters[Http2Counter.STREAMS_REFUSED]!++;
      this.writeReset(streamId, ErrorCode.REFUSED_STREAM);
      this.recentlyReset[this.recentlyResetAt++ % RESET_MEMORY] = streamId;
      this.spend(Flood.RESET);
      return null;
    }
    const { peer, limits } = this;
    const stream = new Http2Stream(this, streamId, IGNORE, peer.initialWindowSize, limits.streamWindowBytes);
    this.streams.set(streamId, stream);
    this.activeStreams++;
    this.counters[Http2Counter.STREAMS_OPENED]!++;
    return stream;
  }

  private refuseHeaderList(stream: Http2Stream): void {
    this.counters[Http2Counter.HEADER_LISTS_TOO_LARGE]!++;
    if (!this.client && !stream.headReceived) this.writeHeaders(stream, STATUS_431, true);
    this.failStream(stream, this.client ? ErrorCode.PROTOCOL_ERROR : ErrorCode.NO_ERROR);
  }

  private windowUpdateFrame(streamId: number, buffer: Buffer, start: number, end: number): void {
    if (end - start !== 4) {
      this.fail(ErrorCode.FRAME_SIZE_ERROR, 'WINDOW_UPDATE must have 4 bytes');
      return;
    }
    if (!this.spend(Flood.WINDOW_UPDATE)) return;
    const increment = readUint31(buffer, start);
    if (streamId === 0) {
      this.sendWindow += increment;
      if (increment === 0) this.fail(ErrorCode.PROTOCOL_ERROR, 'WINDOW_UPDATE of 0');
      else if (this.sendWindow > MAX_WINDOW_BYTES)
        this.fail(ErrorCode.FLOW_CONTROL_ERROR, 'connection window overflow');
      else this.sendBlocked();
      return;
    }
    const stream = this.find(streamId);
    if (stream === null) {
      if (this.isIdle(streamId)) this.fail(ErrorCode.PROTOCOL_ERROR, 'WINDOW_UPDATE on an idle stream');
      return;
    }
    stream.sendWindow += increment;
    if (increment === 0) this.failStream(stream, ErrorCode.PROTOCOL_ERROR);
    else if (stream.sendWindow > MAX_WINDOW_BYTES) this.failStream(stream, ErrorCode.FLOW_CONTROL_ERROR);
    else if (stream.inBlockedList) this.sendBlocked();
  }

  private resetFrame(streamId: number, buffer: Buffer, start: number, end: number): void {
    if (end - start !== 4) {
      this.fail(ErrorCode.FRAME_SIZE_ERROR, 'RST_STREAM must have 4 bytes');
      return;
    }
    if (streamId === 0 || this.isIdle(streamId)) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'RST_STREAM on an idle stream');
      return;
    }
    if (!this.client && !this.spend(Flood.RESET)) return;
    const stream = this.find(streamId);
    if (stream === null) return;
    const errorCode = readUint32(buffer, start);
    stream.refused = this.client && errorCode === ErrorCode.REFUSED_STREAM;
    this.counters[Http2Counter.STREAMS_RESET_BY_PEER]!++;
    this.kill(stream);
    stream.handler.onReset(stream, errorCode);
  }

  private settingsFrame(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (streamId !== 0) {
      this.fail(ErrorCode.PROTOCOL_ERROR, 'SETTINGS on a stream');
      return;
    }
    if ((flags & Flag.ACK) !== 0) {
      if (end !== start) this.fail(ErrorCode.FRAME_SIZE_ERROR, 'SETTINGS acknowledgement with content');
      return;
    }
    if (!this.spend(Flood.SETTINGS)) return;
    const { peer } = this;
    const windowBefore = peer.initialWindowSize;
    const tableBefore = peer.headerTableSize;
    const error = peer.apply(buffer, start, end, this.client);
    if (error !== 0) {
      this.fail(error, 'a setting has an illegal value');
      return;
    }
    this.settingsSeen = true;
    if (peer.headerTableSize !== tableBefore) this.encoder.setPeerMaxTableSize(peer.headerTableSize);
    this.writeSimple(FrameType.SETTINGS, Flag.ACK, 0, 0);
    if (peer.initialWindowSize !== windowBefore) this.shiftWindows(peer.initialWindowSize - windowBefore);
    if (this.client && !this.dead) this.owner.onCapacity(this);
  }

  private shiftWindows(delta: number): void {
    for (const stream of this.streams.values()) {
      stream.sendWindow += delta;
      if (stream.sendWindow > MAX_WINDOW_BYTES) {
        this.fail(ErrorCode.FLOW_CONTROL_ERROR, 'stream window overflow');
        return;
      }
    }
    if (delta > 0) this.sendBlocked();
  }

  private pingFrame(flags: number, streamId: number, buffer: Buffer, start: number, end: number): void {
    if (streamId !== 0 || end - start !== 8) {
      this.fail(streamId !== 0 ? ErrorCode.PROTOCOL_ERROR : ErrorCode.FRAME_SIZE_ERROR, 'malformed PING');
      return;
    }
    if ((flags & Flag.ACK) === 0) {
      if (this.spend(Flood.PING)) this.writePing(buffer.subarray(start, end), true);
      return;
    }
    if (this.drainPingSent && !this.client && DRAIN_PING.equals(buffer.subarray(start, end))) this.finishDrain();
  }

  /** The peer has read our first GOAWAY: what it opened by now is served, the rest was never sent here. */
  private finishDrain(): void {
    if (this.refuseAbove !== MAX_STREAM_ID) return;
    this.refuseAbove = this.lastPeerStreamId;
    this.writeGoaway(this.lastPeerStreamId, ErrorCode.NO_ERROR, '');
    this.closeIfDrained();
  }

  private goawayFrame(streamId: number, buffer: Buffer, start: number, end: number): void {
    if (streamId !== 0 || end - start < 8) {
      this.fail(streamId !== 0 ? ErrorCode.PROTOCOL_ERROR : ErrorCode.FRAME_SIZE_ERROR, 'malformed GOAWAY');
      return;
    }
    const lastStreamId = readUint31(buffer, start);
    this.draining = true;
    this.counters[Http2Counter.GOAWAYS_RECEIVED]!++;
    this.owner.onDraining(this);
    if (this.client) {
      for (const stream of this.streams.values()) {
        if (stream.id <= lastStreamId) continue;
        stream.refused = true;
        this.kill(stream);
        stream.handler.onReset(stream, ErrorCode.REFUSED_STREAM);
        if (this.dead) return;
      }
    }
    this.closeIfDrained();
  }

  private priorityFrame(streamId: number, length: number): void {
    if (streamId === 0) this.fail(ErrorCode.PROTOCOL_ERROR, 'PRIORITY on stream 0');
    else if (!this.spend(Flood.PRIORITY)) return;
    else if (length !== 5) {
      const stream = this.find(streamId);
      if (stream !== null) this.failStream(stream, ErrorCode.FRAME_SIZE_ERROR);
      else this.writeReset(streamId, ErrorCode.FRAME_SIZE_ERROR);
    }
  }

  // ---- helpers -------------------------------------------------------------------------------------------------

  private burialError: Error | null = null;

  private find(streamId: number): Http2Stream | null {
    const last = this.lastStream;
    if (last !== null && last.id === streamId) return last;
    const stream = this.streams.get(streamId) ?? null;
    if (stream !== null) this.lastStream = stream;
    return stream;
  }

  private isIdle(streamId: number): boolean {
    if ((streamId & 1) === 1) return this.client ? streamId >= this.nextStreamId : streamId > this.lastPeerStreamId;
    return true; // nobody opens even streams: push is off
  }

  private judgeAbsent(streamId: number, what: string): void {
    if (streamId === 0 || this.isIdle(streamId)) this.fail(ErrorCode.PROTOCOL_ERROR, `${what} on an idle stream`);
    else if (streamId > this.refuseAbove || this.wasReset(streamId)) return;
    else if (!this.client) this.fail(ErrorCode.STREAM_CLOSED, `${what} on a closed stream`);
  }

  private wasReset(streamId: number): boolean {
    return this.recentlyReset.includes(streamId);
  }

  private spend(kind: number): boolean {
    if (this.flood.spend(kind)) return true;
    this.counters[Http2Counter.FLOODS + kind]!++;
    this.fail(ErrorCode.ENHANCE_YOUR_CALM, 'too many frames that carry nothing');
    return false;
  }

  /** Resets a stream because of what the peer did, and tells the handler. */
  private failStream(stream: Http2Stream, errorCode: number): void {
    if (errorCode !== ErrorCode.NO_ERROR) this.counters[Http2Counter.STREAM_ERRORS]!++;
    if (stream.dead) return;
    const hadHandler = stream.handler !== IGNORE;
    this.resetStream(stream, errorCode);
    if (hadHandler) stream.handler.onReset(stream, errorCode);
    if (!this.client) this.spend(Flood.RESET);
  }

  private endLocal(stream: Http2Stream): void {
    stream.localEnded = true;
    if (stream.remoteEnded) this.retire(stream);
  }

  /** Both sides have ended: the stream leaves the table. */
  private retire(stream: Http2Stream): void {
    if (!this.forget(stream)) return;
    this.flood.earn(Flood.RESET, 1);
    this.flood.earn(Flood.WINDOW_UPDATE, 2);
    if (this.draining) this.closeIfDrained();
    else if (this.client) this.owner.onCapacity(this);
  }

  /** A reset in either direction: nothing more is sent or credited for the stream. */
  private kill(stream: Http2Stream): void {
    stream.dead = true;
    if (stream.outstanding > 0) this.creditConnection(stream.outstanding);
    stream.outstanding = 0;
    stream.queue?.clear();
    stream.queue = null;
    stream.queuedBytes = 0;
    stream.trailersQueued = null;
    if (!this.forget(stream)) return;
    if (this.draining) this.closeIfDrained();
    else if (this.client) this.owner.onCapacity(this);
  }

  private forget(stream: Http2Stream): boolean {
    if (this.lastStream === stream) this.lastStream = null;
    if (!this.streams.delete(stream.id)) return false;
    this.activeStreams--;
    return true;
  }

  private closeIfDrained(): void {
    if (this.activeStreams > 0 || this.dead) return;
    if (!this.client && this.drainPingSent && this.refuseAbove === MAX_STREAM_ID && !this.io.readEnded) return;
    this.io.end();
    this.bury(null, ErrorCode.NO_ERROR);
  }

  /** Marks the connection dead and resets what is open. The socket's close is reported to the owner later. */
  private bury(error: Error | null, errorCode: number): void {
    if (this.dead) return;
    this.dead = true;
    this.draining = true;
    this.burialError = error;
    const open = [...this.streams.values()];
    this.streams.clear();
    this.activeStreams = 0;
    this.blocked = [];
    this.lastStream = null;
    for (const stream of open) {
      stream.dead = true;
      stream.refused = this.client && !this.established;
      stream.queue?.clear();
      stream.queue = null;
      stream.queuedBytes = 0;
      if (stream.handler !== IGNORE) stream.handler.onReset(stream, errorCode);
    }
    lingerThenDestroy(this.io);
  }

  private checkUnread(): void {
    // Only control output can grow while the socket is stalled: DATA waits in streams' queues.
    this.counters[Http2Counter.UNREAD_CONTROL]!++;
    this.fail(ErrorCode.ENHANCE_YOUR_CALM, 'the peer does not read our answers');
    this.io.destroy();
  }

  private sendBlocked(): void {
    let progress = true;
    while (progress && !this.dead && this.blocked.length > 0 && this.io.writable) {
      progress = false;
      const round = this.blocked;
      this.blocked = [];
      for (const stream of round) {
        stream.inBlockedList = false;
        if (stream.dead) continue;
        if (this.sendQueued(stream)) progress = true;
        if (stream.queuedBytes > 0 && !stream.dead) this.block(stream);
      }
    }
  }

  /** Sends up to a quantum of a stream's queue; true if anything went. */
  private sendQueued(stream: Http2Stream): boolean {
    let sentNow = 0;
    const { queue } = stream;
    while (queue !== null && queue.length > 0 && sentNow < SEND_QUANTUM_BYTES) {
      const size = queue.headEnd - queue.headStart;
      const last = size === queue.length && stream.endQueued && stream.trailersQueued === null;
      const sent = this.writeData(stream, queue.head, queue.headStart, queue.headEnd, last);
      if (sent === 0) break;
      sentNow += sent;
      stream.queuedBytes -= sent;
      queue.consume(sent);
    }
    if (stream.queuedBytes === 0 && stream.endQueued && !stream.localEnded && !stream.dead) {
      stream.endQueued = false;
      if (stream.trailersQueued !== null) this.writeHeaders(stream, stream.trailersQueued, true);
      else this.writeData(stream, EMPTY, 0, 0, true);
      stream.trailersQueued = null;
    }
    if (sentNow > 0) stream.handler.onSent(stream, sentNow);
    return sentNow > 0;
  }

  private creditConnection(bytes: number): void {
    this.uncredited += bytes;
    if (this.uncredited < this.limits.connectionWindowBytes >>> 1 || this.dead) return;
    this.receiveWindow += this.uncredited;
    this.writeWindowUpdate(0, this.uncredited);
    this.uncredited = 0;
  }

  private readPreface(buffer: Buffer, length: number): number {
    let at = 0;
    while (at < length && this.prefaceAt < CLIENT_PREFACE.length) {
      if (buffer[at++] !== CLIENT_PREFACE[this.prefaceAt++]) {
        this.counters[Http2Counter.CONNECTION_ERRORS]!++;
        this.bury(new Http2Error(ErrorCode.PROTOCOL_ERROR, 'not an HTTP/2 client'), ErrorCode.PROTOCOL_ERROR);
        this.io.destroy();
        return at;
      }
    }
    return at;
  }

  private writePreface(): void {
    if (this.client) this.io.write(CLIENT_PREFACE, 0, CLIENT_PREFACE.length);
    const payload = settingsPayload(this.limits, this.client);
    this.writeSimple(FrameType.SETTINGS, 0, 0, payload.length, payload);
    const extra = this.limits.connectionWindowBytes - DEFAULT_WINDOW_BYTES;
    if (extra > 0) this.writeWindowUpdate(0, extra);
  }

  private writeSimple(type: number, flags: number, streamId: number, length: number, payload?: Uint8Array): void {
    const out = this.io.reserve(FRAME_HEADER_BYTES + length);
    const at = this.io.position();
    writeFrameHeader(out, at, length, type, flags, streamId);
    if (payload !== undefined) copyBytes(payload, 0, length, out, at + FRAME_HEADER_BYTES);
    this.io.advance(FRAME_HEADER_BYTES + length);
  }

  private writeNumber(type: number, streamId: number, value: number): void {
    const out = this.io.reserve(FRAME_HEADER_BYTES + 4);
    const at = this.io.position();
    writeFrameHeader(out, at, 4, type, 0, streamId);
    writeUint32(out, at + FRAME_HEADER_BYTES, value);
    this.io.advance(FRAME_HEADER_BYTES + 4);
  }

  private writeWindowUpdate(streamId: number, increment: number): void {
    this.writeNumber(FrameType.WINDOW_UPDATE, streamId, increment);
  }

  private writeReset(streamId: number, errorCode: number): void {
    this.writeNumber(FrameType.RST_STREAM, streamId, errorCode);
  }

  private writePing(payload: Uint8Array, ack: boolean): void {
    this.writeSimple(FrameType.PING, ack ? Flag.ACK : 0, 0, 8, payload);
  }

  private writeGoaway(lastStreamId: number, errorCode: number, message: string): void {
    const payload = Buffer.alloc(8 + message.length);
    writeUint32(payload, 0, lastStreamId);
    writeUint32(payload, 4, errorCode);
    payload.write(message, 8, 'latin1');
    this.writeSimple(FrameType.GOAWAY, 0, 0, payload.length, payload);
  }

  private writeContinuations(streamId: number, block: Buffer, from: number): void {
    for (let at = from; at < block.length; ) {
      const size = Math.min(block.length - at, DEFAULT_MAX_FRAME_BYTES);
      const last = at + size === block.length;
      const chunk = block.subarray(at, at + size);
      this.writeSimple(FrameType.CONTINUATION, last ? Flag.END_HEADERS : 0, streamId, size, chunk);
      at += size;
    }
  }
}

const DRAIN_PING: Buffer = Buffer.from('drain...', 'latin1');
const EMPTY = Buffer.alloc(0);

/** Gives a peer this long to take our last words before the socket is destroyed, milliseconds. */
const LINGER_MS = 1000;

function lingerThenDestroy(io: ByteSocket): void {
  if (io.closed) return;
  const timer = setTimeout(() => io.destroy(), LINGER_MS);
  timer.unref();
}

/** Notes content-length for the DATA to come; false when it is not a number or contradicts END_STREAM. */
function declareContentLength(stream: Http2Stream, list: HeaderList, endStream: boolean): boolean {
  const value = list.get('content-length');
  if (value === undefined) return true;
  if (!/^[0-9]{1,15}$/.test(value)) return false;
  // Answers to HEAD and 304 may declare a length and end at once (RFC 9110, section 8.6).
  if (endStream) return stream.connection.client || Number(value) === 0;
  stream.contentLeft = Number(value);
  return true;
}

/** Handler of a stream whose request head has not been accepted yet. */
const IGNORE: StreamHandler = {
  onHeaders(): void {},
  onData(): void {},
  onSent(): void {},
  onReset(): void {},
};
