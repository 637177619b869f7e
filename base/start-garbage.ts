/**
 * One thorough collection when a thread has loaded its code: what loading leaves behind, and the young generation grown
 * for it, would otherwise stay resident for as long as the thread does little, 4 to 8 MiB a thread. It takes some 50 ms,
 * so it belongs before the first request.
 */
type Collect = (options: { type: 'major'; flavor: 'last-resort' }) => void;

/** Collects now; does nothing unless V8's flag `--expose-gc` was set before this thread began or, in the first, since. */
export function collectStartGarbage(): void {
  const own = (globalThis as { gc?: Collect }).gc;
  // The flag puts `gc` into contexts made after it: those of new threads, and one made for the asking.
  const collect = own ?? (process.getBuiltinModule('node:vm').runInNewContext('globalThis.gc') as Collect | undefined);
  collect?.({ type: 'major', flavor: 'last-resort' });
}
