/**
 * The document: YAML or JSON text to precise values, by the schema.
 *
 * Reading goes on past mistakes so that one attempt reports all of them, each with its path and line. A value that
 * could not be read is left at its default (or empty where it has none), and whoever checks further asks
 * `ProblemList.covers` before reporting what may only be a consequence.
 */

import { createRequire } from 'node:module';
import type { parseDocument as ParseYaml } from 'yaml';
import { UnitError } from '../../base/units.ts';
import { type ConfigDocument, DOCUMENT_SCHEMA } from './document-fields.ts';
import type { DocumentNode, ListNode, MapNode, NodeValue, ObjectNode, ScalarNode } from './document-schema.ts';
import { defaultOf, expectationOf, parseField } from './field.ts';
import { nearestHint } from './nearest-name.ts';
import { HIDDEN, type ProblemList } from './problem.ts';

/** Loaded with the first document, 4 MiB: most sidecars are configured by variables alone. */
const load = createRequire(import.meta.url);

/** Largest document: a Kubernetes ConfigMap holds no more. */
export const MAX_DOCUMENT_BYTES = 1_048_576;

/** What stands in for a required value that could not be read. */
const UNREADABLE = '';

/** Parses a document; mistakes go to `problems`. Null when the text is not even a mapping. */
export function parseDocument(text: string, problems: ProblemList): ConfigDocument | null {
  if (Buffer.byteLength(text) > MAX_DOCUMENT_BYTES) {
    problems.add('document', undefined, `at most ${MAX_DOCUMENT_BYTES} bytes`);
    return null;
  }
  let root: unknown;
  try {
    root = parseText(text, problems);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    problems.add('document', undefined, 'fewer levels of nesting');
  }
  if (root === undefined) return null;
  if (root === null) {
    // An empty file is more often a write that has not finished than a wish for no models at all.
    problems.add('document', undefined, 'a mapping', 'write {} for a document that says nothing');
    return null;
  }
  if (!(root instanceof Map)) {
    problems.add('document', undefined, 'a mapping', 'such as models: [...]');
    return null;
  }
  return readNode(DOCUMENT_SCHEMA, root, '', problems);
}

/** Reads one node. `value` is what the YAML parser made: Map, array, string, bigint, number, boolean, null, undefined. */
export function readNode<const N extends DocumentNode>(
  node: N,
  value: unknown,
  path: string,
  problems: ProblemList,
): NodeValue<N> {
  const read =
    node.node === 'scalar'
      ? readScalar(node, value, path, problems)
      : node.node === 'object'
        ? readObject(node, value, path, problems)
        : node.node === 'list'
          ? readList(node, value, path, problems)
          : readMap(node, value, path, problems);
  return read as NodeValue<N>;
}

/** Plain values as the YAML parser gives them, undefined where the text is no YAML. */
function parseText(text: string, problems: ProblemList): unknown {
  const { LineCounter, parseDocument: parseYaml } = load('yaml') as typeof import('yaml');
  const lines = new LineCounter();
  const parsed = parseYaml(text, { intAsBigInt: true, prettyErrors: false, lineCounter: lines, logLevel: 'error' });
  problems.lineOf = null;
  for (const fault of [...parsed.errors, ...parsed.warnings]) {
    const { line, col } = lines.linePos(fault.pos[0]);
    problems.add(
      `document (line ${line}, column ${col})`,
      undefined,
      'well-formed YAML or JSON',
      fault.code.toLowerCase(),
    );
  }
  if (parsed.errors.length > 0 || parsed.warnings.length > 0) return undefined;
  problems.lineOf = (path) => {
    const range = deepestRange(parsed, path);
    return range === undefined ? undefined : lines.linePos(range).line;
  };
  try {
    return parsed.toJS({ mapAsMap: true, maxAliasCount: 100 });
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    problems.add('document', undefined, 'at most 100 uses of aliases, each of a known anchor');
    return undefined;
  }
}

