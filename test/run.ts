/**
 * Runs the tests through tap and says what happened in few lines: one per file, everything a failing file printed, every
 * test that was skipped and why, and at the end `N passed, N failed`, the counts being tap's own.
 *
 * Arguments are test files or folders; without any, all tests run, two files at a time: they wait more than they compute,
 * and none holds the clock to what a busy machine cannot keep. The soak, which fills the machine, has it to itself.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';

const root = dirname(import.meta.dirname);
const LOG = join(root, '.tap', 'last-run.tap');
const ALONE = /^test\/soak\//;
const JOBS = 2;

interface Totals {
  passed: number;
  failed: number;
  skipped: number;
}

function testFiles(wanted: readonly string[]): string[] {
  const all = globSync('test/**/*.test.ts', { cwd: root }).sort();
  if (wanted.length === 0) return all;
  return all.filter((file) => wanted.some((want) => file === want || file.startsWith(want.replace(/\/?$/, '/'))));
}

const TAP = join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs');
/** Lies in node_modules, so that it goes when they are installed anew. */
const BUILT = join(root, 'node_modules', '.understudy-tap-built');

/** What tap's children find first on their path: the pinned Node and the tools of this project. */
function environment(): NodeJS.ProcessEnv {
  const path = `${dirname(process.execPath)}:${join(root, 'node_modules', '.bin')}:${process.env['PATH'] ?? ''}`;
  return { ...process.env, PATH: path };
}

/** tap is assembled from plugins; those left out in package.json are out only after it has been assembled once. */
function assembleTap(): void {
  if (existsSync(BUILT)) return;
  const result = spawnSync(process.execPath, [TAP, 'build'], { cwd: root, env: environment(), encoding: 'utf8' });
  if (result.status !== 0) {
    process.stderr.write(`tap build failed\n${result.stdout}${result.stderr}`);
    process.exit(1);
  }
  writeFileSync(BUILT, '');
}

/** One tap run; returns its totals. A run that ends without totals counts as one failure. */
async function runTap(files: readonly string[], jobs: number, log: string[]): Promise<Totals> {
  const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
  if (files.length === 0) return totals;
  const child = spawn(process.execPath, [TAP, 'run', `--jobs=${jobs}`, '--reporter=tap', ...files], {
    cwd: root,
    env: environment(),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let counted = false;
  let current: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    log.push(line);
    const count = /^# \{ total: (\d+), pass: (\d+)(?:, fail: (\d+))?(?:, (?:todo|skip): \d+)*/.exec(line);
    if (count !== null) {
      counted = true;
      totals.passed += Number(count[2]);
      totals.failed += Number(count[3] ?? 0);
      continue;
    }
    const skip = /^\s*ok \d+ - (.*?)\s+# SKIP\s*(.*)$/.exec(line);
    if (skip !== null) {
      totals.skipped++;
      process.stdout.write(`  skipped: ${skip[1]} (${skip[2]})\n`);
    }
    current.push(line);
    const file = /^(ok|not ok) \d+ - (\S+\.test\.ts)(.*)$/.exec(line);
    if (file === null) continue;
    if (file[1] === 'not ok') process.stdout.write(`${current.join('\n')}\n`);
    else process.stdout.write(`ok ${file[2]}${file[3]}\n`);
    current = [];
  }
  await new Promise((resolve) => child.once('close', resolve));
  if (current.some((line) => /^\s*not ok/.test(line))) process.stdout.write(`${current.join('\n')}\n`);
  if (!counted) totals.failed++;
  return totals;
}

const files = testFiles(process.argv.slice(2));
if (files.length === 0) {
  process.stderr.write('no test matches\n');
  process.exit(1);
}
assembleTap();
const log: string[] = [];
const together = await runTap(
  files.filter((file) => !ALONE.test(file)),
  JOBS,
  log,
);
const alone = await runTap(
  files.filter((file) => ALONE.test(file)),
  1,
  log,
);
mkdirSync(dirname(LOG), { recursive: true });
writeFileSync(LOG, `${log.join('\n')}\n`);
const passed = together.passed + alone.passed;
const failed = together.failed + alone.failed;
const skipped = together.skipped + alone.skipped;
if (skipped > 0) process.stdout.write(`${skipped} skipped\n`);
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exit(failed > 0 ? 1 : 0);
