/** The document on a real disk: the kubelet's symlink swap, editors, bad edits, and files that go away. */

import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Logger } from '../../base/logger.ts';
import { NameAllocator } from '../../proxy/config/allocation.ts';
import { ConfigError } from '../../proxy/config/problem.ts';
import { ConfigSource, type Configuration } from '../../proxy/config/source.ts';
import { DEFAULT_WATCH, type WatchOptions } from '../../proxy/config/watched-file.ts';

/** An edit must be in force within this. */
const IN_FORCE_MS = 2000;

const version = (number: number) => `models:\n  - name: m\n    split:\n      - model: m@${number}\n`;

function runningVersion({ current }: ConfigSource): string {
  return current.mesh.clusters[current.mesh.models[0]!.split[0]!.cluster]!.version;
}

/** Waits for a condition, at most `IN_FORCE_MS`; returns how long it took, NaN when it never came. */
async function until(condition: () => boolean): Promise<number> {
  const startedMs = performance.now();
  while (!condition()) {
    if (performance.now() - startedMs > IN_FORCE_MS) return Number.NaN;
    await delay(5);
  }
  return performance.now() - startedMs;
}

interface Rig {
  readonly source: ConfigSource;
  readonly published: Configuration[];
  readonly log: string[];
}

function open(test: Test, path: string, watch: WatchOptions = DEFAULT_WATCH, env: Record<string, string> = {}): Rig {
  const published: Configuration[] = [];
  const log: string[] = [];
  const source = ConfigSource.open({
    env: { UNDERSTUDY_CONFIG_FILE: path, ...env },
    allocate: new NameAllocator().allocate,
    log: new Logger('info', {}, (line) => log.push(line)),
    onChange: (configuration) => published.push(configuration),
    watch,
  });
  source.start();
  test.teardown(() => source.close());
  return { source, published, log };
}

