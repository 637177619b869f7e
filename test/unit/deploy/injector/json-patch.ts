/** RFC 6902 for tests, written from the RFC and not from the injector: add, remove, replace and test. */
import { isDeepStrictEqual } from 'node:util';

export interface Operation {
  readonly op: string;
  readonly path: string;
  readonly value?: unknown;
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of any shape
type Json = any;

/** A changed copy. Throws where the RFC says that the patch fails. */
export function applyPatch(document: Json, operations: readonly Operation[]): Json {
  const root = { '': structuredClone(document) };
  for (const { op, path, value } of operations) {
    if (path !== '' && !path.startsWith('/')) throw new Error(`${path}: not a JSON pointer`);
    const tokens = path.split('/').map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = tokens.pop()!;
    let parent: Json = root;
    for (const token of tokens) {
      parent = parent[token];
      if (typeof parent !== 'object' || parent === null) throw new Error(`${path}: no such parent`);
    }
    change(parent, last, op, structuredClone(value), path);
  }
  return root[''];
}

function change(parent: Json, key: string, op: string, value: Json, path: string): void {
  const isArray = Array.isArray(parent);
  if (op === 'add' && isArray) {
    const index = key === '-' ? parent.length : Number(key);
    if (!/^(?:-|0|[1-9]\d*)$/.test(key) || index > parent.length) throw new Error(`${path}: no such place in the list`);
    parent.splice(index, 0, value);
    return;
  }
  if (op === 'add') {
    parent[key] = value;
    return;
  }
  if (!Object.hasOwn(parent, key)) throw new Error(`${path}: nothing there`);
  if (op === 'remove' && isArray) parent.splice(Number(key), 1);
  else if (op === 'remove') delete parent[key];
  else if (op === 'replace') parent[key] = value;
  else if (op === 'test' && !isDeepStrictEqual(parent[key], value)) throw new Error(`${path}: not equal`);
  else if (op !== 'test') throw new Error(`${op}: not an operation of this test`);
}
