/**
 * One stream socket (TCP, Unix or TLS) as the wire code sees it: bytes in, coalesced bytes out.
 *
 * Reading: every plain socket of a thread reads into one shared buffer, which is valid only during `onBytes`; what a
 * reader keeps, it copies. Idle connections therefore cost no read buffers.
 * Writing: bytes are appended to a pooled buffer and leave in one write per socket per event-loop turn; those that may wait
 * leave later (`deferred-writes.ts`).
 * Back-pressure: `writable` turns false while more than `HIGH_WATER_BYTES` wait for the kernel, and `onDrained` tells
 * when it is true again. Whoever produces bytes asks first; the socket itself never refuses and never drops.
 * Ends: `onClosed` is called exactly once, whatever happened, and nothing is called after it.
 */
import type { Socket } from 'node:net';
import { acquireBuffer, growBuffer, OUTPUT_BUFFER_BYTES, releaseBuffer } from './buffer-pool.ts';
import { defer, deferral } from './deferred-writes.ts';
import { awaitWrite, writeError, writeHandle } from './direct-write.ts';
import { type BufferHolder, threadMemory } from './memory-budget.ts';
import { type TlsWriteObserver, TlsWriter } from './tls-writer.ts';

/** Bytes handed to the kernel but not taken by it, above which a socket counts as not writable. */
export const HIGH_WATER_BYTES = 256 * 1024;
const LOW_WATER_BYTES = 64 * 1024;
const READ_BUFFER_BYTES = 262_144;

/** What consumes a socket's bytes; replaceable while the socket lives (protocol detection hands over this way). */
export interface ByteReader {
  /** Bytes `0..length` of `buffer`, valid only during the call. */
  onBytes(buffer: Buffer, length: number): void;
  /** The peer will send no more (FIN); our side may still write. */
  onEnd(): void;
  /** The socket takes bytes again after `writable` was false. */
  onDrained(): void;
  /** The socket is gone; `error` says why when it was not an orderly close. */
  onClosed(error: Error | null): void;
}

/** Reader of a socket that nobody listens to: before its connection is made, in the same turn, or any more. */
export const NO_READER: ByteReader = {
  onBytes(): void {},
  onEnd(): void {},
  onDrained(): void {},
  onClosed(): void {},
};

/** Sockets with bytes to flush at the end of this loop turn. */
const dirty: ByteSocket[] = [];
let flushArmed = false;

function flushDirty(): void {
  flushArmed = false;
  // Sockets made dirty while flushing (a callback wrote) go into the next turn.
  const count = dirty.length;
  for (let i = 0; i < count; i++) {
    const socket = dirty[i]!;
    socket.flushScheduled = false;
    socket.flush();
  }
  dirty.copyWithin(0, count);
  dirty.length -= count;
  if (dirty.length > 0 && !flushArmed) {
    flushArmed = true;
    setImmediate(flushDirty);
  }
}

const sharedReadBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);

/** Net options that make a socket read into the thread's shared buffer, for `net.connect` and adopted handles. */
export function sharedReadOptions(onRead: (length: number, buffer: Uint8Array) => boolean): {
  buffer: Uint8Array;
  callback: (length: number, buffer: Uint8Array) => boolean;
} {
  return { buffer: sharedReadBuffer, callback: onRead };
}

export class ByteSocket implements BufferHolder, TlsWriteObserver {
  /** The net socket underneath; null only before `attach`. */
  socket: Socket | null = null;
  reader: ByteReader;
  /** Totals since the socket was opened, in bytes. */
  bytesIn = 0;
  bytesOut = 0;
  closed = false;
  flushScheduled = false;
  /** What it holds waits for `flushDeferred`, unless something else makes it flush. */
  private isDeferred = false;
  /** The peer sent FIN. */
  readEnded = false;
  private out: Buffer | null = null;
  private outLength = 0;
  /** Bytes given to net and not yet written to the kernel. */
  private inFlightBytes = 0;
  private stalled = false;
  /** The socket transforms what it carries (TLS): bytes go through its stream. */
  private streaming = false;
  /** How a TLS socket is written; null for others. */
  private tls: TlsWriter | null = null;
  private endWhenFlushed = false;
  private error: Error | null = null;

  constructor(reader: ByteReader) {
    this.reader = reader;
  }

