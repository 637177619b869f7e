/**
 * Gives back to the system what native code has freed. The compilers of V8 use megabytes for moments, each in the arena of
 * its thread, and glibc keeps them: its threshold for giving memory back grows with the largest block freed. So the
 * threshold is held where it was, and the arenas are trimmed while the code warms up and now and then after it.
 *
 * Trimming runs on a thread of libuv's pool (a millisecond at most, for the process). Where there is no glibc or no koffi,
 * nothing happens.
 */
import { createRequire } from 'node:module';

/** glibc's default. */
const TRIM_THRESHOLD_BYTES = 128 * 1024;
const M_TRIM_THRESHOLD = -1;
/** Time to the first trim; each further one waits twice as long, up to the last. */
const FIRST_TRIM_MS = 500;
const LAST_TRIM_MS = 60_000;

export class NativeMemory {
  private readonly trim: ((done: () => void) => void) | null = null;
  private timer: NodeJS.Timeout | null = null;
  private waitMs = FIRST_TRIM_MS;

  /** `load` is for tests, which take koffi away. */
  constructor(load: (name: string) => unknown = createRequire(import.meta.url)) {
    try {
      const libc = (load('koffi') as typeof import('koffi')).load(null);
      const trim = libc.func('int malloc_trim(size_t)');
      libc.func('int mallopt(int, int)')(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES);
      this.trim = (done) => trim.async(0, done);
    } catch {
      // Another libc, or none that can be asked.
    }
  }

  /** Whether this system's memory can be trimmed. */
  get supported(): boolean {
    return this.trim !== null;
  }

  /** Trims now and then from now on. */
  start(): void {
    const { trim } = this;
    if (trim === null) return;
    this.timer = setTimeout(() => {
      this.waitMs = Math.min(this.waitMs * 2, LAST_TRIM_MS);
      trim(() => {
        if (this.timer !== null) this.start();
      });
    }, this.waitMs);
    this.timer.unref();
  }

  stop(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}
