/**
 * Who may import whom, as data. Each rule is a folder and the folders it may use; a file's rule is the longest prefix.
 * When a stage needs something it may not import, the remedy is to hand it in through a constructor (see app.ts and
 * data-thread.ts), or to move what is shared down into base or proto.
 */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import t from 'tap';

const ROOT = join(import.meta.dirname, '../..');

/** Composition: the other folders of `proxy/`, and files directly in it, put stages together and may use all of them. */
const STAGES = ['proxy/config', 'proxy/stats'];
const RULES: Readonly<Record<string, readonly string[]>> = {
  base: [],
  proto: ['base'],
  'proxy/config': ['base', 'proto'],
  'proxy/stats': ['base', 'proto'],
  'proxy/listener': ['base', 'proto', ...STAGES],
  'proxy/routing': ['base', 'proto', ...STAGES],
  'proxy/policy': ['base', 'proto', ...STAGES],
  'proxy/adapt': ['base', 'proto', ...STAGES],
  'proxy/degradation': ['base', 'proto', ...STAGES],
  'proxy/upstream': ['base', 'proto', ...STAGES],
  'proxy/discovery': ['base', 'proto', ...STAGES],
  'proxy/mirror': ['base', 'proto', ...STAGES],
  'proxy/pipeline': ['base', 'proto', ...STAGES],
  'proxy/admin': ['base', 'proto', ...STAGES, 'proxy/policy', 'proxy/mirror'],
  'proxy/cli': ['base', ...STAGES, 'proxy/listener', 'proxy/mirror'],
  // The reference of all settings lists the worker's flags, which are data.
  'proxy/cli/reference.ts': [
    'proxy/cli',
    'proxy/config',
    'inference-worker/flags.ts',
    'inference-worker/worker-flags.ts',
  ],
  proxy: ['base', 'proto', 'proxy'],
  'inference-worker': ['base', 'proto'],
  'deploy/demo': ['proto/files.ts'],
  // Admission checks a pod's settings with the readers of the programs that will read them, and runs none of those.
  'deploy/injector': [
    'base',
    'proxy/config',
    'proxy/cli/intercept-flags.ts',
    'proxy/cli/intercept-options.ts',
    'proxy/cli/intercept-ports.ts',
    'inference-worker/settings.ts',
    'inference-worker/worker-flags.ts',
  ],
  // Runs while an image is built, before and without everything it assembles.
  'deploy/image': [],
};

const FILES = globSync('{base,proto,proxy,inference-worker,deploy}/**/*.ts', { cwd: ROOT }).sort();

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const found: Import[] = [];
  for (const match of text.matchAll(/^(?:import|export)\s+(type\s+)?[^'"]*?from\s+['"](\.[^'"]+)['"]/gm)) {
    found.push({ from: file, to: resolve(file, match[2]!), typeOnly: match[1] !== undefined });
  }
  for (const match of text.matchAll(/^import\s+['"](\.[^'"]+)['"]/gm)) {
    found.push({ from: file, to: resolve(file, match[1]!), typeOnly: false });
  }
  return found;
}

function resolve(file: string, specifier: string): string {
  return relative(ROOT, join(ROOT, dirname(file), specifier));
}

function within(file: string, folder: string): boolean {
  return file === folder || file.startsWith(`${folder}/`);
}

function ruleOf(file: string): string | undefined {
  return Object.keys(RULES)
    .filter((folder) => within(file, folder))
    .sort((a, b) => b.length - a.length)[0];
}

const IMPORTS = FILES.flatMap(importsOf);

t.test('every import goes where its folder may look', async (t) => {
  const wrong: string[] = [];
  for (const { from, to } of IMPORTS) {
    const rule = ruleOf(from);
    if (rule === undefined || within(to, rule)) continue;
    if (!RULES[rule]!.some((folder) => within(to, folder))) wrong.push(`${from} imports ${to}, but ${rule} may not`);
  }
  t.same(wrong, []);
});

t.test('every imported file exists and carries its extension', async (t) => {
  t.same(
    IMPORTS.filter(({ to }) => !existsSync(join(ROOT, to))).map(({ from, to }) => `${from} -> ${to}`),
    [],
  );
});

t.test('no cycle of imports that exist at run time', async (t) => {
  const edges = new Map<string, string[]>();
  for (const { from, to, typeOnly } of IMPORTS) {
    if (!typeOnly) edges.set(from, [...(edges.get(from) ?? []), to]);
  }
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: string[]): void => {
    if (done.has(file)) return;
    const at = path.indexOf(file);
    if (at >= 0) {
      cycles.push([...path.slice(at), file].join(' -> '));
      return;
    }
    for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of FILES) visit(file, []);
  t.same(cycles, []);
});

t.test('the test sees the imports it judges', async (t) => {
  // A pattern that stopped matching would make every rule above pass.
  t.ok(IMPORTS.length > 100, `${IMPORTS.length} imports`);
  t.ok(IMPORTS.some(({ from, to }) => from === 'proxy/request/data-plane.ts' && to === 'proxy/mesh.ts'));
});
