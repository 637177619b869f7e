/**
 * Flow control of what the peer sends us (RFC 9113, section 5.2 and 6.9).
 *
 * Every flow-controlled byte is charged when its frame begins and given back exactly once: padding and bytes that nobody
 * will take at once, the rest when the stream's consumer has dealt with it or the stream is reset. Credit goes out in
 * steps of half a window, so that a stream of small messages does not cost a WINDOW_UPDATE each.
 */
import type { Http2Connection } from './connection.ts';
import type { FrameWriter } from './frame-writer.ts';
import { DEFAULT_WINDOW_BYTES } from './frames.ts';
import type { Http2Stream } from './stream.ts';

export class ReceiveFlow {
  /** What the peer may still send on the connection. */
  window: number;
  /** Bytes of the connection that are dealt with and not yet given back. */
  uncredited = 0;
  /** What a new stream may receive: the protocol's 65,535 while the peer may not know a smaller value of ours. */
  initialWindow: number;
  private readonly connection: Http2Connection;
  private readonly writer: FrameWriter;
  private readonly connectionStep: number;
  private readonly streamStep: number;

  constructor(connection: Http2Connection, writer: FrameWriter) {
    const { connectionWindowBytes, streamWindowBytes } = connection.limits;
    this.connection = connection;
    this.writer = writer;
    // The connection's window can only be widened.
    this.window = Math.max(connectionWindowBytes, DEFAULT_WINDOW_BYTES);
    this.connectionStep = this.window >>> 1;
    this.initialWindow = Math.max(streamWindowBytes, DEFAULT_WINDOW_BYTES);
    this.streamStep = Math.max(1, streamWindowBytes >>> 1);
  }

  /** Widens the connection's window from the protocol's to ours; part of the preface. */
  announce(): void {
    const extra = this.window - DEFAULT_WINDOW_BYTES;
    if (extra > 0) this.writer.windowUpdate(0, extra);
  }

  /** The peer acknowledged our SETTINGS: a smaller stream window is in force from now on, and may be negative at first. */
  settingsAcknowledged(): void {
    const change = this.connection.limits.streamWindowBytes - this.initialWindow;
    if (change === 0) return;
    this.initialWindow += change;
    for (const stream of this.connection.table.list()) stream.receiveWindow += change;
  }

  /** Gives back bytes to the connection's window. */
  credit(bytes: number): void {
    this.uncredited += bytes;
    if (this.uncredited < this.connectionStep || this.connection.dead) return;
    this.window += this.uncredited;
    this.writer.windowUpdate(0, this.uncredited);
    this.uncredited = 0;
  }

  /** Gives back bytes of a live stream to both windows. */
  creditStream(stream: Http2Stream, bytes: number): void {
    if (!stream.remoteEnded) {
      stream.uncredited += bytes;
      if (stream.uncredited >= this.streamStep) {
        stream.receiveWindow += stream.uncredited;
        this.writer.windowUpdate(stream.id, stream.uncredited);
        stream.uncredited = 0;
      }
    }
    this.credit(bytes);
  }

  /** The stream's consumer has dealt with `bytes` of what it received. */
  consumed(stream: Http2Stream, bytes: number): void {
    if (bytes > stream.outstanding) bytes = stream.outstanding;
    if (bytes <= 0) return;
    stream.outstanding -= bytes;
    this.creditStream(stream, bytes);
  }

  /** Nobody will consume what the stream still holds. */
  release(stream: Http2Stream): void {
    const bytes = stream.outstanding;
    stream.outstanding = 0;
    if (bytes > 0) this.credit(bytes);
  }
}