  /** Function for `sharedReadOptions`: hands bytes to the current reader. */
  readonly onRead = (length: number, buffer: Uint8Array): boolean => {
    if (this.closed) return false;
    this.bytesIn += length;
    this.reader.onBytes(buffer as Buffer, length);
    return true;
  };

  /** Binds the net socket. `streaming` is for sockets that cannot read into the shared buffer (TLS). */
  attach(socket: Socket, streaming: boolean): void {
    this.socket = socket;
    this.streaming = streaming;
    if (streaming) socket.on('data', (chunk: Buffer) => this.onRead(chunk.length, chunk));
    socket.on('end', () => {
      this.readEnded = true;
      if (!this.closed) this.reader.onEnd();
    });
    socket.on('error', (error) => {
      this.error ??= error;
    });
    socket.on('close', () => this.finish());
    if (!streaming) socket.resume();
  }

  /** Binds a TLS socket that reads into the shared buffer. What is written waits until `release`. */
  attachTls(socket: Socket): void {
    this.tls = new TlsWriter(this, socket);
    this.attach(socket, false);
  }

  /** TLS: the peer is known, bytes may leave. */
  release(): void {
    this.tls?.release();
  }

  /** Why the socket was or is being closed; null for an orderly end. */
  get failure(): Error | null {
    return this.error;
  }

  /** The peer speaks TLS with us. */
  get secure(): boolean {
    return this.tls !== null || this.streaming;
  }

  /** The peer's IP address, a v4-mapped one in its dotted form; '' for Unix sockets, and once it is gone. */
  get remoteAddress(): string {
    const address = this.socket?.remoteAddress ?? '';
    return address.startsWith('::ffff:') ? address.slice(7) : address;
  }

  /** False while too many bytes wait for the kernel, and after the close. */
  get writable(): boolean {
    return !this.stalled && !this.closed;
  }

  /** Bytes accepted for sending that the kernel has not taken. */
  get pendingBytes(): number {
    return this.inFlightBytes + this.outLength;
  }

  /** Bytes the kernel has taken, of what was handed to it so far; a write in progress counts as far as it has come. */
  get takenBytes(): number {
    const handle = (this.socket as unknown as { _handle?: { writeQueueSize?: number } } | null)?._handle;
    return this.bytesOut - Math.min(this.inFlightBytes, handle?.writeQueueSize ?? this.inFlightBytes);
  }

  /** What `MemoryBudget` may take back by `shed`. */
  get heldBytes(): number {
    return this.inFlightBytes;
  }

  shed(): void {
    this.destroy(new Error('too many bytes wait for slow peers'));
  }

  /**
   * Makes room for `size` contiguous bytes (at most `OUTPUT_BUFFER_BYTES`) and returns the buffer to write into, from
   * `position()` on; `advance(size)` commits them.
   */
  reserve(size: number): Buffer {
    const needed = this.outLength + size;
    if (this.out === null) this.out = acquireBuffer(size);
    else if (needed > this.out.length) {
      if (needed > OUTPUT_BUFFER_BYTES) {
        this.flush();
        this.out = acquireBuffer(size);
      } else this.out = growBuffer(this.out, this.outLength);
    }
    return this.out;
  }

  /** Bytes the current output buffer has room for; a new one follows when it is full. */
  room(): number {
    return OUTPUT_BUFFER_BYTES - this.outLength;
  }

  position(): number {
    return this.outLength;
  }

  advance(size: number): void {
    this.outLength += size;
    if (!this.flushScheduled) this.schedule();
  }

  /** Appends a copy of `buffer[start..end)`, across as many output buffers as it takes. */
  write(buffer: Uint8Array, start: number, end: number): void {
    while (start < end) {
      const room = OUTPUT_BUFFER_BYTES - this.outLength;
      const size = Math.min(end - start, room === 0 ? OUTPUT_BUFFER_BYTES : room);
      copyBytes(buffer, start, start + size, this.reserve(size), this.outLength);
      this.outLength += size;
      start += size;
    }
    if (!this.flushScheduled) this.schedule();
  }

  /** Hands what has been written to net now instead of at the end of the turn. */
  flush(): void {
    const buffer = this.out;
    this.isDeferred = false;
    if (buffer !== null) {
      const length = this.outLength;
      this.out = null;
      this.outLength = 0;
      if (this.closed || this.socket === null || length === 0) releaseBuffer(buffer);
      else this.send(this.socket, buffer, length);
    }
    if (this.endWhenFlushed) this.endNow();
  }

