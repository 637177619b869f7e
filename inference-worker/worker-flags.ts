/**
 * The worker's flags: one entry each with its form, unit, default and reason. Names and meanings are
 * tensorflow_model_server's where it has the flag; where the default differs, the help says so by stating it.
 */
import type { LogLevel } from '../base/logger.ts';
import { type BatchingOptions, DEFAULT_BATCHING } from './batching/batching-options.ts';
import { DROP_IN_FLAGS, IGNORED_FLAGS, REFUSED_FLAGS } from './drop-in-flags.ts';
import { EXECUTION_FLAGS } from './execution-flags.ts';
import { choiceFlag, type Flag, numberFlag, parsedFlag, switchFlag, textFlag } from './flags.ts';
import { parsePolicyItem, parseVersionPolicy, type VersionPolicy } from './repository/version-policy.ts';
import { type GroupRequest, parseGroup } from './supervision/isolation-groups.ts';

/** A model as a flag names it; `policy` is null where `--version_policy` decides. */
export interface ModelRequest {
  readonly name: string;
  readonly basePath: string;
  readonly policy: VersionPolicy | null;
}

function modelText(text: string): ModelRequest {
  const colon = text.indexOf(':');
  const item = parsePolicyItem(colon < 0 ? '' : text.slice(0, colon));
  const basePath = text.slice(colon + 1);
  if (item === null || basePath === '') {
    throw new Error('NAME[@POLICY]:BASE_PATH, POLICY being latest, latest=N, all or versions like 1+2');
  }
  return { ...item, basePath };
}

function policyText(text: string): VersionPolicy {
  const policy = parseVersionPolicy(text);
  if (policy === null) throw new Error('latest, latest=N, all, or versions like 1+2');
  return policy;
}

function modeText(text: string): string {
  if (!/^0?[0-7]{3}$/.test(text)) throw new Error('three octal digits such as 0660');
  return text;
}

function sizesText(text: string): number[] {
  const sizes = text.split(',').map((part) => (/^\d{1,9}$/.test(part.trim()) ? Number(part) : Number.NaN));
  if (sizes.some(Number.isNaN)) throw new Error('whole numbers joined by commas');
  return sizes;
}

