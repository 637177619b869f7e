/**
 * What a command line and its environment add up to: the isolation groups with their models and addresses, and how each
 * process serves. Everything is checked before anything is refused. The result is plain data, fit to be sent to another
 * process.
 */
import { readFileSync } from 'node:fs';
import { IGNORED_FLAGS, isKnownChannelArgument } from './drop-in-flags.ts';
import { type ParsedFlags, parseFlags } from './flags.ts';
import type { ModelConfig } from './repository/managed-model.ts';
import { parseModelConfigFile } from './repository/model-config-file.ts';
import { LATEST_ONE } from './repository/version-policy.ts';
import { readServing, type ServingSettings } from './serving-settings.ts';
import { divideIntoGroups, type GroupSettings, type ListenAddress } from './supervision/isolation-groups.ts';
import { FLAG_TABLE, FLAGS } from './worker-flags.ts';

export interface WorkerSettings {
  readonly groups: readonly GroupSettings[];
  readonly serving: ServingSettings;
  /** Port of the metrics server; 0 any free one, -1 none. */
  readonly metricsPort: number;
  /** What was given and does not count, for the log. */
  readonly notes: readonly string[];
}

export type { ServingSettings };

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
  const notes = readNotes(flags);
  const serving = readServing(flags, problems);
  const models = readModels(flags, problems, notes);
  const groups = readGroups(flags, models, problems);
  readPorts(flags, groups, serving, problems);
  if (problems.length > 0) return { kind: 'mistakes', problems };
  return { kind: 'settings', settings: { groups, serving, metricsPort: flags.value(FLAGS.metrics_port), notes } };
}

/** Flags that were given and have no effect, or none of their own. */
function readNotes(flags: ParsedFlags): string[] {
  const notes: string[] = [];
  for (const { name } of IGNORED_FLAGS) if (flags.given(name)) notes.push(`--${name} has no effect here`);
  for (const { name } of flags.value(FLAGS.grpc_channel_arguments)) {
    if (!isKnownChannelArgument(name)) notes.push(`--grpc_channel_arguments: ${name} has no effect here`);
  }
  const polled = flags.value(FLAGS.model_config_file_poll_wait_seconds) > 0;
  if (polled && flags.value(FLAGS.model_config_file) === '') {
    notes.push('--model_config_file_poll_wait_seconds has no effect without --model_config_file');
  }
  return notes;
}

/** What is served at start, and which of it came from the configuration file. */
interface ConfiguredModels {
  readonly models: readonly ModelConfig[];
  readonly fileModels: ReadonlySet<string>;
}

function readModels(flags: ParsedFlags, problems: string[], notes: string[]): ConfiguredModels {
  const defaultPolicy = flags.value(FLAGS.version_policy) ?? LATEST_ONE;
  const models: ModelConfig[] = [];
  for (const request of flags.values(FLAGS.model)) {
    if (request !== null) models.push({ ...request, policy: request.policy ?? defaultPolicy, labels: new Map() });
  }
  const basePath = flags.value(FLAGS.model_base_path);
  const configFile = flags.value(FLAGS.model_config_file);
  if (configFile !== '') {
    // The usual container image always gives both, so TensorFlow Serving lets the file win.
    for (const name of ['model_name', 'model_base_path']) {
      if (flags.given(name)) notes.push(`--${name} does not count beside --model_config_file`);
    }
  } else if (basePath !== '') {
    models.push({ name: flags.value(FLAGS.model_name), basePath, policy: defaultPolicy, labels: new Map() });
  } else if (flags.given('model_name')) {
    problems.push('--model_name: needs --model_base_path');
  }
  const fromFile = configFile === '' ? [] : readConfigFile(configFile, problems);
  models.push(...fromFile);
  if (models.length === 0 && flags.value(FLAGS.model_repository) === '' && problems.length === 0) {
    problems.push('no model: give --model_base_path, --model, --model_repository or --model_config_file');
  }
  const names = new Set<string>();
  for (const { name } of models) {
    if (names.has(name)) problems.push(`model ${name} is configured twice`);
    names.add(name);
  }
  return { models, fileModels: new Set(fromFile.map(({ name }) => name)) };
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

function readGroups(flags: ParsedFlags, configured: ConfiguredModels, problems: string[]): GroupSettings[] {
  const requests = flags.values(FLAGS.group).filter((request) => request !== null);
  if (requests.length > 0) {
    for (const name of ['port', 'grpc_socket_path', 'rest_api_port']) {
      if (flags.given(name)) problems.push(`--${name}: each --group has an address of its own`);
    }
  }
  const { groups, problems: mistakes } = divideIntoGroups({
    requests,
    ...configured,
    configFile: flags.value(FLAGS.model_config_file),
    directory: flags.value(FLAGS.model_repository),
    directoryPolicy: flags.value(FLAGS.version_policy) ?? LATEST_ONE,
    host: flags.value(FLAGS.host),
    addresses: defaultAddresses(flags),
    restAddresses: defaultRestAddresses(flags),
  });
  problems.push(...mistakes);
  return groups;
}

/** One port has one owner, and TLS a port to be on. */
function readPorts(
  flags: ParsedFlags,
  groups: readonly GroupSettings[],
  serving: ServingSettings,
  problems: string[],
): void {
  const metricsPort = flags.value(FLAGS.metrics_port);
  const isTaken = ({ addresses, restAddresses }: GroupSettings): boolean =>
    [...addresses, ...restAddresses].some((address) => address.kind === 'tcp' && address.port === metricsPort);
  if (metricsPort > 0 && groups.some(isTaken)) {
    problems.push(`--metrics_port: expected a port of its own, ${metricsPort} is that of an API`);
  }
  const hasTcp = groups.some(({ addresses }) => addresses.some(({ kind }) => kind === 'tcp'));
  if (serving.tls !== null && groups.length > 0 && !hasTcp) {
    problems.push('--ssl_config_file: needs a gRPC port, Unix sockets have no TLS');
  }
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

/**
 * Where the HTTP APIs listen besides. The default port is for those who start the worker as they started
 * tensorflow_model_server; whoever asks for no fixed gRPC port gets no fixed HTTP port either. The gRPC port answers HTTP
 * as well, so naming the same port twice is no contradiction.
 */
function defaultRestAddresses(flags: ParsedFlags): ListenAddress[] {
  const grpcPort = flags.value(FLAGS.port);
  const port = flags.given('rest_api_port') || grpcPort !== 0 ? flags.value(FLAGS.rest_api_port) : 0;
  return port === 0 || port === grpcPort ? [] : [{ kind: 'tcp', host: flags.value(FLAGS.host), port }];
}
