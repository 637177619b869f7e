/**
 * Gives back to the system what the process holds and does not use. Two things, now and then:
 *
 * - What native code has freed. V8's compilers use megabytes for moments, each in the arena of its thread, and glibc keeps
 *   them: its threshold for giving memory back grows with the largest block freed. So the threshold is held where it was,
 *   and the arenas are trimmed. Large blocks, such as a body that is held, get a mapping of their own and are gone when
 *   they are freed: within an arena, where what is small and stays lies behind them, they leave holes that only another
 *   as large can use.
 * - Pages of the executable that only starting has touched: 30 MiB of the 56 that are resident. The kernel reads them
 *   again from its cache when they are needed, so what serving needs is back within a millisecond.
 *
 * Trimming runs on a thread of libuv's pool. Where there is no glibc, no koffi or no /proc, nothing happens.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** glibc's default. */
const TRIM_THRESHOLD_BYTES = 128 * 1024;
const M_TRIM_THRESHOLD = -1;
/** Smallest block with a mapping of its own. Smaller ones come and go too often for the kernel to clear pages for each. */
const MMAP_THRESHOLD_BYTES = 256 * 1024;
const M_MMAP_THRESHOLD = -3;
const MADV_DONTNEED = 4;
/** Time to the first trim; each further one waits twice as long, up to the last. */
const FIRST_TRIM_MS = 500;
const LAST_TRIM_MS = 60_000;

/** Addresses of memory, end exclusive. */
export interface AddressRange {
  readonly start: bigint;
  readonly end: bigint;
}

/**
 * The mappings of `file` in the text of /proc/PID/smaps that can be read again from it: not writable, and without a page
 * of the process's own (relocated or patched).
 */
export function cleanMappings(smaps: string, file: string): AddressRange[] {
  const found: AddressRange[] = [];
  let current: AddressRange | null = null;
  for (const line of smaps.split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+)\s*(.*)$/.exec(line);
    if (head !== null) {
      const [, start, end, permissions, inode, name] = head;
      const clean = permissions![1] === '-' && permissions![3] === 'p' && inode !== '0' && name === file;
      current = clean ? { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) } : null;
      if (current !== null) found.push(current);
    } else if (current !== null && /^(?:Private_Dirty|Anonymous|Locked):\s+[1-9]/.test(line)) {
      found.pop();
      current = null;
    }
  }
  return found;
}

export class NativeMemory {
  private readonly trim: ((done: () => void) => void) | null = null;
  private readonly release: ((range: AddressRange) => number) | null = null;
  private readonly ranges: readonly AddressRange[] = [];
  private timer: NodeJS.Timeout | null = null;
  private waitMs = FIRST_TRIM_MS;

  /** `load` is for tests, which take koffi away; `smaps` gives the text of the process's mappings. */
  constructor(
    load: (name: string) => unknown = createRequire(import.meta.url),
    smaps: () => string = () => readFileSync('/proc/self/smaps', 'latin1'),
  ) {
    try {
      const libc = (load('koffi') as typeof import('koffi')).load(null);
      const trim = libc.func('int malloc_trim(size_t)');
      const mallopt = libc.func('int mallopt(int, int)');
      mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES);
      mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
      this.trim = (done) => trim.async(0, done);
      const madvise = libc.func('int madvise(uintptr_t, size_t, int)');
      this.ranges = cleanMappings(smaps(), process.execPath);
      this.release = ({ start, end }) => madvise(start, end - start, MADV_DONTNEED) as number;
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
      if (this.release !== null) for (const range of this.ranges) this.release(range);
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
