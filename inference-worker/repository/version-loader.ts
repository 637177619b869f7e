/**
 * Carries out loads and unloads: one load at a time in the process, so that loading disturbs the served models as little
 * as it can; bounded retries for faults that may pass, none for a file that would be refused again.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import type { Logger } from '../../base/logger.ts';
import type { Servable } from '../batching/batcher.ts';
import type { ModelCard } from './model-card.ts';
import type { FoundVersion } from './model-directory.ts';
import type { VersionError, VersionHarness } from './version-state.ts';

/**
 * Makes a servable of a model file, or rejects with an error that carries a gRPC `code`. `describe` is told what the
 * version's model.yaml says, whether the version then loads or not.
 */
export type LoadVersion = (
  model: string,
  found: FoundVersion,
  describe: (card: ModelCard | null) => void,
) => Promise<Servable>;

export interface LoaderOptions {
  readonly load: LoadVersion;
  /** Further attempts after the first failed one; TensorFlow Serving's default is 5. */
  readonly maxLoadRetries: number;
  /** Pause between attempts; TensorFlow Serving's default is 60,000 ms. */
  readonly loadRetryMs: number;
  readonly log: Logger;
}

/** The same bytes would be refused again with these, so a retry is a waste until the file changes. */
const PERMANENT: readonly number[] = [
  GrpcStatus.INVALID_ARGUMENT,
  GrpcStatus.FAILED_PRECONDITION,
  GrpcStatus.UNIMPLEMENTED,
  GrpcStatus.DATA_LOSS,
];

/** Any thrown value as what status calls show. */
export function versionError(error: unknown): VersionError {
  const message = error instanceof Error ? error.message : String(error);
  const { code } = error as { code?: unknown };
  const known = typeof code === 'number' && code > 0 && code <= 16;
  return { code: known ? code : GrpcStatus.UNKNOWN, message };
}

export class VersionLoader {
  private readonly options: LoaderOptions;
  /** Called when a slot became free or a retry is due, so that the owner asks its policy again. */
  private readonly onSlotFree: () => void;
  private busy = false;
  private closed = false;
  private readonly waiting = new Map<VersionHarness, NodeJS.Timeout>();
  private readonly ready: VersionHarness[] = [];

  constructor(options: LoaderOptions, onSlotFree: () => void) {
    this.options = options;
    this.onSlotFree = onSlotFree;
  }

  /** Whether a load may begin now. */
  get idle(): boolean {
    return !this.busy && !this.closed && this.ready.length === 0;
  }

  /** Begins loading; the harness moves on by itself. Call only while `idle`. */
  begin(harness: VersionHarness): void {
    harness.move({ kind: 'LOADING', attempt: 1, error: null });
    void this.attempt(harness);
  }

  /** Gives up a version that waits between attempts; does nothing for any other. */
  abandon(harness: VersionHarness): void {
    const timer = this.waiting.get(harness);
    const place = this.ready.indexOf(harness);
    if (timer === undefined && place < 0) return;
    clearTimeout(timer);
    this.waiting.delete(harness);
    if (place >= 0) this.ready.splice(place, 1);
    harness.move({ kind: 'END', error: harness.error });
  }

  /** Finishes the accepted calls of a serving version and releases it. Resolves at END; never rejects. */
  async unload(harness: VersionHarness): Promise<void> {
    const { state } = harness;
    if (state.kind !== 'AVAILABLE') return;
    harness.move({ kind: 'UNLOADING', servable: state.servable });
    let error: VersionError | null = null;
    try {
      await state.servable.close();
    } catch (cause) {
      error = versionError(cause);
    }
    harness.move({ kind: 'END', error });
  }

  /** No load begins from here on, and none is retried. */
  close(): void {
    this.closed = true;
    for (const harness of [...this.waiting.keys(), ...this.ready]) this.abandon(harness);
  }

  private async attempt(harness: VersionHarness): Promise<void> {
    this.busy = true;
    try {
      const servable = await this.options.load(harness.model, harness.found, (card) => {
        harness.card = card;
      });
      harness.move({ kind: 'AVAILABLE', servable });
    } catch (cause) {
      this.failed(harness, versionError(cause));
    }
    this.busy = false;
    const next = this.ready.shift();
    if (next !== undefined) void this.attempt(next);
    this.onSlotFree();
  }

  private failed(harness: VersionHarness, error: VersionError): void {
    const { state } = harness;
    const attempt = state.kind === 'LOADING' ? state.attempt : 1;
    if (this.closed || PERMANENT.includes(error.code) || attempt > this.options.maxLoadRetries) {
      harness.move({ kind: 'END', error });
      return;
    }
    harness.move({ kind: 'LOADING', attempt: attempt + 1, error });
    const timer = setTimeout(() => {
      this.waiting.delete(harness);
      if (this.busy) this.ready.push(harness);
      else void this.attempt(harness);
    }, this.options.loadRetryMs);
    this.waiting.set(harness, timer);
  }
}
