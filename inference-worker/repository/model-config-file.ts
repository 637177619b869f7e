/**
 * Reads a `model_config_file`: TensorFlow Serving's `ModelServerConfig` in protobuf text format. Every mistake is
 * collected with its line; a field that would change what is served and that we do not honour is a mistake, not noise.
 */
import type { ModelConfig } from './managed-model.ts';
import { PLATFORMS } from './reload-rules.ts';
import { parseTextProto, type TextField, type TextMessage, TextProtoError } from './text-proto.ts';
import { LATEST_ONE, parseVersionNumber, type VersionPolicy } from './version-policy.ts';

/** The models of a configuration text; `problems` is empty when it can be used. */
export function parseModelConfigFile(text: string): { models: ModelConfig[]; problems: string[] } {
  const problems: string[] = [];
  const models: ModelConfig[] = [];
  let root: TextMessage;
  try {
    root = parseTextProto(text);
  } catch (error) {
    if (!(error instanceof TextProtoError)) throw error;
    return { models, problems: [error.message] };
  }
  for (const list of messagesOf(root, ['model_config_list'], problems)) {
    for (const config of messagesOf(list, ['config'], problems)) {
      const model = readModel(config, problems);
      if (model !== null) models.push(model);
    }
  }
  return { models, problems };
}

/** Fields that describe where else a model could run or log; they do not change what we serve. */
const IGNORED_FIELDS: readonly string[] = ['model_type', 'logging_config', 'logging_configs'];

function readModel(config: TextMessage, problems: string[]): ModelConfig | null {
  let name = '';
  let basePath = '';
  let platform: string | undefined;
  let policy: VersionPolicy = LATEST_ONE;
  const labels = new Map<string, bigint>();
  for (const field of config.fields) {
    if (field.name === 'name') name = scalar(field, problems);
    else if (field.name === 'base_path') basePath = scalar(field, problems);
    else if (field.name === 'model_platform') platform = readPlatform(field, problems);
    else if (field.name === 'model_version_policy') policy = readPolicy(field, problems) ?? policy;
    else if (field.name === 'version_labels') readLabel(field, labels, problems);
    else if (!IGNORED_FIELDS.includes(field.name)) problems.push(unknown(field, 'a model configuration'));
  }
  if (name === '') problems.push('a model configuration has no name');
  if (basePath === '') problems.push(`model ${name === '' ? '(unnamed)' : name} has no base_path`);
  if (name === '' || basePath === '') return null;
  return platform === undefined ? { name, basePath, policy, labels } : { name, basePath, policy, labels, platform };
}

/** Configurations written for TensorFlow Serving name its platform; the model file decides what we load. */
function readPlatform(field: TextField, problems: string[]): string {
  const platform = scalar(field, problems);
  if (!PLATFORMS.includes(platform)) {
    problems.push(`line ${field.line}: model_platform: expected "onnx" or "tensorflow", got "${platform}"`);
  }
  return platform;
}

function readPolicy(field: TextField, problems: string[]): VersionPolicy | null {
  if (field.value.kind !== 'message') {
    problems.push(`line ${field.line}: ${field.name}: expected { latest, all or specific }`);
    return null;
  }
  let policy: VersionPolicy | null = null;
  for (const choice of field.value.fields) {
    if (choice.value.kind === 'message') {
      if (choice.name === 'all') policy = { kind: 'all' };
      else if (choice.name === 'latest') policy = readLatest(choice.value, problems);
      else if (choice.name === 'specific') policy = readSpecific(choice.value, problems);
      else problems.push(unknown(choice, 'a version policy'));
    } else problems.push(unknown(choice, 'a version policy'));
  }
  return policy;
}

function readLatest(message: TextMessage, problems: string[]): VersionPolicy {
  let count = 1;
  for (const field of message.fields) {
    if (field.name !== 'num_versions') problems.push(unknown(field, 'latest'));
    else count = Number(parseVersionNumber(scalar(field, problems)) ?? 0n);
  }
  if (count < 1 || !Number.isSafeInteger(count)) problems.push('num_versions: expected a whole number of at least 1');
  return { kind: 'latest', count };
}

function readSpecific(message: TextMessage, problems: string[]): VersionPolicy {
  const versions: bigint[] = [];
  for (const field of message.fields) {
    const version = field.name === 'versions' ? parseVersionNumber(scalar(field, problems)) : null;
    if (version !== null) versions.push(version);
    else problems.push(`line ${field.line}: specific: expected "versions: N", N a version number`);
  }
  return { kind: 'specific', versions };
}

function readLabel(field: TextField, labels: Map<string, bigint>, problems: string[]): void {
  let key = '';
  let version: bigint | null = null;
  for (const part of field.value.kind === 'message' ? field.value.fields : []) {
    if (part.name === 'key') key = scalar(part, problems);
    else if (part.name === 'value') version = parseVersionNumber(scalar(part, problems));
    else problems.push(unknown(part, 'version_labels'));
  }
  if (key === '' || version === null)
    problems.push(`line ${field.line}: version_labels: expected { key: "L" value: N }`);
  else labels.set(key, version);
}

function messagesOf(parent: TextMessage, names: readonly string[], problems: string[]): TextMessage[] {
  const found: TextMessage[] = [];
  for (const field of parent.fields) {
    if (names.includes(field.name) && field.value.kind === 'message') found.push(field.value);
    else problems.push(unknown(field, 'this place'));
  }
  return found;
}

function scalar(field: TextField, problems: string[]): string {
  if (field.value.kind === 'scalar') return field.value.text;
  problems.push(`line ${field.line}: ${field.name}: expected a value, got a message`);
  return '';
}

function unknown(field: TextField, where: string): string {
  return `line ${field.line}: ${field.name} is not supported in ${where}`;
}