/** Waits are timers, which hold at most 2^31 ms. */
const MAX_WAIT_SECONDS = 2_000_000;
/** The flags by name; `FLAG_TABLE` is the same in a list. */
export const FLAGS = {
  port: numberFlag({
    name: 'port',
    fallback: 8500,
    least: 0,
    most: 65_535,
    help: 'TCP port of the gRPC API. 0 opens none if there is a socket path, else any free port (printed).',
  }),
  host: textFlag({ name: 'host', fallback: '0.0.0.0', help: 'Address the TCP port is bound to.' }),
  grpc_socket_path: textFlag({ name: 'grpc_socket_path', form: '=PATH', help: 'Unix socket of the gRPC API.' }),
  socket_mode: parsedFlag<string>({
    name: 'socket_mode',
    form: '=OCTAL',
    fallback: '0660',
    parse: modeText,
    help: 'Permissions of Unix sockets: a proxy in another container shares the group.',
  }),
  model_name: textFlag({ name: 'model_name', fallback: 'default', help: 'Name of the model at --model_base_path.' }),
  model_base_path: textFlag({
    name: 'model_base_path',
    form: '=DIR',
    help: 'Directory of one model: DIR/VERSION/model.onnx.',
  }),
  model: parsedFlag<ModelRequest | null>({
    name: 'model',
    form: '=NAME[@POLICY]:DIR',
    fallback: null,
    parse: modelText,
    repeated: true,
    help: 'One more model; repeat it for several. POLICY is as in --version_policy.',
  }),
  model_repository: textFlag({
    name: 'model_repository',
    form: '=DIR',
    help: 'Serves every child directory of DIR as a model, as they come and go.',
  }),
  model_config_file: textFlag({
    name: 'model_config_file',
    form: '=FILE',
    help: 'ModelServerConfig in protobuf text format; with it --model_name and --model_base_path do not count.',
  }),
  version_policy: parsedFlag<VersionPolicy | null>({
    name: 'version_policy',
    form: '=latest|latest=N|all|1+2',
    fallback: null,
    parse: policyText,
    help: 'Versions to serve of models that do not say so themselves. Default latest, the highest number alone.',
  }),
  group: parsedFlag<GroupRequest | null>({
    name: 'group',
    form: '=NAME:ADDRESS:MODEL[@POLICY][,MODEL...]',
    fallback: null,
    parse: parseGroup,
    repeated: true,
    help:
      'An isolation group: a process of its own that serves these models at ADDRESS, a Unix socket path or a TCP port. ' +
      'MODEL * takes every model no other group names. Without --group one process serves all at --port.',
  }),
  require_manifest: switchFlag({
    name: 'require_manifest',
    fallback: false,
    help: 'Whether a version without manifest.sha256 is refused; one whose files differ from it always is.',
  }),
  file_system_poll_wait_seconds: numberFlag({
    name: 'file_system_poll_wait_seconds',
    fallback: 1,
    least: -1,
    most: MAX_WAIT_SECONDS,
    help: 'Seconds between looks for new versions. 0 looks once, at start.',
  }),
  max_num_load_retries: numberFlag({
    name: 'max_num_load_retries',
    fallback: 5,
    least: 0,
    most: 1000,
    help: 'Further attempts at a version whose load failed for a reason that may pass.',
  }),
  load_retry_interval_micros: numberFlag({
    name: 'load_retry_interval_micros',
    fallback: 60_000_000,
    least: -1,
    most: MAX_WAIT_SECONDS * 1e6,
    help: 'Microseconds between such attempts; 0 and -1 do not wait.',
  }),
  enable_batching: switchFlag({
    name: 'enable_batching',
    fallback: true,
    help: 'Whether the batching flags below apply; without, only what arrives in one turn of the event loop is joined.',
  }),
  max_batch_size: numberFlag({
    name: 'max_batch_size',
    fallback: 64,
    least: 1,
    most: 1_000_000,
    help: 'Most rows in one batch, and in one request.',
  }),
  batch_timeout_micros: numberFlag({
    name: 'batch_timeout_micros',
    fallback: DEFAULT_BATCHING.batchTimeoutMicros,
    least: 0,
    most: 60_000_000,
    help: 'Longest wait of an idle execution place for a batch to fill, in microseconds.',
  }),
  allowed_batch_sizes: parsedFlag<number[]>({
    name: 'allowed_batch_sizes',
    form: '=N,N,...',
    fallback: [],
    parse: sizesText,
    help: 'Sizes batches are padded up to, increasing, the last equal to --max_batch_size. Any size when not given.',
  }),
  max_enqueued_batches: numberFlag({
    name: 'max_enqueued_batches',
    fallback: DEFAULT_BATCHING.maxEnqueuedBatches,
    least: 1,
    most: 1_000_000,
    help: 'Most batches waiting per queue; above it requests are refused.',
  }),
  batching_place: choiceFlag<BatchingOptions['place']>({
    name: 'batching_place',
    fallback: 'auto',
    choices: ['auto', 'front', 'thread'],
    help: 'Where models run: in the thread that reads requests, in execution threads, or wherever measuring says.',
  }),
  num_batch_threads: numberFlag({
    name: 'num_batch_threads',
    fallback: DEFAULT_BATCHING.threads,
    least: 1,
    most: 256,
    help: 'Execution threads of one version; each holds the model in memory again.',
  }),
  execution_timeout_ms: numberFlag({
    name: 'execution_timeout_ms',
    fallback: DEFAULT_BATCHING.executionTimeoutMs,
    least: 0,
    most: 86_400_000,
    help: 'A batch running longer fails and its process is replaced, in milliseconds; 0 never gives up.',
  }),
  grpc_max_message_bytes: numberFlag({
    name: 'grpc_max_message_bytes',
    fallback: 256 * 1024 * 1024,
    least: 1024,
    most: 1_073_741_824,
    help: 'Longest request message in bytes, inflated size included; longer ones are RESOURCE_EXHAUSTED.',
  }),
  drain_deadline_ms: numberFlag({
    name: 'drain_deadline_ms',
    fallback: 10_000,
    least: 0,
    most: 3_600_000,
    help: 'How long accepted calls may take to finish after SIGTERM, in milliseconds.',
  }),
  log_level: choiceFlag<LogLevel>({
    name: 'log_level',
    fallback: 'info',
    choices: ['debug', 'info', 'warn', 'error', 'silent'],
    help: 'Least severe event written to standard error.',
  }),
  ...DROP_IN_FLAGS,
  ...EXECUTION_FLAGS,
  version: switchFlag({ name: 'version', fallback: false, help: 'Prints the version and exits.' }),
  help: switchFlag({ name: 'help', fallback: false, help: 'Prints this text and exits.' }),
};

export const FLAG_TABLE: readonly Flag<unknown>[] = [
  ...(Object.values(FLAGS) as unknown as Flag<unknown>[]),
  ...REFUSED_FLAGS,
  ...IGNORED_FLAGS,
];
