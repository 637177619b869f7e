/**
 * What the proxy's threads load before they need it. A module of Node's or a package that is imported for a rare path
 * costs every sidecar its memory for life, so the heavy ones are loaded where they are used.
 */
import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import t from 'tap';

const ROOT = join(import.meta.dirname, '../..');
const THREADS = ['proxy/run-proxy.ts', 'proxy/data-thread.ts', 'proxy/mirror/analysis-thread.ts'];
/** MiB in a thread that loads them, measured with Node 26. */
const HEAVY: Readonly<Record<string, number>> = {
  'node:http': 15,
  'node:https': 15,
  'node:http2': 15,
  'node:tls': 5,
  'node:crypto': 3,
  'node:sqlite': 2,
  undici: 15,
  'prom-client': 8,
  yaml: 4,
};
/** A statement that imports or exports values; `import type` and `export type` vanish, `import { type A }` alone too. */
const STATIC_IMPORT = /^(?:import|export)\s+(?!type\b)(?:([^'";]*?)\s+from\s+)?'([^']+)'/gm;

/** Modules that `file` loads with itself. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const found: string[] = [];
  for (const [, names, from] of text.matchAll(STATIC_IMPORT)) {
    const list = /^\{([\s\S]*)\}$/.exec(names?.trim() ?? '');
    const items = (list?.[1] ?? '').split(',').filter((name) => name.trim() !== '');
    const onlyTypes = items.length > 0 && items.every((name) => name.trim().startsWith('type '));
    if (!onlyTypes) found.push(from!);
  }
  return found;
}

/** Everything that is loaded with `entry`, and by which way. */
function loadedWith(entry: string): Map<string, string[]> {
  const ways = new Map<string, string[]>([[entry, [entry]]]);
  const todo = [entry];
  for (let file = todo.pop(); file !== undefined; file = todo.pop()) {
    for (const from of importsOf(file)) {
      const target = from.startsWith('.') ? relative(ROOT, join(ROOT, dirname(file), from)) : from;
      if (ways.has(target)) continue;
      ways.set(target, [...ways.get(file)!, target]);
      if (from.startsWith('.') && target.endsWith('.ts')) todo.push(target);
    }
  }
  return ways;
}

for (const entry of THREADS) {
  t.test(`${entry} loads nothing heavy before it is needed`, async (test) => {
    const ways = loadedWith(entry);
    test.ok(ways.size > 20, 'the walk found its way');
    for (const name of Object.keys(HEAVY)) {
      test.notOk(ways.has(name), `${name} (${HEAVY[name]} MiB): ${ways.get(name)?.join(' > ')}`);
    }
  });
}

t.test('the walk tells imports of values from those of types', async (test) => {
  const thread = loadedWith('proxy/data-thread.ts');
  test.ok(thread.has('node:net'));
  test.ok(thread.has('proxy/request/data-plane.ts'));
  test.notOk(thread.has('proxy/config/document.ts'));
});
