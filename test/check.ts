/** Types, lint and format: what a machine can hold. `--fix` writes what can be fixed. */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';

const root = dirname(import.meta.dirname);
const bin = (name: string) => join(root, 'node_modules', '.bin', name);
const fix = process.argv.includes('--fix');

const steps: [string, string[]][] = [
  ['tsc', ['--noEmit', '-p', '.']],
  ['biome', ['check', '--error-on-warnings', ...(fix ? ['--write'] : []), '.']],
];
let failed = false;
for (const [name, args] of steps) {
  const result = spawnSync(bin(name), args, { cwd: root, stdio: 'inherit' });
  if (result.status !== 0) failed = true;
  process.stdout.write(`${name}: ${result.status === 0 ? 'clean' : 'see above'}\n`);
}
process.exit(failed ? 1 : 0);
