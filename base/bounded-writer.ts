/**
 * Lines to a file or a stream without ever waiting for it: they gather in memory while one write is under way, and at
 * the bound they are dropped and counted. A full disk, a slow pipe or a reader that is gone costs lines, nothing else.
 */
import { close, open, write } from 'node:fs';

/** Bytes that may wait for the write under way; above it lines are dropped. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** Lines are handed over at the latest after this time, milliseconds. */
const FLUSH_MS = 100;

export class BoundedWriter {
  /** Lines dropped since start. */
  dropped = 0;
  /** Failed writes since start; the lines of a failed write are lost. */
  failures = 0;
  private fd: number;
  private readonly ownsFd: boolean;
  private waiting: string[] = [];
  private waitingBytes = 0;
  private writing = false;
  private timer: NodeJS.Timeout | null = null;
  private closed = false;

  private constructor(fd: number, ownsFd: boolean) {
    this.fd = fd;
    this.ownsFd = ownsFd;
  }

  /** A writer on an open descriptor, such as 1 for standard output; it is not closed with the writer. */
  static onDescriptor(fd: number): BoundedWriter {
    return new BoundedWriter(fd, false);
  }

  /** A writer that appends to a file, made if missing. Rejects when it cannot be opened. */
  static async onFile(path: string): Promise<BoundedWriter> {
    const fd = await new Promise<number>((resolve, reject) => {
      open(path, 'a', 0o640, (error, opened) => (error === null ? resolve(opened) : reject(error)));
    });
    return new BoundedWriter(fd, true);
  }

  /** Takes one line, newline included; false when it was dropped. */
  writeLine(line: string): boolean {
    if (this.closed || this.waitingBytes + line.length > MAX_WAITING_BYTES) {
      this.dropped++;
      return false;
    }
    this.waiting.push(line);
    this.waitingBytes += line.length;
    if (this.timer === null && !this.writing) {
      this.timer = setTimeout(() => this.flush(), FLUSH_MS);
      this.timer.unref();
    }
    return true;
  }

  /** Writes what waits and stops taking lines; resolves when it is out, or lost. */
  async end(): Promise<void> {
    this.closed = true;
    while (this.writing || this.waiting.length > 0) {
      if (!this.writing) this.flush();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    if (this.ownsFd) await new Promise<void>((resolve) => close(this.fd, () => resolve()));
    this.fd = -1;
  }

  private flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.writing || this.waiting.length === 0) return;
    const bytes = Buffer.from(this.waiting.join(''), 'utf8');
    this.waiting = [];
    this.waitingBytes = 0;
    this.writing = true;
    this.writeAll(bytes, 0);
  }

  private writeAll(bytes: Buffer, from: number): void {
    write(this.fd, bytes, from, bytes.length - from, null, (error, written) => {
      if (error !== null && error.code === 'EAGAIN') {
        setTimeout(() => this.writeAll(bytes, from), FLUSH_MS).unref();
        return;
      }
      if (error !== null) this.failures++;
      else if (from + written < bytes.length) {
        this.writeAll(bytes, from + written);
        return;
      }
      this.writing = false;
      if (this.waiting.length > 0) this.flush();
    });
  }
}
