/** How every process of the worker serves, read from flags and the files they name: plain data, fit to be sent. */
import { readFileSync } from 'node:fs';
import type { LogLevel } from '../base/logger.ts';
import { type BatchingOptions, batchingOptionsProblems } from './batching/batching-options.ts';
import { readBatchingOptions } from './config/batching-parameters.ts';
import { DEFAULT_METRICS_PATH, type MonitoringSettings, parseMonitoringConfig } from './config/monitoring-config.ts';
import { parseSslConfig, type TlsSettings } from './config/ssl-config.ts';
import { ADAPTIVE_WAIT_MICROS, readAdaptiveBatching, readExecution } from './execution-flags.ts';
import type { Flag, ParsedFlags } from './flags.ts';
import type { ExecutionSettings } from './session/provider-options.ts';
import { FLAGS } from './worker-flags.ts';

/** What every group's process needs to know besides its group. */
export interface ServingSettings {
  readonly batching: BatchingOptions;
  readonly execution: ExecutionSettings;
  readonly pollMs: number;
  readonly maxLoadRetries: number;
  readonly loadRetryMs: number;
  /** Longest request message, in bytes, before and after inflating. */
  readonly maxMessageBytes: number;
  /** Permissions of Unix sockets. */
  readonly socketMode: number;
  /** How long accepted calls may take to finish once asked to stop. */
  readonly drainMs: number;
  readonly logLevel: LogLevel;
  /** The HTTP APIs: where they listen is the group's. */
  readonly rest: RestSettings;
  /** Metrics by TensorFlow Serving's names on the HTTP port. */
  readonly monitoring: MonitoringSettings;
  /** TLS on the gRPC addresses that are TCP; null is plain text. */
  readonly tls: TlsSettings | null;
  /** Streams one HTTP/2 connection may have open; 0 leaves it to the server. */
  readonly maxConcurrentStreams: number;
  readonly healthService: boolean;
  /** Whether Predict answers with `tensor_content`. */
  readonly serializeAsTensorContent: boolean;
  readonly warmUp: boolean;
  readonly warmUpIterations: number;
  readonly perModelBatching: boolean;
  /** Whether a version without a manifest is refused. */
  readonly requireManifest: boolean;
  readonly allowLabelsForUnavailable: boolean;
  /** Milliseconds between looks at the configuration file; 0 does not look again. */
  readonly configPollMs: number;
}

export interface RestSettings {
  readonly timeoutMs: number;
  readonly enableCors: boolean;
}

/** TensorFlow Serving's own limit, where no flag sets a lower one. */
const MOST_MESSAGE_BYTES = 2 ** 31 - 1;

const NO_MONITORING: MonitoringSettings = { enabled: false, path: DEFAULT_METRICS_PATH };

/** Rows of one request when batching is off: TensorFlow Serving's own default. */
const UNBATCHED_MAX_ROWS = 1000;

/** How each process serves; every mistake in flags and the files they name is added to `problems`. */
export function readServing(flags: ParsedFlags, problems: string[]): ServingSettings {
  const channel = new Map(flags.value(FLAGS.grpc_channel_arguments).map(({ name, value }) => [name, Number(value)]));
  const longest = channel.get('grpc.max_receive_message_length');
  return {
    batching: readBatching(flags, problems),
    execution: readExecution(flags, problems),
    pollMs: flags.value(FLAGS.file_system_poll_wait_seconds) * 1000,
    maxLoadRetries: flags.value(FLAGS.max_num_load_retries),
    loadRetryMs: Math.max(0, flags.value(FLAGS.load_retry_interval_micros)) / 1000,
    maxMessageBytes: Math.min(longest ?? MOST_MESSAGE_BYTES, flags.value(FLAGS.grpc_max_message_bytes)),
    socketMode: Number.parseInt(flags.value(FLAGS.socket_mode), 8),
    drainMs: flags.value(FLAGS.drain_deadline_ms),
    logLevel: flags.value(FLAGS.log_level),
    rest: {
      timeoutMs: flags.value(FLAGS.rest_api_timeout_in_ms),
      enableCors: flags.value(FLAGS.rest_api_enable_cors_support),
    },
    monitoring: readFile(flags, 'monitoring_config_file', problems, NO_MONITORING, (text) => {
      const { monitoring, problems: mistakes } = parseMonitoringConfig(text);
      return { value: monitoring, mistakes };
    }),
    tls: readFile<TlsSettings | null>(flags, 'ssl_config_file', problems, null, (text) => {
      const { tls, problems: mistakes } = parseSslConfig(text);
      return { value: tls, mistakes };
    }),
    maxConcurrentStreams: channel.get('grpc.max_concurrent_streams') ?? 0,
    healthService: flags.value(FLAGS.enable_grpc_healthcheck_service),
    serializeAsTensorContent: flags.value(FLAGS.enable_serialization_as_tensor_content),
    warmUp: flags.value(FLAGS.enable_model_warmup),
    warmUpIterations: flags.value(FLAGS.num_request_iterations_for_warmup),
    perModelBatching: flags.value(FLAGS.enable_per_model_batching_parameters),
    requireManifest: flags.value(FLAGS.require_manifest),
    allowLabelsForUnavailable: flags.value(FLAGS.allow_version_labels_for_unavailable_models),
    configPollMs: flags.value(FLAGS.model_config_file_poll_wait_seconds) * 1000,
  };
}

