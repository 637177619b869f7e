/**
 * Owns the change of rules on this machine: install, remove, and going back when half of a change fails. Reads what is
 * there, lets `intercept-rules.ts` plan the text, checks both families before touching either, then applies.
 */
import { readFileSync } from 'node:fs';
import { INBOUND_SOURCE_V6 } from '../listener/inbound-source.ts';
import type { CommandRunner } from './command-runner.ts';
import {
  applyText,
  type Backend,
  chooseBackend,
  type Family,
  failureOf,
  findBackends,
  isPermissionFailure,
  readTable,
} from './intercept-backend.ts';
import type { InterceptOptions } from './intercept-options.ts';
import { buildRuleSet, interceptsInbound, planChange, type RuleSet, ruleSetOf } from './intercept-rules.ts';
import {
  createdChains,
  creationMarker,
  MARKER_LOOPBACK,
  MARKER_PREFIX,
  NAT_CHAINS,
  type NatTable,
} from './intercept-tables.ts';
import { deleteEmptyNat } from './nft-netlink.ts';

/** What a change came to: done, nothing to do, not possible on this machine, or failed half-way and taken back. */
export interface ChangeReport {
  readonly outcome: 'changed' | 'unchanged' | 'unavailable' | 'failed';
  /** Sentences for a person, in the order things happened. */
  readonly notes: readonly string[];
}

/** The machine as this file needs it; tests hand in another one. */
export interface Machine {
  readonly run: CommandRunner;
  /** Text of a file under /proc, '' when it does not exist. */
  readonly readProc: (path: string) => string;
}

export const systemMachine = (run: CommandRunner): Machine => ({
  run,
  readProc: (path) => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return '';
    }
  },
});

const EMPTY: RuleSet = { chains: [], rules: [], jumps: [] };
const LOOPBACK_V6_HEX = '00000000000000000000000000000006';

interface PlannedFamily {
  readonly family: Family;
  readonly before: NatTable;
  readonly text: string | null;
}

/** Brings the rules to what the options say. Installing the same options again changes nothing. */
export function installRules(options: InterceptOptions, machine: Machine): ChangeReport {
  const backends = findBackends(machine.run);
  const chosen = chooseBackend(options.backend, backends, (backend, family) => readTable(machine.run, backend, family));
  if ('failure' in chosen) return refusal(chosen.failure);
  const notes: string[] = [];
  const planned: PlannedFamily[] = [];
  for (const family of wantedFamilies(options, machine)) {
    const reading = readTable(machine.run, chosen, family);
    if (reading.table === null) return refusal(reading.failure);
    const markers = markersFor(options, chosen, family, reading.table, machine);
    planned.push({
      family,
      before: reading.table,
      text: planChange(buildRuleSet(options, family), markers, reading.table),
    });
  }
  const failure = applyAll(machine, chosen, planned);
  if (failure !== null) return refusal(failure);
  for (const { family, text } of planned) {
    notes.push(`IPv${family} (${chosen.kind}): ${text === null ? 'already as wanted' : 'rules in place'}`);
  }
  if (planned.some(({ family }) => family === 6) && interceptsInbound(options))
    notes.push(...addLoopbackSource(machine));
  return { outcome: planned.every(({ text }) => text === null) ? 'unchanged' : 'changed', notes };
}

/** Takes everything of ours away, in both kinds of iptables and both families, whatever options installed it. */
export function removeRules(machine: Machine): ChangeReport {
  const backends = findBackends(machine.run);
  if (backends.length === 0) return refusal('iptables is not installed');
  const notes: string[] = [];
  let failed = false;
  for (const backend of backends) {
    for (const family of [4, 6] as const) {
      const reading = readTable(machine.run, backend, family);
      if (reading.table === null) {
        // A family or kind that the kernel lacks holds nothing of ours; one that we may not read is another matter.
        if (isPermissionFailure(reading.failure)) return refusal(reading.failure);
        continue;
      }
      const text = planChange(EMPTY, [], reading.table);
      if (text === null) continue;
      const failure = applyText(machine.run, backend, family, text, 'apply');
      if (failure !== null) {
        failed = true;
        notes.push(failure);
        continue;
      }
      notes.push(`IPv${family} (${backend.kind}): rules removed`);
      if (backend.kind === 'nft') notes.push(...removeCreatedTable(machine, family, reading.table));
      if (reading.table.ownChains.includes(MARKER_LOOPBACK)) removeLoopbackSource(machine);
    }
  }
  if (notes.length === 0) return { outcome: 'unchanged', notes: ['no rules of ours were there'] };
  return { outcome: failed ? 'failed' : 'changed', notes };
}

/** Families to work on: with auto, IPv6 only where the kernel has it switched on somewhere. */
function wantedFamilies(options: InterceptOptions, machine: Machine): readonly Family[] {
  if (options.families === '4') return [4];
  if (options.families === '6') return [6];
  return options.families === 'both' || machine.readProc('/proc/net/if_inet6') !== '' ? [4, 6] : [4];
}

