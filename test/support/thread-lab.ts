/** A proxy whose data threads can be made to throw, as a bug would make them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { ProxyProgram } from './proxy-program.ts';

const PRELOAD = fileURLToPath(new URL('./crash-on-signal.mjs', import.meta.url));

export class ThreadLab {
  /** Gone with the tests. */
  readonly folder = mkdtempSync(join(tmpdir(), 'understudy-threads-'));
  private readonly victims = join(this.folder, 'victims');

  constructor(t: { teardown(end: () => void): void }) {
    t.teardown(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  /** A proxy of this many data threads. */
  start(test: Test, threads: number, document: object, env: Record<string, string> = {}): Promise<ProxyProgram> {
    this.condemn();
    return ProxyProgram.start(test, {
      nodeArgs: ['--import', PRELOAD],
      env: { UNDERSTUDY_CONCURRENCY: String(threads), UNDERSTUDY_TEST_CRASH: this.victims, ...env },
      document,
    });
  }

  /** Names those that throw at the next signal, `data-N`; with ` at start` behind it, whenever they start. */
  condemn(...names: string[]): void {
    writeFileSync(this.victims, names.join('\n'));
  }

  /** Makes data threads throw; resolves when their successors are ready. */
  async crash(proxy: ProxyProgram, ...threads: number[]): Promise<void> {
    this.condemn(...threads.map((thread) => `data-${thread}`));
    const before = proxy.logged('data_thread_died').length;
    proxy.child.kill('SIGUSR2');
    await proxy.until(() => proxy.logged('data_thread_died').length === before + threads.length, 'deaths');
    await proxy.ready();
  }
}
