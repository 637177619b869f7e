/**
 * Process entry: `node test/bench/profile-summary.ts DIR [COUNT]` prints, for each CPU profile in DIR (one per thread),
 * the functions with most self time. Profiles come from `--cpu-prof` of the benches.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderTable } from './measure/text-table.ts';

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  /** Microseconds since the sample before. */
  readonly timeDeltas: readonly number[];
}

const ROOT = `file://${join(import.meta.dirname, '../..')}/`;
const DEFAULT_COUNT = 40;
/** Threads that did less are left out. */
const LEAST_BUSY_US = 100_000;
/** Pseudo-functions that stand for doing nothing. */
const IDLE = new Set(['(idle)', '(program)', '(root)']);

function summarise(file: string, count: number): void {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as CpuProfile;
  const places = new Map(profile.nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]));
  const selfUs = new Map<string, number>();
  profile.samples.forEach((id, i) => {
    const place = places.get(id) ?? '?';
    selfUs.set(place, (selfUs.get(place) ?? 0) + (profile.timeDeltas[i] ?? 0));
  });
  const sorted = [...selfUs].sort((a, b) => b[1] - a[1]);
  const busyUs = sorted.reduce((sum, [place, us]) => (IDLE.has(place) ? sum : sum + us), 0);
  if (busyUs < LEAST_BUSY_US) return;
  const rows = sorted
    .slice(0, count)
    .map(([place, us]) => [
      '',
      place,
      (us / 1000).toFixed(0),
      IDLE.has(place) ? '' : `${((100 * us) / busyUs).toFixed(1)} %`,
    ]);
  process.stdout.write(`${file}\n${renderTable(['', 'function', 'self ms', 'of busy'], rows)}\n`);
}

function placeOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const name = functionName === '' ? '(anonymous)' : functionName;
  return url === '' ? name : `${name} ${url.replace(ROOT, '')}:${lineNumber + 1}`;
}

const [folder, count] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: profile-summary.ts DIR [COUNT]');
for (const file of readdirSync(folder)
  .filter((name) => name.endsWith('.cpuprofile'))
  .sort()) {
  summarise(join(folder, file), Number(count ?? DEFAULT_COUNT));
}
