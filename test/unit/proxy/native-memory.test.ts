/** Trimming of native memory, with glibc where there is one and without koffi. */
import { mock } from 'node:test';
import t from 'tap';
import { NativeMemory } from '../../../proxy/native-memory.ts';

/** A koffi whose libc counts the trims asked of it. */
function countingKoffi(): { load: () => unknown; trims: () => number; settings: number[][] } {
  let trims = 0;
  const settings: number[][] = [];
  const trim = Object.assign(() => 1, {
    async: (_keep: number, done: () => void) => {
      trims++;
      done();
    },
  });
  const mallopt = (name: number, value: number) => settings.push([name, value]);
  const libc = { func: (signature: string) => (signature.includes('malloc_trim') ? trim : mallopt) };
  return { load: () => ({ load: () => libc }), trims: () => trims, settings };
}

t.test('the threshold is held, and trims come at growing distances until it stops', async (test) => {
  const koffi = countingKoffi();
  mock.timers.enable({ apis: ['setTimeout'] });
  test.teardown(() => mock.timers.reset());
  const memory = new NativeMemory(koffi.load);
  test.same(koffi.settings, [[-1, 131_072]]);
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

t.test('without koffi nothing happens', async (test) => {
  const memory = new NativeMemory(() => {
    throw new Error('no koffi');
  });
  test.notOk(memory.supported);
  memory.start();
  memory.stop();
});

t.test('the libc of this system is asked as it wants to be', { skip: process.platform !== 'linux' }, async (test) => {
  const memory = new NativeMemory();
  test.ok(memory.supported);
});
