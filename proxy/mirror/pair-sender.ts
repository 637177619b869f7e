/**
 * The data thread's end of the way to the analysis thread: pairs are gathered in a buffer that is transferred when it is
 * full or a quarter of a second old. A bounded set of buffers goes round; when all are away, pairs are refused, so the
 * analysis can fall behind and cost nothing but comparisons.
 */
import type { MessagePort } from 'node:worker_threads';
import { type PairRecord, recordSize, writeRecord } from './pair-record.ts';

const BUFFER_BYTES = 256 * 1024;
const MAX_BUFFERS = 8;
const FLUSH_MS = 250;

/** Message to the analysis thread: `length` bytes of records at the start of `buffer`. */
export interface PairsMessage {
  readonly type: 'pairs';
  readonly buffer: ArrayBuffer;
  readonly length: number;
}

export class PairSender {
  private port: MessagePort | null = null;
  private readonly free: ArrayBuffer[] = [];
  private made = 0;
  private current: Buffer | null = null;
  private length = 0;
  private timer: NodeJS.Timeout | null = null;

  /** Uses this port from now on; buffers that were away with the last one are made anew. */
  connect(port: MessagePort): void {
    this.port?.close();
    this.port = port;
    this.made = this.free.length + (this.current === null ? 0 : 1);
    port.on('message', (message: { type: string; buffer: ArrayBuffer }) => {
      if (message.type === 'free' && port === this.port) this.free.push(message.buffer);
    });
    port.unref();
  }

  /** Takes a copy of the pair; false when there is no room for it, or nobody to send it to. */
  send(record: PairRecord): boolean {
    if (this.port === null) return false;
    const size = recordSize(record);
    if (size > BUFFER_BYTES) return false;
    if (this.current !== null && this.length + size > BUFFER_BYTES) this.flush();
    if (this.current === null && !this.take()) return false;
    this.length = writeRecord(this.current!, this.length, record);
    if (this.timer === null) {
      this.timer = setTimeout(() => this.flush(), FLUSH_MS);
      this.timer.unref();
    }
    return true;
  }

  private take(): boolean {
    let buffer = this.free.pop();
    if (buffer === undefined) {
      if (this.made >= MAX_BUFFERS) return false;
      this.made++;
      buffer = new ArrayBuffer(BUFFER_BYTES);
    }
    this.current = Buffer.from(buffer);
    this.length = 0;
    return true;
  }

  private flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    const { current, length, port } = this;
    if (current === null || length === 0 || port === null) return;
    this.current = null;
    const buffer = current.buffer as ArrayBuffer;
    const message: PairsMessage = { type: 'pairs', buffer, length };
    port.postMessage(message, [buffer]);
  }
}
