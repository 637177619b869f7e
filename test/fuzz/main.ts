/**
 * `npm run fuzz -- [--minutes N] [--factor N] [--seed S] [PATH ...]`: the property tests of the suite, or those whose path
 * contains one of the words given, each searching `factor` times as long as in the suite, in turn and with new seeds until
 * the minutes are over. Ends with 1 when a property did not hold; what it printed, with the seed that shows it, is repeated.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const TESTS = join(import.meta.dirname, '..');
/** A file may take as long as it needs for its factor, within reason: a search that hangs is a finding. */
const FILE_TIMEOUT_MS = 900_000;
/** Words of a failure that are kept. */
const KEPT_OUTPUT = 20_000;

interface Options {
  readonly minutes: number;
  readonly factor: number;
  readonly seed: number;
  readonly words: readonly string[];
}

function options(): Options {
  const { values, positionals } = parseArgs({
    options: { minutes: { type: 'string' }, factor: { type: 'string' }, seed: { type: 'string' } },
    allowPositionals: true,
  });
  const number = (name: 'minutes' | 'factor' | 'seed', fallback: number): number => {
    const value = Number(values[name] ?? fallback);
    if (!(value >= 0) || (name !== 'seed' && value === 0)) throw new Error(`--${name} takes a number above 0`);
    return value;
  };
  return {
    minutes: number('minutes', 10),
    factor: number('factor', 20),
    seed: number('seed', Math.floor(Math.random() * 1_000_000)),
    words: positionals,
  };
}

/** Test files that search as long as they are told to, by path. */
function searchers(words: readonly string[]): string[] {
  return readdirSync(TESTS, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts'))
    .filter((path) => words.length === 0 || words.some((word) => path.includes(word)))
    .filter((path) => readFileSync(join(TESTS, path), 'utf8').includes('/fuzz-runs.ts'))
    .sort();
}

/** Runs one file; resolves with what it printed if it failed, with '' otherwise. */
function search(path: string, factor: number, seed: number): Promise<string> {
  const child = spawn(process.execPath, [join(TESTS, path)], {
    env: {
      ...process.env,
      UNDERSTUDY_FUZZ_FACTOR: String(factor),
      UNDERSTUDY_FUZZ_SEED: String(seed),
      TAP_TIMEOUT: String(FILE_TIMEOUT_MS / 1000),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: FILE_TIMEOUT_MS,
  });
  let output = '';
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-KEPT_OUTPUT);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  return new Promise((resolve) => {
    child.on('close', (code) => resolve(code === 0 ? '' : output || `ended with ${code}`));
  });
}

let wanted: Options;
try {
  wanted = options();
} catch (error) {
  process.stderr.write(`fuzz: ${(error as Error).message}\n`);
  process.exit(2);
}
const files = searchers(wanted.words);
if (files.length === 0) {
  process.stderr.write(`fuzz: no property tests in a path with ${wanted.words.join(' or ')}\n`);
  process.exit(2);
}
const end = Date.now() + wanted.minutes * 60_000;
const failures = new Map<string, string>();
let searches = 0;
while (Date.now() < end) {
  const round = Math.floor(searches / files.length);
  const path = files[searches % files.length]!;
  const seed = wanted.seed + round;
  const started = Date.now();
  const failure = await search(path, wanted.factor, seed);
  searches++;
  process.stderr.write(
    `${failure === '' ? 'ok' : 'FAILED'} ${path} x${wanted.factor} seed ${seed}, ${Math.round((Date.now() - started) / 1000)} s\n`,
  );
  if (failure !== '') failures.set(`${path} (seed ${seed})`, failure);
}
for (const [name, output] of failures) process.stdout.write(`\n${name}:\n${output}\n`);
process.stdout.write(
  `${searches} searches of ${files.length} files, factor ${wanted.factor}: ${failures.size} failed\n`,
);
process.exit(failures.size === 0 ? 0 : 1);
