/**
 * Owns the interception rules themselves, as pure data: options in, `iptables-restore` text out. Nothing here runs.
 *
 * ```
 * PREROUTING ─tcp─▶ UNDERSTUDY_INBOUND ──▶ UNDERSTUDY_IN_REDIRECT ─▶ inbound listener
 * OUTPUT ────tcp─▶ UNDERSTUDY_OUTPUT ─┬──▶ UNDERSTUDY_INBOUND        (the proxy calls its own pod)
 *                                     ├──▶ UNDERSTUDY_IN_REDIRECT    (the probe of `verify`)
 *                                     └──▶ UNDERSTUDY_REDIRECT ────▶ outbound listener
 * ```
 * The order inside UNDERSTUDY_OUTPUT carries the meaning; each step below names the loop or the loss it prevents. A
 * change of rules is one `--noflush` transaction per family: no moment exists with half of them, and rules of others
 * are not touched. A jump already in place stays where it is, so installing twice is installing once.
 */
import { INBOUND_SOURCE_V4, INBOUND_SOURCE_V6 } from '../listener/inbound-source.ts';
import { INBOUND_PROBE_V4, INBOUND_PROBE_V6, PROBE_V4, PROBE_V6 } from '../listener/interception-probe.ts';
import type { Cidr, InterceptOptions } from './intercept-options.ts';
import { multiportGroups, type PortRange, type PortSet } from './intercept-ports.ts';
import { CHAIN_PREFIX, MARKER_PREFIX, type NatTable } from './intercept-tables.ts';

export const INBOUND = `${CHAIN_PREFIX}INBOUND`;
export const IN_REDIRECT = `${CHAIN_PREFIX}IN_REDIRECT`;
export const OUTPUT = `${CHAIN_PREFIX}OUTPUT`;
export const REDIRECT = `${CHAIN_PREFIX}REDIRECT`;

/** The rules of one address family. Lines begin with `-A `, in the spelling that `iptables-save` gives back. */
export interface RuleSet {
  readonly chains: readonly string[];
  readonly rules: readonly string[];
  /** The two lines in the built-in chains through which traffic reaches ours. */
  readonly jumps: readonly string[];
}

/** Nothing of ours. */
export const EMPTY_RULE_SET: RuleSet = { chains: [], rules: [], jumps: [] };

const PREROUTING_JUMP = `-A PREROUTING -p tcp -j ${INBOUND}`;
const OUTPUT_JUMP = `-A OUTPUT -p tcp -j ${OUTPUT}`;
/**
 * A SYN. The first nat rule of a namespace switches its connection tracking on, which then takes the next packet of every
 * open connection for the first of a new one; redirected, that packet would meet a proxy that knows nothing of it, and the
 * connection would be reset.
 */
const NEW_CONNECTION = '-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN';

/** Whether any inbound port is to be intercepted. */
export function interceptsInbound(options: InterceptOptions): boolean {
  return options.inboundPorts === 'all' || options.inboundPorts.length > 0;
}

function interceptsOutbound(options: InterceptOptions): boolean {
  return options.outboundPorts === 'all' || options.outboundPorts.length > 0;
}

/** The rules that the options ask for in one family. */
export function buildRuleSet(options: InterceptOptions, family: 4 | 6): RuleSet {
  const chains: string[] = [];
  const rules: string[] = [];
  const jumps: string[] = [];
  if (interceptsInbound(options)) {
    chains.push(INBOUND, IN_REDIRECT);
    jumps.push(PREROUTING_JUMP);
    rules.push(`-A ${IN_REDIRECT} ${NEW_CONNECTION} -j REDIRECT --to-ports ${options.proxyInboundPort}`);
    for (const match of inboundRules(options, family)) rules.push(`-A ${INBOUND} ${match}`);
  }
  // The output chain is needed for inbound alone too: a call of the pod to itself comes through it.
  chains.push(OUTPUT);
  jumps.push(OUTPUT_JUMP);
  if (interceptsOutbound(options)) {
    chains.push(REDIRECT);
    rules.push(`-A ${REDIRECT} ${NEW_CONNECTION} -j REDIRECT --to-ports ${options.proxyOutboundPort}`);
  }
  for (const match of outputRules(options, family)) rules.push(`-A ${OUTPUT} ${match}`);
  return { chains, rules, jumps };
}

