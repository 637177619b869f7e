/**
 * The whole configuration as one list: process settings, the models' shorthand, and every field of the document.
 * `understudy config explain` prints it, and whatever else documents the configuration is made from it.
 */

import { DOCUMENT_SCHEMA } from './document-fields.ts';
import type { DocumentNode } from './document-schema.ts';
import { expectationOf, type Field, KIND_RULES } from './field.ts';
import { PROCESS_FIELDS } from './process-fields.ts';
import { MODEL_PREFIX, SHORTHAND_FIELDS } from './shorthand-fields.ts';

export interface SchemaEntry {
  /** `UNDERSTUDY_CONCURRENCY`, `UNDERSTUDY_MODEL_<NAME>_PRIMARY`, or a path such as `models[].split[].weight`. */
  readonly name: string;
  readonly place: 'environment' | 'document';
  readonly type: string;
  /** Units a value may carry, '' where it has none. */
  readonly unit: string;
  /** What is accepted, bounds included. */
  readonly accepts: string;
  /** As written, null when unset or not a single value. */
  readonly default: string | null;
  /** What an unset value means. */
  readonly unset: string | null;
  readonly required: boolean;
  /** Whether a change takes effect without a restart. */
  readonly reloadable: boolean;
  readonly secret: boolean;
  readonly reason: string;
}

/** Every setting, in the order it is best read. */
export function schemaEntries(): readonly SchemaEntry[] {
  return [
    ...Object.values(PROCESS_FIELDS).map((field) => fieldEntry(field, field.environment, 'environment')),
    ...Object.values(SHORTHAND_FIELDS).map((field) =>
      fieldEntry(field, `${MODEL_PREFIX}<NAME>_${field.suffix}`, 'environment'),
    ),
    ...nodeEntries(DOCUMENT_SCHEMA, ''),
  ];
}

function fieldEntry(field: Field, name: string, place: SchemaEntry['place']): SchemaEntry {
  return {
    name,
    place,
    type: field.kind,
    unit: KIND_RULES[field.kind].unit,
    accepts: expectationOf(field),
    default: field.default,
    unset: field.default === null ? (field.unset ?? null) : null,
    required: field.required === true,
    reloadable: field.reloadable,
    secret: field.secret === true,
    reason: field.reason,
  };
}

function nodeEntries(node: DocumentNode, path: string): SchemaEntry[] {
  switch (node.node) {
    case 'scalar':
      return [fieldEntry(node, path, 'document')];
    case 'map':
      return [groupEntry(path, 'mapping', `at most ${node.max} entries of text`, node.reason)];
    case 'list':
      return [
        groupEntry(path, 'list', `at most ${node.max} items`, node.reason),
        ...nodeEntries(node.item, `${path}[]`).filter(
          (entry) => entry.name !== `${path}[]` || entry.type !== 'mapping',
        ),
      ];
    case 'object': {
      const fields = Object.entries(node.fields);
      const children = fields.flatMap(([key, child]) => nodeEntries(child, path === '' ? key : `${path}.${key}`));
      const keys = fields.map(([key]) => key).join(', ');
      return path === '' ? children : [groupEntry(path, 'mapping', `the keys ${keys}`, node.reason), ...children];
    }
  }
}

function groupEntry(name: string, type: string, accepts: string, reason: string): SchemaEntry {
  return {
    name,
    place: 'document',
    type,
    unit: '',
    accepts,
    default: null,
    unset: null,
    required: false,
    reloadable: true,
    secret: false,
    reason,
  };
}
