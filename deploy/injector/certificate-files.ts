/**
 * The webhook's certificate and key, followed on disk. Both are read together and must fit each other, so a swap caught
 * half way is not used: the last good pair stays until the files agree again.
 *
 * Looks once a second by default: the kubelet itself refreshes a mounted Secret about once a minute, by a new `..data`
 * link, and a look that follows links sees the swap whatever the file system notifies.
 */
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { Logger } from '../../base/logger.ts';

export interface CertificatePair {
  readonly cert: string;
  readonly key: string;
}

export interface CertificateFilesOptions {
  readonly certFile: string;
  readonly keyFile: string;
  readonly log: Logger;
  /** Milliseconds between looks. */
  readonly pollMs?: number;
  readonly onChange: (pair: CertificatePair) => void;
}

/** No chain we expect comes near it. */
const MAX_FILE_BYTES = 1024 * 1024;
const DEFAULT_POLL_MS = 1000;

export class CertificateFiles {
  /** The pair in use. */
  current: CertificatePair;
  private readonly options: CertificateFilesOptions;
  private state: string;
  private troubled = false;
  private timer: NodeJS.Timeout | null = null;

  /** Reads the pair; throws when it cannot be used, for a start without a certificate serves nobody. */
  constructor(options: CertificateFilesOptions) {
    this.options = options;
    this.state = this.fileState();
    this.current = this.read();
  }

  start(): void {
    this.timer = setInterval(() => this.look(), this.options.pollMs ?? DEFAULT_POLL_MS).unref();
  }

  close(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  /** Compares the files with those last read and takes over a new pair that fits together. */
  look(): void {
    try {
      const state = this.fileState();
      if (state === this.state) return;
      const pair = this.read();
      // Stamped before reading: a change in between is seen at the next look.
      this.state = state;
      this.troubled = false;
      if (pair.cert === this.current.cert && pair.key === this.current.key) return;
      this.current = pair;
      this.options.onChange(pair);
      this.options.log.info('certificate_reloaded', { file: this.options.certFile });
    } catch (error) {
      if (!this.troubled) this.options.log.warn('certificate_kept', { error });
      this.troubled = true;
    }
  }

  private read(): CertificatePair {
    const pair = { cert: readBounded(this.options.certFile), key: readBounded(this.options.keyFile) };
    // Throws when either is no PEM or they do not belong together.
    createSecureContext(pair);
    return pair;
  }

  private fileState(): string {
    return [this.options.certFile, this.options.keyFile]
      .map((path) => {
        const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
        return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
      })
      .join(' ');
  }
}

function readBounded(path: string): string {
  const { size } = statSync(path);
  if (size > MAX_FILE_BYTES) throw new Error(`${path} has ${size} bytes, more than ${MAX_FILE_BYTES}`);
  return readFileSync(path, 'utf8');
}