  /** Stops reading until `resumeReading`; what the kernel holds pushes back on the peer. */
  pauseReading(): void {
    this.socket?.pause();
  }

  resumeReading(): void {
    if (!this.closed) this.socket?.resume();
  }

  /** Sends FIN after everything written so far. */
  end(): void {
    this.endWhenFlushed = true;
    if (!this.flushScheduled) this.schedule();
  }

  /** Closes at once; unsent bytes are lost. `onClosed` follows in a later turn. */
  destroy(error?: Error): void {
    if (this.closed) return;
    if (error !== undefined) this.error ??= error;
    if (this.socket === null) this.finish();
    else this.socket.destroy();
  }

  /** Closes at once with a TCP reset, so that the peer sees an abort and not an orderly end. */
  reset(): void {
    const socket = this.socket as (Socket & { resetAndDestroy?: () => void }) | null;
    if (this.closed || socket === null) return;
    // Unix sockets have no reset; destroying them is the same to the peer. While a shutdown is under way the system
    // refuses to reset, and a socket that tried would never say that it closed.
    // TLS has no reset either: an end without its closing alert says the same.
    const isEnding = socket.writableEnded && !socket.writableFinished;
    if (socket.remoteFamily === undefined || isEnding || this.tls !== null) socket.destroy();
    else socket.resetAndDestroy?.();
  }

  private schedule(): void {
    if (deferral.active && !this.endWhenFlushed) {
      if (!this.isDeferred) defer(this);
      this.isDeferred = true;
      return;
    }
    this.flushScheduled = true;
    dirty.push(this);
    if (!flushArmed) {
      flushArmed = true;
      setImmediate(flushDirty);
    }
  }

  private send(socket: Socket, buffer: Buffer, length: number): void {
    const chunk = length === buffer.length ? buffer : buffer.subarray(0, length);
    this.bytesOut += length;
    const handle = this.streaming || this.tls !== null ? null : writeHandle(socket);
    if (handle === null) {
      this.waitFor(length);
      if (this.tls !== null) this.tls.write(buffer, length);
      else socket.write(chunk, () => this.onWritten(buffer, length, 0));
      return;
    }
    const result = handle.writeBuffer(null, chunk);
    if (result === 0) {
      releaseBuffer(buffer);
    } else if (typeof result === 'number') {
      releaseBuffer(buffer);
      this.destroy(writeError(result));
    } else {
      this.waitFor(length);
      awaitWrite(result, this, buffer, length);
    }
  }

  /** The kernel has not taken them yet. */
  private waitFor(length: number): void {
    this.inFlightBytes += length;
    threadMemory.hold(length);
    if (this.inFlightBytes <= HIGH_WATER_BYTES || this.stalled) return;
    this.stalled = true;
    threadMemory.register(this);
  }

  /** Called for every write that was waited for, those that were lost in the socket's end too. */
  onWritten(buffer: Buffer, length: number, status: number): void {
    releaseBuffer(buffer);
    this.inFlightBytes -= length;
    threadMemory.release(length);
    if (status < 0 && !this.closed) this.destroy(writeError(status));
    if (!this.stalled || this.inFlightBytes > LOW_WATER_BYTES) return;
    this.stalled = false;
    threadMemory.forget(this);
    if (!this.closed) this.reader.onDrained();
  }

  /** TLS: a FIN that waited for what was written before it may go. */
  onAllWritten(): void {
    if (this.endWhenFlushed && this.out === null) this.endNow();
  }

  private endNow(): void {
    if (this.tls !== null && !this.tls.idle && !this.closed) return;
    this.endWhenFlushed = false;
    this.socket?.end();
  }

  private finish(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.out !== null) releaseBuffer(this.out);
    this.out = null;
    this.outLength = 0;
    this.tls?.abandon();
    this.reader.onClosed(this.error);
  }
}

/** Copies without a native call when the piece is small: below this size the call costs more than the bytes. */
const NATIVE_COPY_BYTES = 24;

export function copyBytes(
  source: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  targetStart: number,
): void {
  if (end - start <= NATIVE_COPY_BYTES) {
    for (let i = start; i < end; i++) target[targetStart++] = source[i]!;
  } else {
    (source as Buffer).copy(target, targetStart, start, end);
  }
}
