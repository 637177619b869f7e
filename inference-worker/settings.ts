/**
 * What a command line and its environment add up to: the isolation groups with their models and addresses, and how each
 * process serves. Everything is checked before anything is refused. The result is plain data, fit to be sent to another
 * process.
 */
import { readFileSync } from 'node:fs';
import type { LogLevel } from '../base/logger.ts';
import { type BatchingOptions, batchingOptionsProblems } from './batching/batching-options.ts';
import { ADAPTIVE_WAIT_MICROS, readAdaptiveBatching, readExecution } from './execution-flags.ts';
import { type ParsedFlags, parseFlags } from './flags.ts';
import type { ModelConfig } from './repository/managed-model.ts';
import { parseModelConfigFile } from './repository/model-config-file.ts';
import { LATEST_ONE } from './repository/version-policy.ts';
import type { ExecutionSettings } from './session/provider-options.ts';
import { divideIntoGroups, type GroupSettings, type ListenAddress } from './supervision/isolation-groups.ts';
import { FLAG_TABLE, FLAGS } from './worker-flags.ts';

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
}

export interface WorkerSettings {
  readonly groups: readonly GroupSettings[];
  readonly serving: ServingSettings;
  /** Port of the metrics server; 0 any free one, -1 none. */
  readonly metricsPort: number;
}

export type SettingsResult =
  | { readonly kind: 'settings'; readonly settings: WorkerSettings }
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  | { readonly kind: 'mistakes'; readonly problems: readonly string[] };

/** The settings of a command line and its environment, or every mistake in them. Reads `model_config_file` if named. */
export function readSettings(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): SettingsResult {
  const flags = parseFlags(FLAG_TABLE, argv, env);
  if (flags.value(FLAGS.help)) return { kind: 'help' };
  if (flags.value(FLAGS.version)) return { kind: 'version' };
  const problems = [...flags.problems];
  const serving = readServing(flags, problems);
  for (const problem of batchingOptionsProblems(serving.batching)) problems.push(`batching: ${problem}`);
  const models = readModels(flags, problems);
  const groups = readGroups(flags, models, problems);
  if (problems.length > 0) return { kind: 'mistakes', problems };
  return { kind: 'settings', settings: { groups, serving, metricsPort: flags.value(FLAGS.metrics_port) } };
}

/** Rows of one request when batching is off: TensorFlow Serving's own default. */
const UNBATCHED_MAX_ROWS = 1000;

function readServing(flags: ParsedFlags, problems: string[]): ServingSettings {
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
  return {
    batching,
    execution: readExecution(flags, problems),
    pollMs: flags.value(FLAGS.file_system_poll_wait_seconds) * 1000,
    maxLoadRetries: flags.value(FLAGS.max_num_load_retries),
    loadRetryMs: flags.value(FLAGS.load_retry_interval_micros) / 1000,
    maxMessageBytes: flags.value(FLAGS.grpc_max_message_bytes),
    socketMode: Number.parseInt(flags.value(FLAGS.socket_mode), 8),
    drainMs: flags.value(FLAGS.drain_deadline_ms),
    logLevel: flags.value(FLAGS.log_level),
  };
}

function readModels(flags: ParsedFlags, problems: string[]): ModelConfig[] {
  const defaultPolicy = flags.value(FLAGS.version_policy) ?? LATEST_ONE;
  const models: ModelConfig[] = [];
  for (const request of flags.values(FLAGS.model)) {
    if (request !== null) models.push({ ...request, policy: request.policy ?? defaultPolicy, labels: new Map() });
  }
  const basePath = flags.value(FLAGS.model_base_path);
  const configFile = flags.value(FLAGS.model_config_file);
  if (configFile !== '' && (basePath !== '' || flags.given('model_name'))) {
    problems.push('--model_config_file: cannot be combined with --model_name or --model_base_path');
  } else if (basePath === '' && flags.given('model_name')) {
    problems.push('--model_name: needs --model_base_path');
  }
  if (basePath !== '') {
    models.push({ name: flags.value(FLAGS.model_name), basePath, policy: defaultPolicy, labels: new Map() });
  }
  if (configFile !== '') models.push(...readConfigFile(configFile, problems));
  if (models.length === 0 && flags.value(FLAGS.model_repository) === '' && problems.length === 0) {
    problems.push('no model: give --model_base_path, --model, --model_repository or --model_config_file');
  }
  const names = new Set<string>();
  for (const { name } of models) {
    if (names.has(name)) problems.push(`model ${name} is configured twice`);
    names.add(name);
  }
  return models;
}

function readConfigFile(path: string, problems: string[]): ModelConfig[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    problems.push(`--model_config_file: ${(error as Error).message}`);
    return [];
  }
  const { models, problems: mistakes } = parseModelConfigFile(text);
  for (const mistake of mistakes) problems.push(`${path}: ${mistake}`);
  return models;
}

function readGroups(flags: ParsedFlags, models: readonly ModelConfig[], problems: string[]): GroupSettings[] {
  const requests = flags.values(FLAGS.group).filter((request) => request !== null);
  if (requests.length > 0) {
    for (const name of ['port', 'grpc_socket_path']) {
      if (flags.given(name)) problems.push(`--${name}: each --group has an address of its own`);
    }
  }
  const { groups, problems: mistakes } = divideIntoGroups({
    requests,
    models,
    directory: flags.value(FLAGS.model_repository),
    directoryPolicy: flags.value(FLAGS.version_policy) ?? LATEST_ONE,
    host: flags.value(FLAGS.host),
    addresses: defaultAddresses(flags),
  });
  problems.push(...mistakes);
  return groups;
}

/** Where a single group listens. */
function defaultAddresses(flags: ParsedFlags): ListenAddress[] {
  const addresses: ListenAddress[] = [];
  const path = flags.value(FLAGS.grpc_socket_path);
  const port = flags.value(FLAGS.port);
  if (path !== '') addresses.push({ kind: 'unix', path });
  if (port !== 0 || path === '') addresses.push({ kind: 'tcp', host: flags.value(FLAGS.host), port });
  return addresses;
}
