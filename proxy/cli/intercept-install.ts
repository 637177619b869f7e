/**
 * Owns putting the rules in place: reads what is there, lets `intercept-rules.ts` plan the text, checks both families
 * before touching either, applies, and takes back what it did when the second family fails.
 */
import {
  applyText,
  type Backend,
  chooseBackend,
  type Family,
  findBackends,
  isPermissionFailure,
  readTable,
} from './intercept-backend.ts';
import { addInboundSource, type ChangeReport, hasInboundSource, hasIpv6, type Machine } from './intercept-machine.ts';
import type { InterceptOptions } from './intercept-options.ts';
import { removeCreatedTable } from './intercept-remove.ts';
import { buildRuleSet, detachedRuleSetOf, interceptsInbound, planChange, ruleSetOf } from './intercept-rules.ts';
import { creationMarker, MARKER_LOOPBACK, markersOf, type NatTable } from './intercept-tables.ts';

interface PlannedFamily {
  readonly family: Family;
  readonly before: NatTable;
  /** Text for iptables-restore, null when the table is already as wanted. */
  readonly text: string | null;
}

/** Brings the rules to what the options say. Installing the same options again changes nothing. */
export function installRules(options: InterceptOptions, machine: Machine): ChangeReport {
  const backends = findBackends(machine.run);
  const chosen = chooseBackend(options.backend, backends, (backend, family) => readTable(machine.run, backend, family));
  if ('failure' in chosen) return refusal(chosen.failure);
  const planned: PlannedFamily[] = [];
  for (const family of wantedFamilies(options, machine)) {
    const reading = readTable(machine.run, chosen, family);
    if (reading.table === null) return refusal(reading.failure);
    const markers = markersFor(options, chosen, family, reading.table, machine);
    const text = planChange(buildRuleSet(options, family), markers, reading.table);
    planned.push({ family, before: reading.table, text });
  }
  const failure = applyAll(machine, chosen, planned);
  if (failure !== null) return refusal(failure);
  const notes = planned.map(
    ({ family, text }) => `IPv${family} (${chosen.kind}): ${text === null ? 'already as wanted' : 'rules in place'}`,
  );
  if (planned.some(({ family }) => family === 6) && interceptsInbound(options))
    notes.push(...addInboundSource(machine));
  const earlier = putEarlierAside(machine, backends, chosen, planned);
  if (earlier.failures.length > 0) return { outcome: 'failed', notes: [...notes, ...earlier.failures] };
  if (earlier.notes.length > 0) return { outcome: 'changed', notes: [...notes, ...earlier.notes] };
  return { outcome: planned.every(({ text }) => text === null) ? 'unchanged' : 'changed', notes };
}

/**
 * Takes the jumps away that an install with other families or the other kind of iptables left, so that what holds is what
 * this one asked for. Only the jumps: open connections need the rest, which the next remove takes.
 */
function putEarlierAside(
  machine: Machine,
  backends: readonly Backend[],
  chosen: Backend,
  planned: readonly PlannedFamily[],
): { readonly notes: readonly string[]; readonly failures: readonly string[] } {
  const notes: string[] = [];
  const failures: string[] = [];
  for (const backend of backends) {
    for (const family of [4, 6] as const) {
      if (backend === chosen && planned.some((plan) => plan.family === family)) continue;
      const { table } = readTable(machine.run, backend, family);
      if (table === null || table.jumps.length === 0) continue;
      const text = planChange(detachedRuleSetOf(table), markersOf(table), table)!;
      const failure = applyText(machine.run, backend, family, text, 'apply');
      if (failure !== null) failures.push(`rules of an earlier install stay: ${failure}`);
      else notes.push(`IPv${family} (${backend.kind}): rules of an earlier install put out of the way`);
    }
  }
  return { notes, failures };
}

/** The report for a change that could not be made. */
export function refusal(failure: string): ChangeReport {
  if (isPermissionFailure(failure)) {
    return { outcome: 'unavailable', notes: [failure, 'interception rules need root with NET_ADMIN and NET_RAW'] };
  }
  return { outcome: failure.includes('is not installed') ? 'unavailable' : 'failed', notes: [failure] };
}

/** Families to work on: with auto, IPv6 only where the kernel has it switched on somewhere. */
function wantedFamilies(options: InterceptOptions, machine: Machine): readonly Family[] {
  if (options.families === '4') return [4];
  if (options.families === '6') return [6];
  return options.families === 'both' || hasIpv6(machine) ? [4, 6] : [4];
}

/** Notes to leave in the table: those already there, and what this install is about to create. */
function markersFor(
  options: InterceptOptions,
  backend: Backend,
  family: Family,
  table: NatTable,
  machine: Machine,
): string[] {
  const markers = [...markersOf(table)];
  const creation = backend.kind === 'nft' && table.ownChains.length === 0 ? creationMarker(table) : null;
  if (creation !== null) markers.push(creation);
  const needsSource = family === 6 && interceptsInbound(options) && !hasInboundSource(machine);
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
    return [failure, ...(left.length === 0 ? ['nothing was changed'] : left)].join('; ');
  }
  return null;
}

/** Returns a family to what it held before. Null when that went well. */
function takeBack(machine: Machine, backend: Backend, done: PlannedFamily): string | null {
  const reading = readTable(machine.run, backend, done.family);
  if (reading.table === null) return `taking IPv${done.family} back failed: ${reading.failure}`;
  const text = planChange(ruleSetOf(done.before), markersOf(done.before), reading.table);
  const failure = text === null ? null : applyText(machine.run, backend, done.family, text, 'apply');
  if (failure !== null) return `taking IPv${done.family} back failed: ${failure}`;
  if (backend.kind === 'nft' && done.before.ownChains.length === 0) removeCreatedTable(done.family, reading.table);
  return null;
}
