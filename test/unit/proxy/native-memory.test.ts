/** Trimming of native memory, with glibc where there is one and without koffi. */
import { readFileSync } from 'node:fs';
import { mock } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { cleanMappings, NativeMemory } from '../../../proxy/native-memory.ts';

const EXECUTABLE = process.execPath;
/** Two mappings that can be read again, between others that cannot. */
const SMAPS = [
  `00400000-00500000 r--p 00000000 08:01 77    ${EXECUTABLE}`,
  'Rss: 900 kB',
  'Private_Dirty:         0 kB',
  `00500000-00700000 r-xp 00100000 08:01 77    ${EXECUTABLE}`,
  'Private_Dirty:         0 kB',
  'Anonymous:             0 kB',
  `00700000-00800000 r--p 00300000 08:01 77    ${EXECUTABLE}`,
  'Private_Dirty:         4 kB',
  `00800000-00900000 rw-p 00400000 08:01 77    ${EXECUTABLE}`,
  'Private_Dirty:         0 kB',
  '00900000-00a00000 r-xp 00000000 08:01 78    /usr/lib/libother.so',
  'Private_Dirty:         0 kB',
  '7ffe0000-7fff0000 r-xp 00000000 00:00 0     [vdso]',
  '',
].join('\n');

/** A koffi whose libc counts what is asked of it. */
function countingKoffi(): {
  load: () => unknown;
  trims: () => number;
  settings: number[][];
  released: (readonly [bigint, bigint, number])[];
} {
  let trims = 0;
  const released: (readonly [bigint, bigint, number])[] = [];
  const settings: number[][] = [];
  const trim = Object.assign(() => 1, {
    async: (_keep: number, done: () => void) => {
      trims++;
      done();
    },
  });
  const mallopt = (name: number, value: number) => settings.push([name, value]);
  const madvise = (start: bigint, bytes: bigint, advice: number) => released.push([start, bytes, advice]);
  const named = (signature: string) => (signature.includes('malloc_trim') ? trim : mallopt);
  const libc = { func: (signature: string) => (signature.includes('madvise') ? madvise : named(signature)) };
  return { load: () => ({ load: () => libc }), trims: () => trims, settings, released };
}

t.test('the threshold is held, and trims come at growing distances until it stops', async (test) => {
  const koffi = countingKoffi();
  mock.timers.enable({ apis: ['setTimeout'] });
  test.teardown(() => mock.timers.reset());
  const memory = new NativeMemory(koffi.load, () => SMAPS);
  test.same(koffi.settings, [
    [-1, 131_072],
    [-3, 262_144],
  ]);
  memory.start();
  const at: number[] = [];
  for (let ms = 0; ms < 200_000; ms += 100) {
    const before = koffi.trims();
    mock.timers.tick(100);
    if (koffi.trims() > before) at.push(ms + 100);
  }
  test.same(at.slice(0, 3), [500, 1500, 3500]);
  test.ok(at.length >= 8, `${at}`);
  test.equal(at.at(-1)! - at.at(-2)!, 60_000);
  memory.stop();
  const before = koffi.trims();
  mock.timers.tick(500_000);
  test.equal(koffi.trims(), before);
});

t.test('pages of the executable that nobody changed are given back with each trim, and no others', async (test) => {
  test.same(cleanMappings(SMAPS, EXECUTABLE), [
    { start: 0x400000n, end: 0x500000n },
    { start: 0x500000n, end: 0x700000n },
  ]);
  test.same(cleanMappings('', EXECUTABLE), []);
  const koffi = countingKoffi();
  mock.timers.enable({ apis: ['setTimeout'] });
  test.teardown(() => mock.timers.reset());
  const memory = new NativeMemory(koffi.load, () => SMAPS);
  memory.start();
  mock.timers.tick(500);
  memory.stop();
  const DONTNEED = 4;
  test.same(koffi.released, [
    [0x400000n, 0x100000n, DONTNEED],
    [0x500000n, 0x200000n, DONTNEED],
  ]);
});

t.test('without koffi nothing happens', async (test) => {
  const memory = new NativeMemory(() => {
    throw new Error('no koffi');
  });
  test.notOk(memory.supported);
  memory.start();
  memory.stop();
});

t.test('the libc of this system is asked as it wants to be', { skip: process.platform !== 'linux' }, async (test) => {
  const resident = () => Number(/^RssFile:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))![1]);
  const before = resident();
  const memory = new NativeMemory();
  test.ok(memory.supported);
  memory.start();
  test.teardown(() => memory.stop());
  for (let waited = 0; resident() > before * 0.8 && waited < 10_000; waited += 50) await sleep(50);
  test.ok(resident() <= before * 0.8, `${before} KiB of files resident before, ${resident()} after`);
  test.equal(Math.sqrt(JSON.parse('16')), 4, 'the program goes on');
});
