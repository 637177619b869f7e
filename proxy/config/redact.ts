/** The configuration as it runs, fit to be shown: secrets are hidden by the schema, unknown variables left out. */

import { DOCUMENT_SCHEMA } from './document-fields.ts';
import type { DocumentNode } from './document-schema.ts';
import type { EnvironmentVariables } from './env.ts';
import type { Field } from './field.ts';
import { formatProblem, HIDDEN } from './problem.ts';
import { PROCESS_FIELDS, type ProcessField } from './process-fields.ts';
import { MODEL_PREFIX, SHORTHAND_FIELDS } from './shorthand-fields.ts';
import type { MeshSnapshot } from './snapshot.ts';
import type { ConfigSource } from './source.ts';

export interface ShownSetting {
  /** As written; the default where nothing is; null for unset; `(hidden)` for a secret that is set. */
  readonly value: string | null;
  readonly source: 'environment' | 'default';
}

export interface ShownConfiguration {
  readonly revision: number;
  readonly settings: Readonly<Record<string, ShownSetting>>;
  readonly models: Readonly<Record<string, string>>;
  readonly document: unknown;
  readonly mesh: MeshSnapshot;
  /** Mistakes of the newest edit if it was refused. */
  readonly refused: readonly string[];
}

/** Everything `/config` shows. */
export function describeConfiguration(
  source: Pick<ConfigSource, 'current' | 'refused' | 'variables'>,
): ShownConfiguration {
  const { document, mesh } = source.current;
  return {
    revision: mesh.revision,
    settings: describeSettings(source.variables),
    models: describeShorthands(source.variables),
    document: hideSecrets(DOCUMENT_SCHEMA, document),
    mesh,
    refused: source.refused.map(formatProblem),
  };
}

/** Every process setting by its environment name. */
export function describeSettings(
  env: EnvironmentVariables,
  fields: Readonly<Record<string, ProcessField>> = PROCESS_FIELDS,
): Readonly<Record<string, ShownSetting>> {
  const shown: Record<string, ShownSetting> = {};
  for (const field of Object.values(fields)) {
    const written = env[field.environment]?.trim();
    shown[field.environment] = written
      ? { value: showText(field, written), source: 'environment' }
      : { value: field.default, source: 'default' };
  }
  return shown;
}

/** A document's value with the values of secret fields replaced. Follows the schema, so nothing unknown gets through. */
export function hideSecrets(node: DocumentNode, value: unknown): unknown {
  if (value === null || value === undefined) return null;
  switch (node.node) {
    case 'scalar':
      return node.secret === true ? HIDDEN : value;
    case 'object': {
      const object = value as Record<string, unknown>;
      const keys = Object.keys(node.fields);
      return Object.fromEntries(keys.map((key) => [key, hideSecrets(node.fields[key]!, object[key])]));
    }
    case 'list':
      return (value as readonly unknown[]).map((item) => hideSecrets(node.item, item));
    case 'map':
      return value;
  }
}

function describeShorthands(env: EnvironmentVariables): Readonly<Record<string, string>> {
  const suffixes = Object.values(SHORTHAND_FIELDS).map((field) => `_${field.suffix}`);
  const names = Object.keys(env).filter(
    (name) => name.startsWith(MODEL_PREFIX) && suffixes.some((suffix) => name.endsWith(suffix)) && env[name]?.trim(),
  );
  return Object.fromEntries(names.sort().map((name) => [name, env[name]!.trim()]));
}

function showText(field: Field, text: string): string {
  return field.secret === true ? HIDDEN : text;
}
