/**
 * One file whose text is followed.
 *
 * The directory is watched, because editors and the kubelet replace files instead of writing them: a mounted ConfigMap
 * is `NAME -> ..data/NAME`, `..data -> ..TIMESTAMP/`, and an edit renames a new `..data` over the old one. A look at
 * the file twice a second is the safety net where notices do not come (network file systems, no inotify left, a
 * directory that was itself replaced). `stat` follows links, so a swap shows as another inode.
 *
 * A file is read once it has rested for `settleMs`, so that a writer who truncates first is not caught half way; one
 * that never rests is read after `maxWaitMs`. Each reading is confirmed by another at the next look, since two writes
 * within one tick of the file system's clock leave the same times.
 */

import { closeSync, constants, type FSWatcher, fstatSync, openSync, readFileSync, statSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import { type Clock, systemClock } from '../../base/clock.ts';

export interface FileObserver {
  /** The file has another text than before. */
  onText(text: string): void;
  /** The file is gone or cannot be read; told once until it can be read again. */
  onTrouble(error: Error): void;
}

export interface WatchOptions {
  /** Milliseconds between looks. */
  readonly pollMs: number;
  /** Milliseconds a file must rest before it is read. */
  readonly settleMs: number;
  /** Longest wait for a file to rest. */
  readonly maxWaitMs: number;
}

export const DEFAULT_WATCH: WatchOptions = { pollMs: 500, settleMs: 50, maxWaitMs: 500 };

/** Reads a regular file of at most `maxBytes` as UTF-8. Throws with a sentence where it is anything else. */
export function readTextFile(path: string, maxBytes: number): string {
  // Non-blocking, so that a pipe in the file's place is refused instead of awaited.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) throw new Error(`${path} is not a regular file`);
    if (stat.size > maxBytes) throw new Error(`${path} has ${stat.size} bytes, more than ${maxBytes}`);
    const bytes = readFileSync(file);
    if (bytes.length > maxBytes) throw new Error(`${path} has more than ${maxBytes} bytes`);
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch (cause) {
      throw new Error(`${path} is not UTF-8 text`, { cause });
    }
  } finally {
    closeSync(file);
  }
}

/** Follows a file from `start` to `close`. It keeps neither process nor test alive by itself. */
export class WatchedFile {
  private readonly path: string;
  private readonly maxBytes: number;
  private readonly observer: FileObserver;
  private readonly options: WatchOptions;
  private readonly clock: Clock;
  private watcher: FSWatcher | null = null;
  private pollTimer: NodeJS.Timeout | null = null;
  private settleTimer: NodeJS.Timeout | null = null;
  private text: string;
  /** State of the file at the last reading; '' asks for a reading at the next look. */
  private readState = '';
  /** State last seen and not yet read, since when it has been that, and since when the file has been other than read. */
  private pendingState: string | null = null;
  private stateSinceMs = 0;
  private pendingSinceMs = 0;
  private confirmed = false;
  private troubled = false;
  /** Since when the file has been missing; null while it is there. */
  private missedSinceMs: number | null = null;

  /** `text` is what the file held when it was first read. */
  constructor(
    path: string,
    text: string,
    maxBytes: number,
    observer: FileObserver,
    options: WatchOptions = DEFAULT_WATCH,
    clock: Clock = systemClock,
  ) {
    this.path = path;
    this.text = text;
    this.maxBytes = maxBytes;
    this.observer = observer;
    this.options = options;
    this.clock = clock;
  }

  start(): void {
    this.pollTimer = setInterval(() => this.poll(), this.options.pollMs).unref();
    try {
      this.watcher = watch(dirname(this.path), { persistent: false }, () => this.look());
      this.watcher.on('error', () => this.stopWatching());
    } catch {
      // No notices here: the looks alone find an edit within pollMs + settleMs.
      this.watcher = null;
    }
  }

  close(): void {
    this.stopWatching();
    if (this.pollTimer !== null) clearInterval(this.pollTimer);
    if (this.settleTimer !== null) clearTimeout(this.settleTimer);
    this.pollTimer = null;
    this.settleTimer = null;
  }

  private stopWatching(): void {
    this.watcher?.close();
    this.watcher = null;
  }

  private poll(): void {
    if (!this.confirmed) this.readState = '';
    this.look();
  }

  /** Compares the file's state with the one last read, and reads it once it rests. */
  private look(): void {
    let state: string;
    try {
      state = this.fileState();
    } catch (error) {
      this.pendingState = null;
      this.miss(error as Error);
      return;
    }
    this.missedSinceMs = null;
    if (state === this.readState) {
      this.pendingState = null;
      return;
    }
    const nowMs = this.clock.nowMs();
    if (this.pendingState === null) this.pendingSinceMs = nowMs;
    if (state !== this.pendingState) this.stateSinceMs = nowMs;
    this.pendingState = state;
    const { settleMs, maxWaitMs } = this.options;
    if (nowMs - this.stateSinceMs >= settleMs || nowMs - this.pendingSinceMs >= maxWaitMs) this.read(state);
    else this.lookAgain();
  }

  private lookAgain(): void {
    if (this.settleTimer !== null) return;
    this.settleTimer = setTimeout(() => {
      this.settleTimer = null;
      this.look();
    }, this.options.settleMs).unref();
  }

  private read(state: string): void {
    let text: string;
    try {
      text = readTextFile(this.path, this.maxBytes);
    } catch (error) {
      this.readState = state;
      this.confirmed = false;
      this.pendingState = null;
      this.report(error as Error);
      return;
    }
    this.readState = state;
    this.pendingState = null;
    this.confirmed = text === this.text;
    const wasTroubled = this.troubled;
    this.troubled = false;
    if (text === this.text && !wasTroubled) return;
    this.text = text;
    this.observer.onText(text);
  }

  /** Editors move a file away before they put the new one there, so only an absence that lasts is trouble. */
  private miss(error: Error): void {
    const nowMs = this.clock.nowMs();
    this.missedSinceMs ??= nowMs;
    if (nowMs - this.missedSinceMs >= this.options.settleMs) this.report(error);
    else this.lookAgain();
  }

  private report(error: Error): void {
    if (this.troubled) return;
    this.troubled = true;
    this.observer.onTrouble(error);
  }

  private fileState(): string {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(this.path, { bigint: true });
    return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
  }
}
