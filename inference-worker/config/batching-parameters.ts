/**
 * Reads TensorFlow Serving's `BatchingParameters` in text format: `--batching_parameters_file` for all models, and
 * `batching_params.pbtxt` beside a model. What a file does not say is TensorFlow Serving's default, not ours: whoever
 * tuned a file tuned it against those.
 */
import { availableParallelism } from 'node:os';
import { type BatchingOptions, batchingOptionsProblems } from '../batching/batching-options.ts';
import { booleanOf, readFields, readText, wholeOf } from './text-fields.ts';

/** What a file says; absent where it says nothing. */
export interface BatchingParameters {
  maxBatchSize?: number;
  batchTimeoutMicros?: number;
  maxEnqueuedBatches?: number;
  numBatchThreads?: number;
  allowedBatchSizes?: number[];
  padVariableLengthInputs?: boolean;
  enableLargeBatchSplitting?: boolean;
  maxExecutionBatchSize?: number;
}

/** TensorFlow Serving's defaults for what a file leaves out. */
const DEFAULT_MAX_BATCH_SIZE = 1000;
const DEFAULT_MAX_ENQUEUED_BATCHES = 10;

const MOST_ROWS = 1_000_000;
const MOST_MICROS = 60_000_000;
const MOST_THREADS = 1024;

/** The parameters of a text; `problems` is empty when they can be used. */
export function parseBatchingParameters(text: string): { parameters: BatchingParameters; problems: string[] } {
  const parameters: BatchingParameters = {};
  const problems: string[] = [];
  const message = readText(text, problems);
  if (message === null) return { parameters, problems };
  readFields(
    message,
    {
      max_batch_size: (field) => {
        parameters.maxBatchSize = wholeOf(field, 1, MOST_ROWS);
      },
      batch_timeout_micros: (field) => {
        parameters.batchTimeoutMicros = wholeOf(field, 0, MOST_MICROS);
      },
      max_enqueued_batches: (field) => {
        parameters.maxEnqueuedBatches = wholeOf(field, 1, MOST_ROWS);
      },
      num_batch_threads: (field) => {
        parameters.numBatchThreads = wholeOf(field, 1, MOST_THREADS);
      },
      // The name of a pool shows in traces only.
      thread_pool_name: () => {},
      allowed_batch_sizes: (field) => {
        parameters.allowedBatchSizes = [...(parameters.allowedBatchSizes ?? []), wholeOf(field, 1, MOST_ROWS)];
      },
      pad_variable_length_inputs: (field) => {
        parameters.padVariableLengthInputs = booleanOf(field);
      },
      enable_large_batch_splitting: (field) => {
        parameters.enableLargeBatchSplitting = booleanOf(field);
      },
      max_execution_batch_size: (field) => {
        parameters.maxExecutionBatchSize = wholeOf(field, 1, MOST_ROWS);
      },
    },
    problems,
  );
  return { parameters, problems };
}

/**
 * `base` with what the parameters say. Threads are at most the machine's: in TensorFlow Serving all models share a pool,
 * here each thread of a version holds the model once more. `threads` false leaves them to `base`.
 */
export function withBatchingParameters(
  base: BatchingOptions,
  parameters: BatchingParameters,
  threads = true,
): BatchingOptions {
  const maxBatchSize = parameters.maxBatchSize ?? DEFAULT_MAX_BATCH_SIZE;
  const wanted = threads ? (parameters.numBatchThreads ?? base.threads) : base.threads;
  return {
    ...base,
    maxBatchSize,
    batchTimeoutMicros: parameters.batchTimeoutMicros ?? 0,
    maxEnqueuedBatches: parameters.maxEnqueuedBatches ?? DEFAULT_MAX_ENQUEUED_BATCHES,
    threads: Math.min(wanted, Math.max(base.threads, availableParallelism())),
    allowedBatchSizes: parameters.allowedBatchSizes ?? [],
    padVariableLengthInputs: parameters.padVariableLengthInputs ?? false,
    splitLargeBatches: parameters.enableLargeBatchSplitting ?? false,
    maxExecutionBatchSize: parameters.maxExecutionBatchSize ?? maxBatchSize,
  };
}

/** A file's options on top of `base`, or every mistake in the text and in what it adds up to. */
export function readBatchingOptions(
  text: string,
  base: BatchingOptions,
  threads = true,
): { options: BatchingOptions; problems: string[] } {
  const { parameters, problems } = parseBatchingParameters(text);
  const options = withBatchingParameters(base, parameters, threads);
  return { options, problems: problems.length > 0 ? problems : batchingOptionsProblems(options) };
}