/** Where the deepest known node of a path begins; a missing key is shown at its parent. */
function deepestRange(parsed: ReturnType<typeof ParseYaml>, path: string): number | undefined {
  const steps = path.match(/[^.[\]]+/g) ?? [];
  for (let depth = steps.length; depth > 0; depth--) {
    const keys = steps.slice(0, depth).map((step) => (/^\d+$/.test(step) ? Number(step) : step));
    const node = parsed.getIn(keys, true) as { range?: [number, number, number] } | undefined;
    if (node?.range) return node.range[0];
  }
  return undefined;
}

function readScalar(field: ScalarNode, value: unknown, path: string, problems: ProblemList): unknown {
  const missing = value === undefined || value === null;
  const fallback = field.required === true ? UNREADABLE : defaultOf(field);
  if (missing && field.required !== true) return fallback;
  const text = missing ? undefined : scalarText(value);
  try {
    if (text !== undefined) return parseField(field, text);
  } catch (error) {
    if (!(error instanceof UnitError)) throw error;
  }
  const shown = field.secret === true ? HIDDEN : (text ?? (missing ? undefined : describe(value)));
  const hint = field.choices === undefined || text === undefined ? undefined : nearestHint(text, field.choices);
  problems.add(path, shown, expectationOf(field), hint);
  return fallback;
}

function readObject(node: ObjectNode, value: unknown, path: string, problems: ProblemList): unknown {
  const missing = value === undefined || value === null;
  if (missing && node.optional) return null;
  if (!missing && !(value instanceof Map)) problems.add(path, describe(value), 'a mapping');
  const entries: ReadonlyMap<unknown, unknown> = value instanceof Map ? value : new Map();
  for (const key of entries.keys()) {
    if (typeof key === 'string' && Object.hasOwn(node.fields, key)) continue;
    const known = Object.keys(node.fields);
    const hint = nearestHint(String(key), known) ?? `known keys are ${known.join(', ')}`;
    problems.add(join(path, String(key)), undefined, 'a known key', hint);
  }
  const object: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(node.fields)) {
    object[key] = readNode(field, entries.get(key), join(path, key), problems);
  }
  return object;
}

function readList(node: ListNode, value: unknown, path: string, problems: ProblemList): unknown {
  if (value === undefined || value === null) return node.optional ? null : [];
  if (!Array.isArray(value)) {
    problems.add(path, describe(value), 'a list');
    return [];
  }
  if (value.length > node.max) problems.add(path, undefined, `at most ${node.max} items`);
  const items = value.slice(0, node.max).map((item, i) => readNode(node.item, item, `${path}[${i}]`, problems));
  if (node.item.node !== 'scalar') return items;
  // An empty text that was written is a value.
  return items.filter(
    (item, i) => item !== UNREADABLE || ((node.item as ScalarNode).kind === 'text' && value[i] === ''),
  );
}

function readMap(node: MapNode, value: unknown, path: string, problems: ProblemList): Record<string, string> {
  if (value === undefined || value === null) return {};
  if (!(value instanceof Map)) {
    problems.add(path, describe(value), 'a mapping of names');
    return {};
  }
  if (value.size > node.max) problems.add(path, undefined, `at most ${node.max} entries`);
  const entries: [string, string][] = [];
  for (const [key, item] of value) {
    const name = scalarText(key);
    const text = scalarText(item);
    if (name === undefined || text === undefined || text === '' || text.length > 128) {
      problems.add(join(path, name ?? '?'), text, 'text of 1 to 128 characters');
    } else {
      entries.push([name, text]);
    }
  }
  return Object.fromEntries(entries);
}

/** A scalar as its writer would write it; undefined for anything that is not one. */
function scalarText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return typeof value === 'bigint' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : undefined;
}

function describe(value: unknown): string {
  if (value instanceof Map) return 'a mapping';
  return Array.isArray(value) ? 'a list' : String(value);
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}
