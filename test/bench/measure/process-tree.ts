/**
 * What a program and its children cost, read from /proc: CPU time and resident memory.
 *
 * CPU time is taken from the process's own stat line, which the kernel sums over all threads, those that have ended
 * included; summing task/<tid>/stat would round each thread down by itself. Resolution is one tick of 10 ms per process.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** Linux reports process times in hundredths of a second to user space on every architecture Node runs on. */
const MICROSECONDS_PER_TICK = 10_000;

/** `pid` and all its descendants that are alive now. */
export function processTree(pid: number): number[] {
  const tree = [pid];
  for (let i = 0; i < tree.length; i++) tree.push(...childrenOf(tree[i]!));
  return tree;
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((tid) =>
      readFileSync(`/proc/${pid}/task/${tid}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

/** User and system time spent so far by `pid` and its descendants, in microseconds. */
export function cpuMicroseconds(pid: number): number {
  let ticks = 0;
  for (const member of processTree(pid)) {
    const fields = statFields(member);
    // utime and stime are fields 14 and 15; `fields` starts at field 3.
    if (fields !== null) ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * MICROSECONDS_PER_TICK;
}

function statFields(pid: number): string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses and may hold anything.
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}

/** Resident set of `pid` and its descendants in MiB. Pages they share count once for each, as `ps` shows them. */
export function residentMiB(pid: number): number {
  let kibibytes = 0;
  for (const member of processTree(pid)) {
    try {
      const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${member}/status`, 'utf8'));
      kibibytes += Number(line?.[1] ?? 0);
    } catch {
      // It ended meanwhile.
    }
  }
  return kibibytes / 1024;
}
