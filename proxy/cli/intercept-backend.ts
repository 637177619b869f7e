/**
 * Owns the choice of iptables and the talking to it. A machine may have two: `nft`, which writes nf_tables, and `legacy`,
 * which writes the older tables; rules in one are invisible to the other, so the one where rules exist already is used.
 */
import type { CommandResult, CommandRunner } from './command-runner.ts';
import { type NatTable, parseSavedTables } from './intercept-tables.ts';

export type BackendKind = 'nft' | 'legacy';
export type Family = 4 | 6;

/** One installed kind of iptables: its commands by family. */
export interface Backend {
  readonly kind: BackendKind;
  /** The kind that plain `iptables` stands for on this machine. */
  readonly isDefault: boolean;
  readonly save: Readonly<Record<Family, string>>;
  readonly restore: Readonly<Record<Family, string>>;
}

/** Seconds to wait for another writer's lock (legacy only; nft transactions need none). */
const LOCK_WAIT_SECONDS = 5;

/** The kinds installed here, the default first. Empty when there is no iptables at all. */
export function findBackends(run: CommandRunner): readonly Backend[] {
  const plain = run('iptables-save', ['-V']);
  const defaultKind = plain.missing || plain.status !== 0 ? null : kindOf(plain.stdout);
  const found: Backend[] = [];
  for (const kind of ['nft', 'legacy'] as const) {
    const isDefault = kind === defaultKind;
    const named = run(`iptables-${kind}-save`, ['-V']);
    if (!named.missing && named.status === 0) found.push(backendOf(kind, isDefault, `-${kind}`));
    else if (isDefault) found.push(backendOf(kind, true, ''));
  }
  return found.sort((a, b) => Number(b.isDefault) - Number(a.isDefault));
}

function kindOf(version: string): BackendKind {
  return version.includes('nf_tables') ? 'nft' : 'legacy';
}

function backendOf(kind: BackendKind, isDefault: boolean, infix: string): Backend {
  return {
    kind,
    isDefault,
    save: { 4: `iptables${infix}-save`, 6: `ip6tables${infix}-save` },
    restore: { 4: `iptables${infix}-restore`, 6: `ip6tables${infix}-restore` },
  };
}

/** What a family holds, or why it cannot be read. */
export type TableReading =
  | { readonly table: NatTable; readonly failure: null }
  | { readonly table: null; readonly failure: string };

/** Reads all tables of one family. Creates nothing: neither kind of save loads a table that is not there. */
export function readTable(run: CommandRunner, backend: Backend, family: Family): TableReading {
  const result = run(backend.save[family], []);
  if (result.status !== 0) return { table: null, failure: failureOf(backend.save[family], result) };
  return { table: parseSavedTables(result.stdout), failure: null };
}

/** Applies `iptables-restore --noflush` text as one transaction, or only checks it. Null when it went well. */
export function applyText(
  run: CommandRunner,
  backend: Backend,
  family: Family,
  text: string,
  mode: 'test' | 'apply',
): string | null {
  const args = ['--noflush', '-w', `${LOCK_WAIT_SECONDS}`, ...(mode === 'test' ? ['--test'] : [])];
  const result = run(backend.restore[family], args, text);
  return result.status === 0 ? null : failureOf(backend.restore[family], result);
}

/** One line that says which command failed and what it said. */
export function failureOf(command: string, result: CommandResult): string {
  if (result.missing) return `${command} is not installed`;
  const said = result.stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#') && !line.startsWith('Try `'))
    .join('; ');
  return `${command} failed with status ${result.status}${said === '' ? '' : `: ${said}`}`;
}

/** Whether a failure means "you may not", as opposed to "this is wrong". */
export function isPermissionFailure(failure: string): boolean {
  return /permission denied|not permitted|must be root/i.test(failure);
}

/**
 * The kind to use: where rules of ours are, else where more rules of others are, else the default. Kinds whose v4 and v6
 * tables both cannot be read are left out.
 */
export function chooseBackend(
  wanted: 'auto' | BackendKind,
  backends: readonly Backend[],
  read: (backend: Backend, family: Family) => TableReading,
): Backend | { readonly failure: string } {
  let best: Backend | null = null;
  let bestScore = -1;
  const failures: string[] = [];
  for (const backend of backends) {
    if (wanted !== 'auto' && backend.kind !== wanted) continue;
    const readings = [read(backend, 4), read(backend, 6)];
    const tables = readings.flatMap((reading) => reading.table ?? []);
    if (tables.length === 0) {
      failures.push(...readings.flatMap((reading) => reading.failure ?? []));
      continue;
    }
    const own = tables.some((table) => table.ownChains.length > 0);
    const score = (own ? 1e9 : 0) + tables.reduce((sum, table) => sum + table.foreignRuleCount, 0);
    if (score > bestScore) {
      best = backend;
      bestScore = score;
    }
  }
  if (best !== null) return best;
  if (failures.length > 0) return { failure: failures.join('; ') };
  return { failure: wanted === 'auto' ? 'iptables is not installed' : `iptables of kind ${wanted} is not installed` };
}
