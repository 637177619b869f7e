/**
 * Owns what the interception commands ask of the machine around them, apart from iptables itself: files under /proc, the
 * source address for inbound deliveries, and the connections that rules of ours have redirected and that are still open.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { INBOUND_SOURCE_V6 } from '../listener/inbound-source.ts';
import { originalDestinationSupport } from '../listener/original-destination.ts';
import type { CommandRunner } from './command-runner.ts';
import { type Family, failureOf } from './intercept-backend.ts';
import type { NatTable } from './intercept-tables.ts';

/** The machine; tests hand in another one. */
export interface Machine {
  readonly run: CommandRunner;
  /** Text of a file under /proc, '' when it does not exist. */
  readonly readProc: (path: string) => string;
  /** Whether redirected connections can be told where they meant to go here, and if not, why. */
  readonly destinations: () => { readonly available: boolean; readonly reason: string };
  readonly nowMs: () => number;
  readonly waitMs: (durationMs: number) => Promise<void>;
}

export function systemMachine(run: CommandRunner): Machine {
  return {
    run,
    readProc,
    destinations: originalDestinationSupport,
    nowMs: () => performance.now(),
    waitMs: async (durationMs) => void (await sleep(durationMs)),
  };
}

/** What a change came to, and what to tell a person, in the order things happened. */
export interface ChangeReport {
  /**
   * `unavailable`: not possible on this machine, nothing was touched; `failed`: as good as nothing was, or what is said;
   * `detached`: rules went out of the way, but what open connections still need is left.
   */
  readonly outcome: 'changed' | 'unchanged' | 'detached' | 'unavailable' | 'failed';
  readonly notes: readonly string[];
}

const CAP_NET_ADMIN = 1n << 12n;
/** INBOUND_SOURCE_V6 as /proc/net/if_inet6 writes it. */
const INBOUND_SOURCE_V6_HEX = '00000000000000000000000000000006';
/** How /proc/net/tcp6 begins a v4-mapped address: its words are in the order of the machine. */
const MAPPED_HEX = '0000000000000000FFFF0000';
/** TIME_WAIT, CLOSE and LISTEN as /proc/net/tcp writes them; a socket in any other state may still carry bytes. */
const STATES_WITHOUT_BYTES: ReadonlySet<string> = new Set(['06', '07', '0A']);

/**
 * Whether this process certainly lacks the privilege to change rules. Asked before anything runs, because the kinds of
 * iptables report it differently, and one of them not as a matter of privilege at all.
 */
export function lacksNetAdmin(machine: Machine): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(machine.readProc('/proc/self/status'))?.[1];
  return effective !== undefined && (BigInt(`0x${effective}`) & CAP_NET_ADMIN) === 0n;
}

/** Whether the kernel has IPv6 switched on for any interface of this network namespace. */
export function hasIpv6(machine: Machine): boolean {
  return machine.readProc('/proc/net/if_inet6') !== '';
}

export function hasInboundSource(machine: Machine): boolean {
  return machine.readProc('/proc/net/if_inet6').includes(INBOUND_SOURCE_V6_HEX);
}

/** Puts the IPv6 source of inbound deliveries on the loopback interface. Returns what there is to say about it. */
export function addInboundSource(machine: Machine): string[] {
  if (hasInboundSource(machine)) return [];
  const result = machine.run('ip', ['-6', 'addr', 'add', `${INBOUND_SOURCE_V6}/128`, 'dev', 'lo', 'nodad']);
  if (result.status === 0) return [`IPv6: ${INBOUND_SOURCE_V6} added to lo, the source of inbound deliveries`];
  return [`IPv6: inbound deliveries cannot use ${INBOUND_SOURCE_V6}: ${failureOf('ip', result)}`];
}

export function removeInboundSource(machine: Machine): void {
  machine.run('ip', ['-6', 'addr', 'del', `${INBOUND_SOURCE_V6}/128`, 'dev', 'lo']);
}

/** Open connections of one family, in this network namespace, on a port to which rules of this table redirect. */
export function countRedirected(machine: Machine, family: Family, table: NatTable): number {
  const ports = new Set(table.ownRules.flatMap((rule) => Number(/ --to-ports (\d+)/.exec(rule)?.[1] ?? []) || []));
  let open = 0;
  for (const path of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of machine.readProc(path).split('\n').slice(1)) {
      const [, local = '', , state = ''] = line.trim().split(/\s+/);
      const isIpv4 = path === '/proc/net/tcp' || local.startsWith(MAPPED_HEX);
      const port = Number.parseInt(local.slice(local.indexOf(':') + 1), 16);
      if (isIpv4 === (family === 4) && ports.has(port) && !STATES_WITHOUT_BYTES.has(state)) open++;
    }
  }
  return open;
}

function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
