/**
 * Writing to a plain socket's handle without the stream above it, which costs more than a small write itself: a
 * request object, a callback, a turn of the microtask queue. Private to Node, so it is named in one place and used only
 * with the major version it is known of; any other gets the stream.
 *
 * The handle answers 0 when the kernel took everything at once, a negative error, or an object that is completed later.
 * Handle and stream may be mixed as long as the stream holds nothing back: the handle keeps its writes in order, and the
 * stream's shutdown waits for them.
 */
import type { Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';

/** A write in progress; it keeps what it writes alive. */
export interface PendingWrite {
  oncomplete: (this: PendingWrite, status: number) => void;
  owner: WriteOwner;
  buffer: Buffer;
  length: number;
}

export interface WriteOwner {
  /** The kernel took the write, or it failed with a negative status. */
  onWritten(buffer: Buffer, length: number, status: number): void;
}

export interface WriteHandle {
  writeBuffer(request: null, bytes: Uint8Array): number | PendingWrite;
}

const KNOWN_MAJOR = '26.';
const known = process.versions.node.startsWith(KNOWN_MAJOR);

/** The handle to write to now, or null when the stream must be used: it connects, or holds bytes back, or is gone. */
export function writeHandle(socket: Socket): WriteHandle | null {
  if (!known || socket.connecting || socket.writableLength > 0) return null;
  return (socket as unknown as { _handle: WriteHandle | null })._handle;
}

/** Has `owner` told when the write is through. */
export function awaitWrite(write: PendingWrite, owner: WriteOwner, buffer: Buffer, length: number): void {
  write.oncomplete = complete;
  write.owner = owner;
  write.buffer = buffer;
  write.length = length;
}

function complete(this: PendingWrite, status: number): void {
  this.owner.onWritten(this.buffer, this.length, status);
}

/** An error like the stream's for a negative status. */
export function writeError(status: number): Error {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(`write ${code}`), { code, errno: status, syscall: 'write' });
}
