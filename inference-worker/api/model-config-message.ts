/** Reads and writes `ModelServerConfig` as a message: what ReloadConfig brings and what the running configuration is told in. */

import { MessageBuilder } from '../../proto/tensor/message-builder.ts';
import type { MessageFields } from '../../proto/tensor/message-fields.ts';
import type { ModelConfig } from '../repository/managed-model.ts';
import { MAX_MODELS } from '../repository/reload-rules.ts';
import { LATEST_ONE, type VersionPolicy } from '../repository/version-policy.ts';

const LIST = 1;
const CUSTOM = 2;
const CONFIG = 1;
const Config = { name: 1, basePath: 2, platform: 4, policy: 7, labels: 8 } as const;
const Policy = { latest: 100, all: 101, specific: 102 } as const;

/** The models of a configuration; null where it holds no list of models. @throws WireError */
export function readServerConfig(fields: MessageFields): ModelConfig[] | null {
  let models: ModelConfig[] | null = null;
  while (fields.next()) {
    // A oneof: of two kinds the last counts, two lists are one.
    if (fields.is(CUSTOM)) models = null;
    if (!fields.is(LIST)) continue;
    models ??= [];
    const list = fields.message('ModelConfigList');
    while (list.next()) {
      if (!list.is(CONFIG)) continue;
      if (models.length >= MAX_MODELS) list.fail(`more than ${MAX_MODELS} models`);
      models.push(readModelConfig(list.message('ModelConfig')));
    }
  }
  return models;
}

/** One model's configuration. A name or path that is missing is '', for the caller to refuse. @throws WireError */
export function readModelConfig(fields: MessageFields): ModelConfig {
  let name = '';
  let basePath = '';
  let platform = '';
  let policy: VersionPolicy = LATEST_ONE;
  const labels = new Map<string, bigint>();
  while (fields.next()) {
    if (fields.is(Config.name)) name = fields.text();
    else if (fields.is(Config.basePath)) basePath = fields.text();
    else if (fields.is(Config.platform)) platform = fields.text();
    else if (fields.is(Config.policy)) policy = readPolicy(fields.message('ServableVersionPolicy'), policy);
    else if (fields.is(Config.labels)) readLabel(fields.message('version_labels'), labels);
  }
  const config = { name, basePath, policy, labels };
  return platform === '' ? config : { ...config, platform };
}

function readPolicy(fields: MessageFields, fallback: VersionPolicy): VersionPolicy {
  let policy = fallback;
  while (fields.next()) {
    if (fields.is(Policy.all)) policy = { kind: 'all' };
    else if (fields.is(Policy.latest)) {
      const count = readNumbers(fields.message('Latest')).at(-1) ?? 1n;
      policy = { kind: 'latest', count: Math.max(1, Number(BigInt.asUintN(32, count))) };
    } else if (fields.is(Policy.specific)) {
      policy = { kind: 'specific', versions: [...new Set(readNumbers(fields.message('Specific')))] };
    }
  }
  return policy;
}

function readNumbers(fields: MessageFields): bigint[] {
  const numbers: bigint[] = [];
  while (fields.next()) fields.ints(1, numbers);
  return numbers;
}

function readLabel(fields: MessageFields, labels: Map<string, bigint>): void {
  let label = '';
  let version = 0n;
  while (fields.next()) {
    if (fields.is(1)) label = fields.text();
    else if (fields.isInt(2)) version = fields.int();
  }
  labels.set(label, version);
}

/** A `ModelServerConfig` of these models. */
export function serverConfigMessage(models: readonly ModelConfig[]): MessageBuilder {
  const list = new MessageBuilder();
  for (const model of models) list.message(CONFIG, modelConfigMessage(model));
  return new MessageBuilder().message(LIST, list);
}

function modelConfigMessage({ name, basePath, platform, policy, labels }: ModelConfig): MessageBuilder {
  const message = new MessageBuilder()
    .text(Config.name, name)
    .text(Config.basePath, basePath)
    .text(Config.platform, platform ?? 'onnx')
    .message(Config.policy, policyMessage(policy));
  for (const [label, version] of labels) {
    message.message(Config.labels, new MessageBuilder().text(1, label).int(2, version));
  }
  return message;
}

function policyMessage(policy: VersionPolicy): MessageBuilder {
  const choice = new MessageBuilder();
  if (policy.kind === 'latest') choice.int(1, policy.count);
  if (policy.kind === 'specific') for (const version of policy.versions) choice.int(1, version);
  return new MessageBuilder().message(Policy[policy.kind], choice);
}
