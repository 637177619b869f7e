/**
 * Owns taking the rules away so that nothing is lost on the way: first the jumps, so that new connections go where they
 * meant to; then, once no redirected connection is open any more, everything else.
 *
 * The wait matters because the kernel tracks connections in a network namespace only while some rule needs it to. When
 * the last REDIRECT rule goes, address translation stops, and a connection that was redirected breaks in mid-stream. The
 * chains left without jumps cost nothing and touch no traffic, and a later remove or install picks them up.
 */
import {
  applyText,
  type Backend,
  type Family,
  findBackends,
  isPermissionFailure,
  readTable,
} from './intercept-backend.ts';
import { type ChangeReport, countRedirected, type Machine, removeInboundSource } from './intercept-machine.ts';
import type { InterceptOptions } from './intercept-options.ts';
import { detachedRuleSetOf, EMPTY_RULE_SET, planChange } from './intercept-rules.ts';
import { createdChains, MARKER_LOOPBACK, markersOf, NAT_CHAINS, type NatTable } from './intercept-tables.ts';
import { deleteEmptyNat } from './nft-netlink.ts';

/** How often open connections are counted while waiting for them. */
const RECOUNT_INTERVAL_MS = 100;

/** One family of one kind of iptables that holds something of ours. */
interface Holding {
  readonly backend: Backend;
  readonly family: Family;
  readonly table: NatTable;
}

/** Takes away everything of ours, in both kinds of iptables and both families, whatever options installed it. */
export async function removeRules(
  options: Pick<InterceptOptions, 'openConnections' | 'drainMs'>,
  machine: Machine,
): Promise<ChangeReport> {
  const found = findHoldings(machine);
  if (typeof found === 'string') return { outcome: 'unavailable', notes: [found] };
  if (found.length === 0) return { outcome: 'unchanged', notes: ['no rules of ours were there'] };
  const notes: string[] = [];
  if (options.openConnections === 'keep') {
    for (const holding of found) {
      if (holding.table.jumps.length > 0) notes.push(...change(machine, holding, 'detached'));
    }
    await waitForConnections(machine, found, options.drainMs);
  }
  if (notes.length > 0) return { outcome: 'failed', notes };
  let outcome: ChangeReport['outcome'] = 'changed';
  for (const holding of found) {
    const { backend, family, table } = holding;
    const open = options.openConnections === 'keep' ? countRedirected(machine, family, table) : 0;
    if (open > 0) {
      if (outcome === 'changed') outcome = 'detached';
      notes.push(
        `IPv${family} (${backend.kind}): out of the way, but kept while connections are open (${open}); remove again later`,
      );
      continue;
    }
    const failures = change(machine, holding, 'gone');
    if (failures.length > 0) outcome = 'failed';
    else failures.push(`IPv${family} (${backend.kind}): rules removed`);
    notes.push(...failures);
    if (backend.kind === 'nft') notes.push(...removeCreatedTable(family, table));
    if (table.ownChains.includes(MARKER_LOOPBACK)) removeInboundSource(machine);
  }
  return { outcome, notes };
}

/** Everything of ours on this machine, or a sentence about why it cannot be known. */
function findHoldings(machine: Machine): Holding[] | string {
  const backends = findBackends(machine.run);
  if (backends.length === 0) return 'iptables is not installed';
  const holdings: Holding[] = [];
  for (const backend of backends) {
    for (const family of [4, 6] as const) {
      const { table, failure } = readTable(machine.run, backend, family);
      // A family or kind that the kernel lacks holds nothing of ours; one that we may not read is another matter.
      if (failure !== null && isPermissionFailure(failure))
        return `${failure}; removing rules needs root with NET_ADMIN`;
      if (table !== null && table.ownChains.length > 0) holdings.push({ backend, family, table });
    }
  }
  return holdings;
}

/** Takes the jumps away, or everything. Returns the failure, if any, as a list. */
function change(machine: Machine, { backend, family, table }: Holding, to: 'detached' | 'gone'): string[] {
  // Read again: the jumps may be gone by now.
  const now = readTable(machine.run, backend, family).table ?? table;
  const text =
    to === 'gone' ? planChange(EMPTY_RULE_SET, [], now) : planChange(detachedRuleSetOf(now), markersOf(now), now);
  const failure = text === null ? null : applyText(machine.run, backend, family, text, 'apply');
  return failure === null ? [] : [failure];
}

async function waitForConnections(machine: Machine, holdings: readonly Holding[], drainMs: number): Promise<void> {
  const deadlineMs = machine.nowMs() + drainMs;
  while (holdings.some(({ family, table }) => countRedirected(machine, family, table) > 0)) {
    const leftMs = deadlineMs - machine.nowMs();
    if (leftMs <= 0) return;
    await machine.waitMs(Math.min(RECOUNT_INTERVAL_MS, leftMs));
  }
}

/** Deletes the built-in chains, and with all of them the table, that install created and that nobody else uses now. */
export function removeCreatedTable(family: Family, before: NatTable): string[] {
  const created = createdChains(before);
  if (created.length === 0) return [];
  const failure = deleteEmptyNat(family, created, created.length === NAT_CHAINS.length);
  return failure === null ? [] : [`IPv${family}: an empty nat table stays, for ${failure}`];
}