/** Notes to leave in the table: those already there, and what this install is about to create. */
function markersFor(
  options: InterceptOptions,
  backend: Backend,
  family: Family,
  table: NatTable,
  machine: Machine,
): string[] {
  const markers = table.ownChains.filter((chain) => chain.startsWith(MARKER_PREFIX));
  const creation = backend.kind === 'nft' && table.ownChains.length === 0 ? creationMarker(table) : null;
  if (creation !== null) markers.push(creation);
  const needsSource = family === 6 && interceptsInbound(options) && !hasLoopbackSource(machine);
  if (needsSource && !markers.includes(MARKER_LOOPBACK)) markers.push(MARKER_LOOPBACK);
  return markers;
}

/** Checks every family, then applies every family; a failure takes back what was applied. */
function applyAll(machine: Machine, backend: Backend, planned: readonly PlannedFamily[]): string | null {
  for (const { family, text } of planned) {
    const failure = text === null ? null : applyText(machine.run, backend, family, text, 'test');
    if (failure !== null) return failure;
  }
  const applied: PlannedFamily[] = [];
  for (const plan of planned) {
    const failure = plan.text === null ? null : applyText(machine.run, backend, plan.family, plan.text, 'apply');
    if (failure === null) {
      applied.push(plan);
      continue;
    }
    const left = applied.flatMap((done) => takeBack(machine, backend, done) ?? []);
    return left.length === 0 ? `${failure}; the other family was taken back` : `${failure}; ${left.join('; ')}`;
  }
  return null;
}

function takeBack(machine: Machine, backend: Backend, done: PlannedFamily): string | null {
  const reading = readTable(machine.run, backend, done.family);
  if (reading.table === null) return `taking IPv${done.family} back failed: ${reading.failure}`;
  const markers = done.before.ownChains.filter((chain) => chain.startsWith(MARKER_PREFIX));
  const text = planChange(ruleSetOf(done.before), markers, reading.table);
  const failure = text === null ? null : applyText(machine.run, backend, done.family, text, 'apply');
  if (failure !== null) return `taking IPv${done.family} back failed: ${failure}`;
  if (backend.kind === 'nft' && done.before.ownChains.length === 0)
    removeCreatedTable(machine, done.family, reading.table);
  return null;
}

/**
 * Deletes the built-in chains, and with all of them the table, that install created and nobody uses. While connections
 * that were redirected are still open they stay: deleting the last nat chain would take the kernel's address translation
 * away from under them.
 */
function removeCreatedTable(machine: Machine, family: Family, before: NatTable): string[] {
  const created = createdChains(before);
  if (created.length === 0) return [];
  const open = openRedirected(machine, before);
  if (open > 0) return [`IPv${family}: an empty nat table stays, for ${open} redirected connections still use it`];
  const failure = deleteEmptyNat(family, created, created.length === NAT_CHAINS.length);
  return failure === null ? [] : [`IPv${family}: an empty nat table stays, for ${failure}`];
}

/** Established connections of this network namespace on a port that our rules redirect to. */
function openRedirected(machine: Machine, table: NatTable): number {
  const ports = new Set<number>();
  for (const rule of table.ownRules) {
    const port = / --to-ports (\d+)/.exec(rule)?.[1];
    if (port !== undefined) ports.add(Number(port));
  }
  let open = 0;
  for (const path of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of machine.readProc(path).split('\n').slice(1)) {
      const [, local, , state] = line.trim().split(/\s+/);
      const port = Number.parseInt(local?.split(':')[1] ?? '', 16);
      // 01 is ESTABLISHED; 04 to 06 and 08 to 0B are closing but may still carry bytes, 06 (TIME_WAIT) carries none.
      if (ports.has(port) && state !== '0A' && state !== '06' && state !== '07') open++;
    }
  }
  return open;
}

function hasLoopbackSource(machine: Machine): boolean {
  return machine.readProc('/proc/net/if_inet6').includes(LOOPBACK_V6_HEX);
}

function addLoopbackSource(machine: Machine): string[] {
  if (hasLoopbackSource(machine)) return [];
  const result = machine.run('ip', ['-6', 'addr', 'add', `${INBOUND_SOURCE_V6}/128`, 'dev', 'lo', 'nodad']);
  if (result.status === 0) return [`IPv6: ${INBOUND_SOURCE_V6} added to lo, the source of inbound deliveries`];
  return [`IPv6: inbound deliveries cannot use ${INBOUND_SOURCE_V6}: ${failureOf('ip', result)}`];
}

function removeLoopbackSource(machine: Machine): void {
  machine.run('ip', ['-6', 'addr', 'del', `${INBOUND_SOURCE_V6}/128`, 'dev', 'lo']);
}

function refusal(failure: string): ChangeReport {
  if (isPermissionFailure(failure)) {
    return { outcome: 'unavailable', notes: [failure, 'interception rules need root with NET_ADMIN and NET_RAW'] };
  }
  return { outcome: failure.includes('is not installed') ? 'unavailable' : 'failed', notes: [failure] };
}