function scratch(test: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-config-'));
  test.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Writes a ConfigMap volume as the kubelet does: a new directory, a new link, and the link renamed over the old one. */
function project(volume: string, stamp: string, text: string): void {
  mkdirSync(join(volume, `..${stamp}`));
  writeFileSync(join(volume, `..${stamp}`, 'mesh.yaml'), text);
  symlinkSync(`..${stamp}`, join(volume, '..data_tmp'));
  renameSync(join(volume, '..data_tmp'), join(volume, '..data'));
}

t.test("the kubelet's symlink swap is in force within 2 s, time after time", async (t) => {
  const volume = scratch(t);
  project(volume, 'a', version(1));
  symlinkSync(join('..data', 'mesh.yaml'), join(volume, 'mesh.yaml'));
  const { source, published } = open(t, join(volume, 'mesh.yaml'));
  t.equal(runningVersion(source), '1');
  for (let i = 2; i <= 4; i++) {
    project(volume, `stamp-${i}`, version(i));
    rmSync(join(volume, i === 2 ? '..a' : `..stamp-${i - 1}`), { recursive: true });
    const tookMs = await until(() => runningVersion(source) === `${i}`);
    t.ok(tookMs < IN_FORCE_MS, `version ${i} in force after ${tookMs.toFixed(0)} ms`);
  }
  t.same(
    published.map(({ mesh }) => mesh.revision),
    [2, 3, 4],
  );
});

t.test('the looks alone are enough where the directory gives no notice', async (t) => {
  const volume = scratch(t);
  const link = join(scratch(t), 'elsewhere.yaml');
  project(volume, 'a', version(1));
  // The link's own directory never changes, so nothing is noticed there.
  symlinkSync(join(volume, '..data', 'mesh.yaml'), link);
  const { source } = open(t, link);
  project(volume, 'b', version(2));
  t.ok((await until(() => runningVersion(source) === '2')) < IN_FORCE_MS);
});

t.test(
  'a bad edit is refused with all its mistakes while the last good one runs, and a good one recovers',
  async (t) => {
    const path = join(scratch(t), 'mesh.yaml');
    writeFileSync(path, version(1));
    const { source, published, log } = open(t, path);
    const before = source.current;
    writeFileSync(path, 'models:\n  - name: m\n    splt: []\n    shadows: [{cluster: gone}]\n    fallback: [{}]\n');
    t.ok((await until(() => source.refused.length > 0)) < IN_FORCE_MS);
    t.equal(source.current, before);
    t.same(published, []);
    const refusal = JSON.parse(log.at(-1)!);
    t.match(refusal, { level: 'error', event: 'config_refused', path, runningRevision: 1 });
    t.match(refusal.mistakes.join('\n'), /models\[0\]\.splt \(line 3\).*did you mean split/);
    t.match(refusal.mistakes.join('\n'), /models\[0\]\.shadows\[0\]\.cluster/);
    t.match(refusal.mistakes.join('\n'), /models\[0\]\.fallback\[0\]/);
    writeFileSync(path, version(2));
    t.ok((await until(() => runningVersion(source) === '2')) < IN_FORCE_MS);
    t.same(source.refused, []);
    t.equal(source.current.mesh.revision, 2, 'a refused edit uses no revision');
    t.equal(published.length, 1);
    t.same(source.loads, { applied: 2, unchanged: 0, refused: 1, unreadable: 0 });
  },
);

t.test('an edit that names a model of the environment is refused', async (t) => {
  const path = join(scratch(t), 'mesh.yaml');
  writeFileSync(path, '{}');
  const { source } = open(t, path, DEFAULT_WATCH, { UNDERSTUDY_MODEL_M_PRIMARY: 'm@1' });
  writeFileSync(path, version(2));
  t.ok((await until(() => source.refused.length > 0)) < IN_FORCE_MS);
  t.match(source.refused[0]!.hint, 'UNDERSTUDY_MODEL_M_PRIMARY');
  t.equal(runningVersion(source), '1');
});

t.test('a deleted file changes nothing, is told once, and is taken up again when it returns', async (t) => {
  const path = join(scratch(t), 'mesh.yaml');
  writeFileSync(path, version(1));
  const { source, log } = open(t, path, { pollMs: 20, settleMs: 10, maxWaitMs: 100 });
  unlinkSync(path);
  t.ok((await until(() => log.length > 0)) < IN_FORCE_MS);
  await delay(100);
  t.equal(runningVersion(source), '1');
  t.equal(log.length, 1);
  t.match(log[0], /config_file_unreadable.*ENOENT/);
  t.equal(source.loads.unreadable, 1);
  writeFileSync(path, version(2));
  t.ok((await until(() => runningVersion(source) === '2')) < IN_FORCE_MS);
});

t.test('an editor that renames a new file into place is followed, without a false alarm', async (t) => {
  const path = join(scratch(t), 'mesh.yaml');
  writeFileSync(path, version(1));
  const { source, log } = open(t, path);
  for (let i = 2; i <= 3; i++) {
    renameSync(path, `${path}~`);
    writeFileSync(`${path}.new`, version(i));
    renameSync(`${path}.new`, path);
    t.ok((await until(() => runningVersion(source) === `${i}`)) < IN_FORCE_MS);
  }
  t.same(
    log.map((line) => JSON.parse(line).event),
    ['config_applied', 'config_applied'],
  );
});

t.test('a writer that truncates and writes in pieces is not caught half way', async (t) => {
  const path = join(scratch(t), 'mesh.yaml');
  const models = (count: number) =>
    Array.from({ length: count }, (_, i) => `  - {name: m${i}, split: [{model: m${i}@1}]}\n`);
  writeFileSync(path, `models:\n${models(2).join('')}`);
  const { published, log } = open(t, path);
  writeFileSync(path, 'models:\n');
  for (const line of models(5)) {
    writeFileSync(path, line, { flag: 'a' });
    await delay(10);
  }
  t.ok((await until(() => published.length > 0)) < IN_FORCE_MS);
  t.equal(published[0]!.mesh.models.length, 5);
  t.equal(log.length, 1);
});

t.test('an edit of the same length in the same instant as a reading is still seen', async (t) => {
  const path = join(scratch(t), 'mesh.yaml');
  writeFileSync(path, version(1));
  const { source } = open(t, path, { pollMs: 30, settleMs: 5, maxWaitMs: 50 });
  for (let i = 2; i <= 9; i++) {
    writeFileSync(path, version(i));
    t.ok((await until(() => runningVersion(source) === `${i}`)) < IN_FORCE_MS);
    writeFileSync(path, version(0));
    t.ok((await until(() => runningVersion(source) === '0')) < IN_FORCE_MS);
  }
});

t.test('an edit that says the same publishes nothing', async (t) => {
  const path = join(scratch(t), 'mesh.yaml');
  writeFileSync(path, version(1));
  const { source, published, log } = open(t, path);
  writeFileSync(path, `# a comment\n${version(1)}`);
  t.ok((await until(() => log.length > 0)) < IN_FORCE_MS);
  t.match(log[0], 'config_unchanged');
  t.equal(source.loads.unchanged, 1);
  t.same(published, []);
  t.equal(source.current.mesh.revision, 1);
});

t.test('what replaces the file must be a file of bounded size', async (t) => {
  const directory = scratch(t);
  const path = join(directory, 'mesh.yaml');
  writeFileSync(path, version(1));
  const { source, log } = open(t, path, { pollMs: 20, settleMs: 10, maxWaitMs: 50 });
  unlinkSync(path);
  mkdirSync(path);
  t.ok((await until(() => log.length > 0)) < IN_FORCE_MS);
  rmSync(path, { recursive: true });
  writeFileSync(path, Buffer.alloc(1_048_577, 0x20));
  await delay(100);
  t.equal(runningVersion(source), '1');
  writeFileSync(path, version(3));
  t.ok((await until(() => runningVersion(source) === '3')) < IN_FORCE_MS);
});

t.test('the first configuration must be good: environment and file are reported in one error', async (t) => {
  const path = join(scratch(t), 'mesh.yaml');
  writeFileSync(path, 'models: [{name: m}]');
  try {
    open(t, path, DEFAULT_WATCH, { UNDERSTUDY_CONCURRENCY: '0' });
    t.fail('accepted');
  } catch (error) {
    t.ok(error instanceof ConfigError);
    t.same(
      (error as ConfigError).problems.map((problem) => problem.path),
      ['UNDERSTUDY_CONCURRENCY', 'models[0].split'],
    );
  }
  t.throws(() => open(t, `${path}.gone`), /UNDERSTUDY_CONFIG_FILE.*ENOENT/);
});

t.test('closing ends the watch', async (t) => {
  const path = join(scratch(t), 'mesh.yaml');
  writeFileSync(path, version(1));
  const { source, published } = open(t, path, { pollMs: 10, settleMs: 5, maxWaitMs: 20 });
  source.close();
  writeFileSync(path, version(2));
  await delay(60);
  t.same(published, []);
});