function readBatching(flags: ParsedFlags, problems: string[]): BatchingOptions {
  const enabled = flags.value(FLAGS.enable_batching);
  const maxBatchSize = enabled ? flags.value(FLAGS.max_batch_size) : UNBATCHED_MAX_ROWS;
  const adaptive = readAdaptiveBatching(flags, maxBatchSize, enabled);
  const waits = flags.given('batch_timeout_micros') || !adaptive.adaptive;
  const batching: BatchingOptions = {
    ...adaptive,
    maxBatchSize,
    batchTimeoutMicros: enabled ? (waits ? flags.value(FLAGS.batch_timeout_micros) : ADAPTIVE_WAIT_MICROS) : 0,
    maxEnqueuedBatches: flags.value(FLAGS.max_enqueued_batches),
    allowedBatchSizes: enabled ? flags.value(FLAGS.allowed_batch_sizes) : [],
    place: flags.value(FLAGS.batching_place),
    threads: flags.value(FLAGS.num_batch_threads),
    executionTimeoutMs: flags.value(FLAGS.execution_timeout_ms),
  };
  readContradictions(flags, enabled, problems);
  if (flags.value(FLAGS.batching_parameters_file) !== '') return readBatchingFile(flags, batching, problems);
  for (const problem of batchingOptionsProblems(batching)) problems.push(`batching: ${problem}`);
  return batching;
}

/** Flags that mean nothing where batching is off; the switches among them when they are on. */
const BATCHING_ONLY = [
  'max_batch_size',
  'batch_timeout_micros',
  'allowed_batch_sizes',
  'pad_variable_length_inputs',
  'enable_large_batch_splitting',
  'max_execution_batch_size',
  'enable_per_model_batching_parameters',
] as const;

/** Flags beside others that take their meaning away. */
function readContradictions(flags: ParsedFlags, enabled: boolean, problems: string[]): void {
  for (const name of enabled ? [] : BATCHING_ONLY) {
    const isOff = flags.value(FLAGS[name] as Flag<unknown>) === false;
    if (flags.given(name) && !isOff) problems.push(`--${name}: cannot be combined with --enable_batching=false`);
  }
  const splits = flags.value(FLAGS.enable_large_batch_splitting);
  if (enabled && !splits && flags.value(FLAGS.max_execution_batch_size) > 0) {
    problems.push('--max_execution_batch_size: needs --enable_large_batch_splitting');
  }
  if (flags.value(FLAGS.batching_place) === 'front' && flags.value(FLAGS.num_batch_threads) > 1) {
    problems.push('--num_batch_threads: cannot be combined with --batching_place=front, which is one thread');
  }
}

/** Flags that say what a file of batching parameters says. */
const FILE_COVERS = [
  'max_batch_size',
  'batch_timeout_micros',
  'max_enqueued_batches',
  'num_batch_threads',
  'allowed_batch_sizes',
  'pad_variable_length_inputs',
  'enable_large_batch_splitting',
  'max_execution_batch_size',
];

function readBatchingFile(flags: ParsedFlags, base: BatchingOptions, problems: string[]): BatchingOptions {
  if (!flags.value(FLAGS.enable_batching)) {
    problems.push('--batching_parameters_file: cannot be combined with --enable_batching=false');
  }
  for (const name of FILE_COVERS) {
    if (flags.given(name))
      problems.push(`--${name}: cannot be combined with --batching_parameters_file, which says it`);
  }
  return readFile(flags, 'batching_parameters_file', problems, base, (text) => {
    const { options, problems: mistakes } = readBatchingOptions(text, base);
    return { value: options, mistakes };
  });
}

type FileFlag = 'batching_parameters_file' | 'monitoring_config_file' | 'ssl_config_file';

/** The value of the file a flag names; `fallback` where it names none, or one with mistakes. */
function readFile<T>(
  flags: ParsedFlags,
  flag: FileFlag,
  problems: string[],
  fallback: T,
  parse: (text: string) => { value: T; mistakes: readonly string[] },
): T {
  const path = flags.value(FLAGS[flag]);
  if (path === '') return fallback;
  try {
    const { value, mistakes } = parse(readFileSync(path, 'utf8'));
    for (const mistake of mistakes) problems.push(`--${flag}: ${path}: ${mistake}`);
    return mistakes.length > 0 ? fallback : value;
  } catch (error) {
    problems.push(`--${flag}: ${(error as Error).message}`);
    return fallback;
  }
}
