/** Time the calling thread was on a core. */

/** Milliseconds the calling thread has run on a core so far; NaN where Node cannot tell (before 23.9). */
export function threadCpuMs(): number {
  const usage = (process as Partial<Pick<typeof process, 'threadCpuUsage'>>).threadCpuUsage?.();
  return usage === undefined ? Number.NaN : (usage.user + usage.system) / 1000;
}
