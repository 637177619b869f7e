/**
 * Owns the proof that the rules work: a real connection to an address nobody has, through the rules in force, must reach
 * the proxy's port and come with the address it was dialled for. Where the port is free the verifier listens there itself;
 * where the proxy runs already, the proxy answers.
 *
 * Inbound rules stand where packets of other machines come in, out of reach from inside; one address is sent the way
 * behind that entrance, and the entrance itself is looked up in the table. Whoever may not read it is told so.
 */
import net from 'node:net';
import { INBOUND_PROBE_V4, INBOUND_PROBE_V6, PROBE_V4, PROBE_V6, probeAnswer } from '../listener/interception-probe.ts';
import { readDestination } from '../listener/original-destination.ts';
import { chooseBackend, type Family, findBackends, readTable } from './intercept-backend.ts';
import { lacksNetAdmin, type Machine } from './intercept-machine.ts';
import type { InterceptOptions } from './intercept-options.ts';
import type { PortSet } from './intercept-ports.ts';
import { IN_REDIRECT, INBOUND, interceptsInbound } from './intercept-rules.ts';

/** Longest time one verification may take, all probes together; no more than the container's start can bear. */
export const VERIFY_TIMEOUT_MS = 5_000;
/** No answer is longer: one line with an address and a port. */
const MAX_ANSWER_CHARS = 256;

export interface VerifyReport {
  readonly verified: boolean;
  readonly notes: readonly string[];
}

type Direction = 'outbound' | 'inbound';
type ProbeResult = { readonly answer: string } | { readonly failure: string; readonly unroutable: boolean };
type Finding = { readonly verdict: 'proved' | 'unproved' | 'wrong'; readonly note: string };

/**
 * Probes each direction that is intercepted, in each family. Verified when at least one family answered right in each
 * direction and nothing answered wrong. All probes go out at once and share the 5 s.
 */
export async function verifyInterception(options: InterceptOptions, machine: Machine): Promise<VerifyReport> {
  const directions = (['outbound', 'inbound'] as const).filter((direction) => portOf(options, direction) !== null);
  const findings = await Promise.all(
    directions.map(async (direction) => {
      const families = ([4, 6] as const).filter((family) => options.families !== (family === 4 ? '6' : '4'));
      const found = await Promise.all(families.map((family) => probeFamily(options, direction, family)));
      return found.flatMap((finding) => finding ?? []);
    }),
  );
  if (interceptsInbound(options)) findings.push(entrances(options, machine, findings[directions.indexOf('inbound')]!));
  const all = findings.flat();
  const everyDirection = findings.every((found) => found.some(({ verdict }) => verdict === 'proved'));
  return {
    verified: everyDirection && all.every(({ verdict }) => verdict !== 'wrong'),
    notes: all.map(({ note }) => note),
  };
}

/** A port of the direction that comes to the proxy; null when there is none. */
function portOf(options: InterceptOptions, direction: Direction): number | null {
  const ports: PortSet = direction === 'outbound' ? options.outboundPorts : options.inboundPorts;
  return ports === 'all' ? 8500 : (ports[0]?.first ?? null);
}

/** One probe; null when the options leave the family out. */
async function probeFamily(options: InterceptOptions, direction: Direction, family: Family): Promise<Finding | null> {
  const host = direction === 'outbound' ? outboundHost(options, family) : inboundHost(family);
  if (host === null) return null;
  const port = portOf(options, direction)!;
  const listener = await listenForProbe(
    family,
    direction === 'outbound' ? options.proxyOutboundPort : options.proxyInboundPort,
  );
  const result = await probe(host, port);
  listener?.close();
  const what = `IPv${family} ${direction}: `;
  if ('answer' in result && result.answer === probeAnswer(host, port).trim()) {
    const by = listener === null ? 'the proxy' : 'this command';
    return { verdict: 'proved', note: `${what}${host} port ${port} came back right, answered by ${by}` };
  }
  if ('failure' in result && result.unroutable && options.families === 'auto') {
    return { verdict: 'unproved', note: `${what}not proved, for there is no route to ${host}` };
  }
  const got = 'answer' in result ? `the answer was ${JSON.stringify(result.answer)}` : result.failure;
  const note = `${what}a connection to ${host} port ${port} did not come to the proxy as it should: ${got}`;
  return { verdict: 'wrong', note };
}

/** An address that the rules redirect and that nobody has; null when the options include none of the family. */
function outboundHost(options: InterceptOptions, family: Family): string | null {
  if (options.includeOutboundCidrs === 'all') return family === 4 ? PROBE_V4 : PROBE_V6;
  const block = options.includeOutboundCidrs.find((cidr) => cidr.family === family);
  return block === undefined ? null : block.text.slice(0, block.text.indexOf('/'));
}

function inboundHost(family: Family): string {
  return family === 4 ? INBOUND_PROBE_V4 : INBOUND_PROBE_V6;
}

/** Whether what comes from other machines is led to the inbound rules, in the families whose probe came back. */
function entrances(options: InterceptOptions, machine: Machine, probed: readonly Finding[]): Finding[] {
  const unread: Finding = {
    verdict: 'proved',
    note: 'inbound: whether connections of other machines are led there was not looked up, which needs NET_ADMIN',
  };
  if (lacksNetAdmin(machine)) return [unread];
  const backend = chooseBackend(options.backend, findBackends(machine.run), (kind, family) =>
    readTable(machine.run, kind, family),
  );
  if ('failure' in backend) return [{ verdict: 'wrong', note: `inbound: ${backend.failure}` }];
  return ([4, 6] as const).flatMap((family): Finding[] => {
    if (!probed.some(({ verdict, note }) => verdict === 'proved' && note.startsWith(`IPv${family}`))) return [];
    const { table } = readTable(machine.run, backend, family);
    const jump = table?.jumps.some((rule) => rule.startsWith('-A PREROUTING ') && rule.endsWith(` -j ${INBOUND}`));
    const redirects = table?.ownRules.some((rule) => rule.startsWith(`-A ${INBOUND} `) && rule.endsWith(IN_REDIRECT));
    if (jump === true && redirects === true) {
      return [{ verdict: 'proved', note: `IPv${family} inbound: connections of other machines are led there` }];
    }
    const note = `IPv${family} inbound: connections of other machines are not led to the proxy (${backend.kind})`;
    return [{ verdict: 'wrong', note }];
  });
}

/** Stands in for the proxy on its port; null when the port is taken, which is when the proxy itself will answer. */
function listenForProbe(family: Family, port: number): Promise<net.Server | null> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    const { destination, verdict } = readDestination(socket);
    socket.end(destination === null ? `${verdict}\n` : probeAnswer(destination.host, destination.port));
  });
  return new Promise((resolve) => {
    server.once('error', () => resolve(null));
    server.listen({ host: family === 4 ? '127.0.0.1' : '::1', port }, () => resolve(server));
  });
}

function probe(host: string, port: number): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    const timer = setTimeout(
      () => finish({ failure: `no answer within ${VERIFY_TIMEOUT_MS} ms`, unroutable: false }),
      VERIFY_TIMEOUT_MS,
    );
    let text = '';
    const finish = (result: ProbeResult) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (text.includes('\n') || text.length > MAX_ANSWER_CHARS)
        finish({ answer: text.slice(0, MAX_ANSWER_CHARS).trim() });
    });
    socket.on('end', () => finish({ answer: text.trim() }));
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const unroutable =
        error.code === 'ENETUNREACH' || error.code === 'EADDRNOTAVAIL' || error.code === 'EAFNOSUPPORT';
      finish({ failure: error.message, unroutable });
    });
  });
}
