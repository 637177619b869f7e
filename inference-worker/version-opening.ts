/**
 * What it takes to serve a version that was found: what lies beside the model file is checked and read, the model is
 * loaded, and the servable is warmed up. Until all of it is done, the version is LOADING.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { generateWarmUp, replayWarmUp } from './api/warm-up-replay.ts';
import type { Servable } from './batching/batcher.ts';
import type { BatchingOptions } from './batching/batching-options.ts';
import { readBatchingOptions } from './config/batching-parameters.ts';
import type { ModelCard } from './repository/model-card.ts';
import type { FoundVersion } from './repository/model-directory.ts';
import { readVersionContents, type VersionContents } from './repository/version-contents.ts';
import type { LoadServableOptions } from './session/load-options.ts';
import { loadServable } from './session/loader.ts';
import type { Signature } from './session/signature.ts';
import { signatureSet } from './session/signature-set.ts';
import { batchingFileRefused, manifestMismatch, signatureFileRefused, type WorkerError } from './worker-error.ts';

export interface OpeningOptions {
  readonly batching: BatchingOptions;
  /** Whether a version without a manifest is refused. */
  readonly requireManifest: boolean;
  /** Whether `batching_params.pbtxt` beside a model replaces `batching` for it. */
  readonly perModelBatching: boolean;
  /** Whether recorded requests are replayed, or one is made up. */
  readonly warmUp: boolean;
  /** How often each recorded request is run. */
  readonly warmUpIterations: number;
  /** Longest recorded request, in bytes. */
  readonly maxRecordBytes: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onBroken?: (servable: Servable, error: WorkerError) => void;
  /** The recorded requests were replayed, which took `ms`. */
  readonly onWarmedUp?: (ms: number) => void;
  /** Settings of loading that are not about this version. */
  readonly load?: Partial<LoadServableOptions>;
}

/**
 * Opens `found` as a version of `model`. `describe` is told the model card, before anything that can fail for long.
 * Rejects with a WorkerError, having left nothing behind.
 */
export async function openVersion(
  model: string,
  found: FoundVersion,
  describe: (card: ModelCard | null) => void,
  options: OpeningOptions,
): Promise<Servable> {
  const { log, clock, onBroken } = options;
  const contents = await readVersionContents(found, log);
  describe(contents.card);
  if (options.requireManifest && !contents.verified)
    throw manifestMismatch(found.path, 'there is no manifest beside it');
  const batching = options.perModelBatching ? batchingOf(contents, found.path, options.batching) : options.batching;
  const servable = await loadServable({
    model,
    version: found.version,
    path: found.path,
    signatures: contents.signatures === null ? undefined : (graph) => signaturesOf(graph, contents, found.path),
    batching,
    clock,
    log,
    onBroken,
    ...options.load,
  });
  try {
    if (options.warmUp) await warmUp(servable, contents, options);
    servable.startCounting();
  } catch (error) {
    await servable.close();
    throw error;
  }
  return servable;
}

async function warmUp(servable: Servable, contents: VersionContents, options: OpeningOptions): Promise<void> {
  const { model, version } = servable;
  const { clock, log, warmUpIterations: iterations, maxRecordBytes } = options;
  const beganMs = clock.nowMs();
  if (contents.warmUpPath === null) {
    const worked = await generateWarmUp(servable);
    if (worked !== null) log.info('servable_warmed_up', { model, version, generated: true, worked });
    return;
  }
  const records = await replayWarmUp(servable, contents.warmUpPath, { iterations, maxRecordBytes });
  const warmUpMs = clock.nowMs() - beganMs;
  options.onWarmedUp?.(warmUpMs);
  log.info('servable_warmed_up', { model, version, records, warmUpMs });
}

/** Threads stay as configured for all: a model does not decide how much of the machine it gets. @throws WorkerError */
function batchingOf(contents: VersionContents, path: string, base: BatchingOptions): BatchingOptions {
  if (contents.batchingText === null) return base;
  const { options, problems } = readBatchingOptions(contents.batchingText, base, false);
  if (problems.length > 0) throw batchingFileRefused(path, problems);
  return options;
}

/** @throws WorkerError when the signature file does not fit the graph */
function signaturesOf(graph: Signature, contents: VersionContents, path: string): ReadonlyMap<string, Signature> {
  const { signatures, problems } = signatureSet(graph, contents.signatures!);
  if (problems.length > 0) throw signatureFileRefused(path, problems);
  return signatures;
}