function inboundRules(options: InterceptOptions, family: 4 | 6): string[] {
  const listeners = [options.proxyOutboundPort, options.proxyInboundPort].map((port) => ({ first: port, last: port }));
  return [
    ...options.excludeInterfaces.map((name) => `-i ${name} -j RETURN`),
    ...blocks(options.excludeInboundCidrs, family).map((block) => `-s ${block} -j RETURN`),
    // Whoever dials a listener of ours must arrive unredirected, so that it is seen to be a direct hit and refused.
    ...portMatches([...listeners, ...options.excludeInboundPorts]).map((ports) => `${ports} -j RETURN`),
    ...products(
      included(options.includeInboundCidrs, family, '-s'),
      options.includeInterfaces === 'all' ? [''] : options.includeInterfaces.map((name) => `-i ${name} `),
      portMatches(options.inboundPorts).map((ports) => `${ports} -j ${IN_REDIRECT}`),
    ),
  ];
}

function outputRules(options: InterceptOptions, family: 4 | 6): string[] {
  const loopback = family === 4 ? '127.0.0.1/32' : '::1/128';
  const loopbackNetwork = family === 4 ? '127.0.0.0/8' : '::1/128';
  const source = family === 4 ? `${INBOUND_SOURCE_V4}/32` : `${INBOUND_SOURCE_V6}/128`;
  const inboundProbe = family === 4 ? `${INBOUND_PROBE_V4}/32` : `${INBOUND_PROBE_V6}/128`;
  const proxy = [
    ...options.proxyUids.map((uid) => `--uid-owner ${uid}`),
    ...options.proxyGids.map((gid) => `--gid-owner ${gid}`),
  ];
  const notProxy = proxy.map((owner) => `-m owner ! ${owner}`).join(' ');
  return [
    // First, so that no exclusion can make a proof fail whose subject it is not.
    ...(interceptsInbound(options) ? [`-d ${inboundProbe} -p tcp -j ${IN_REDIRECT}`] : []),
    ...options.excludeInterfaces.map((name) => `-o ${name} -j RETURN`),
    ...portMatches(options.excludeOutboundPorts).map((ports) => `${ports} -j RETURN`),
    ...(interceptsInbound(options)
      ? [
          // The proxy hands an inbound connection to its application: without this it would come back as the next rule's.
          `-s ${source} -o lo -j RETURN`,
          // The application called a service that is this very pod, and the proxy goes on to it: the inbound side must
          // see it as it would see any other caller. Through the whole inbound chain, so that its exclusions hold here.
          ...proxy.map((owner) => `! -d ${loopback} -o lo -p tcp -m owner ${owner} -j ${INBOUND}`),
        ]
      : []),
    // The application called its own address or localhost: neither side. All proxy ids are negated in one rule, for
    // else the rule of the first id would send away connections of the second.
    `-o lo ${notProxy} -j RETURN`,
    // The loop guard: what the proxy sends is never redirected.
    ...proxy.map((owner) => `-m owner ${owner} -j RETURN`),
    ...ownerRules(options, family),
    `-d ${loopbackNetwork} -j RETURN`,
    ...blocks(options.excludeOutboundCidrs, family).map((block) => `-d ${block} -j RETURN`),
    ...products(
      included(options.includeOutboundCidrs, family, '-d'),
      options.includeInterfaces === 'all' ? [''] : options.includeInterfaces.map((name) => `-o ${name} `),
      portMatches(options.outboundPorts).map((ports) => `${ports} -j ${REDIRECT}`),
    ),
  ];
}

/**
 * Exclusions of users and groups, then "none of the included ones" in a single rule per kind. The address that `verify`
 * dials passes them: it proves the rules as whoever may change them, seldom as the application's user.
 */
