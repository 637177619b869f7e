/**
 * Writing to a TLS socket: one write at a time through its handle, what comes meanwhile waits in order, and nothing at
 * all leaves before the handshake is done and the peer found to be who it should be.
 *
 * The handle encrypts a write at once and completes it in a later turn; it takes no second one before. A turn's output
 * is one buffer, so it leaves as one write, cut into records by the TLS library.
 */
import type { Socket } from 'node:net';
import { awaitWrite, type PendingWrite, type WriteHandle, type WriteOwner, writeHandle } from './direct-write.ts';

/** Told of every write that is over, with a negative status for one that was lost. */
export interface TlsWriteObserver extends WriteOwner {
  readonly closed: boolean;
  /** Everything that was written has been taken. */
  onAllWritten(): void;
}

/** EPIPE. */
const LOST = -32;

export class TlsWriter implements WriteOwner {
  private readonly observer: TlsWriteObserver;
  private readonly socket: Socket;
  private readonly buffers: Buffer[] = [];
  private readonly lengths: number[] = [];
  private busy = false;
  private open = false;

  constructor(observer: TlsWriteObserver, socket: Socket) {
    this.observer = observer;
    this.socket = socket;
  }

  /** Nothing waits and nothing is under way. */
  get idle(): boolean {
    return !this.busy && this.buffers.length === 0;
  }

  /** The peer is known: what waited leaves. */
  release(): void {
    this.open = true;
    this.pump();
  }

  write(buffer: Buffer, length: number): void {
    this.buffers.push(buffer);
    this.lengths.push(length);
    this.pump();
  }

  /** The socket is gone: what waits is lost. A write under way is told of by the handle. */
  abandon(): void {
    while (this.buffers.length > 0) this.observer.onWritten(this.buffers.shift()!, this.lengths.shift()!, LOST);
  }

  onWritten(buffer: Buffer, length: number, status: number): void {
    this.busy = false;
    this.observer.onWritten(buffer, length, status);
    if (this.observer.closed) return;
    this.pump();
    if (this.idle) this.observer.onAllWritten();
  }

  private pump(): void {
    while (this.open && !this.busy && this.buffers.length > 0 && !this.observer.closed) {
      const buffer = this.buffers.shift()!;
      this.start(buffer, this.lengths.shift()!);
    }
  }

  private start(buffer: Buffer, length: number): void {
    const chunk = length === buffer.length ? buffer : buffer.subarray(0, length);
    const handle = writeHandle(this.socket);
    this.busy = true;
    if (handle === null) this.socket.write(chunk, (error) => this.onWritten(buffer, length, error ? LOST : 0));
    else this.startDirect(handle, chunk, buffer, length);
  }

  private startDirect(handle: WriteHandle, chunk: Buffer, buffer: Buffer, length: number): void {
    const result = handle.writeBuffer(null, chunk) as number | TlsPendingWrite;
    if (typeof result === 'number') {
      this.busy = false;
      this.observer.onWritten(buffer, length, result);
      return;
    }
    if (typeof result.error === 'string') {
      this.onWritten(buffer, length, LOST);
      return;
    }
    awaitWrite(result, this, buffer, length);
    // Completed before anybody could be told: the status lies on the write.
    const status = result.writeStatus;
    if (status === null || status === undefined) return;
    result.writeStatus = null;
    result.oncomplete(status);
  }
}

interface TlsPendingWrite extends PendingWrite {
  writeStatus?: number | null;
  error?: string;
}