function ownerRules(options: InterceptOptions, family: 4 | 6): string[] {
  const others = family === 4 ? `! -d ${PROBE_V4}/32` : `! -d ${PROBE_V6}/128`;
  const rules = [
    ...options.excludeUids.map((uid) => `${others} -m owner --uid-owner ${uid} -j RETURN`),
    ...options.excludeGids.map((gid) => `${others} -m owner --gid-owner ${gid} -j RETURN`),
  ];
  for (const [ids, kind] of [
    [options.includeUids, '--uid-owner'],
    [options.includeGids, '--gid-owner'],
  ] as const) {
    if (ids === 'all') continue;
    const none = ids.map((id) => `-m owner ! ${kind} ${id} `).join('');
    rules.push(`${others} ${none}-j RETURN`);
  }
  return rules;
}

/** One match per rule needed to cover the ports: a single one for `all`, none for an empty list. */
function portMatches(ports: PortSet | readonly PortRange[]): string[] {
  if (ports === 'all') return ['-p tcp'];
  return multiportGroups(ports).map((group) => `-p tcp -m multiport --dports ${group}`);
}

/** What matches an inclusion list: nothing to match for `all`, one match per block otherwise. */
function included(cidrs: 'all' | readonly Cidr[], family: 4 | 6, direction: '-s' | '-d'): string[] {
  return cidrs === 'all' ? [''] : blocks(cidrs, family).map((block) => `${direction} ${block} `);
}

/** Each combination of a part of every list, joined. */
function products(...lists: readonly (readonly string[])[]): string[] {
  return lists.reduce<string[]>((sofar, list) => sofar.flatMap((head) => list.map((tail) => head + tail)), ['']);
}

function blocks(cidrs: readonly Cidr[], family: 4 | 6): string[] {
  return cidrs.filter((cidr) => cidr.family === family).map((cidr) => cidr.text);
}

/** The rules of ours that a table holds, so that a failed change can go back to them. */
export function ruleSetOf(table: NatTable): RuleSet {
  return {
    chains: table.ownChains.filter((chain) => !chain.startsWith(MARKER_PREFIX)),
    rules: table.ownRules,
    jumps: table.jumps,
  };
}

/** The same rules with nothing leading to them. */
export function detachedRuleSetOf(table: NatTable): RuleSet {
  return { ...ruleSetOf(table), jumps: [] };
}

/**
 * `iptables-restore --noflush` text that takes a table from what it holds to exactly `wanted`, plus the markers. Chains
 * of ours that are no longer wanted go; with an empty `wanted` and no markers everything of ours goes. Null when there is
 * nothing to do.
 */
export function planChange(wanted: RuleSet, markers: readonly string[], table: NatTable): string | null {
  const kept = new Set([...wanted.chains, ...markers]);
  const gone = table.ownChains.filter((chain) => !kept.has(chain));
  const inPlace = wanted.chains.every((chain) => sameRules(chain, wanted.rules, table));
  const missingJumps = [...wanted.jumps];
  const staleJumps = table.jumps.filter((jump) => {
    const place = missingJumps.indexOf(jump);
    if (place >= 0) missingJumps.splice(place, 1);
    return place < 0;
  });
  const lines = [
    // Declaring a chain creates it, or empties it when it exists.
    ...(inPlace ? [] : wanted.chains.map((chain) => `:${chain} - [0:0]`)),
    ...markers.filter((marker) => !table.ownChains.includes(marker)).map((marker) => `:${marker} - [0:0]`),
    ...staleJumps.map((jump) => `-D ${jump.slice(3)}`),
    ...(inPlace ? [] : wanted.rules),
    ...missingJumps,
    ...gone.map((chain) => `-F ${chain}`),
    ...gone.map((chain) => `-X ${chain}`),
  ];
  return lines.length === 0 ? null : ['*nat', ...lines, 'COMMIT', ''].join('\n');
}

/** Whether a chain is there with exactly these rules. A spelling that the kernel changed counts as different: harmless. */
function sameRules(chain: string, rules: readonly string[], table: NatTable): boolean {
  const wanted = rules.filter((rule) => rule.startsWith(`-A ${chain} `));
  const present = table.ownRules.filter((rule) => rule.startsWith(`-A ${chain} `));
  return table.ownChains.includes(chain) && wanted.join('\n') === present.join('\n');
}
