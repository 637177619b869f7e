/**
 * Owns the proof that the rules work: a real connection to an address nobody has, through the rules in force, must reach
 * the proxy's port and come with the address it was dialled for. Where the port is free the verifier listens there itself;
 * where the proxy runs already, the proxy answers.
 */
import net from 'node:net';
import { PROBE_V4, PROBE_V6, probeAnswer } from '../listener/interception-probe.ts';
import { originalDestinationSupport, readDestination } from '../listener/original-destination.ts';
import type { Family } from './intercept-backend.ts';
import type { InterceptOptions } from './intercept-options.ts';

/** Longest time one probe may take, connection and answer together. */
export const PROBE_TIMEOUT_MS = 5_000;
/** No answer is longer: one line with an address and a port. */
const MAX_ANSWER_CHARS = 256;

export interface VerifyReport {
  readonly verified: boolean;
  readonly notes: readonly string[];
}

type ProbeResult = { readonly answer: string } | { readonly failure: string; readonly unroutable: boolean };

/** Probes each family once. Verified when at least one family answered right and none answered wrong. */
export async function verifyInterception(options: InterceptOptions): Promise<VerifyReport> {
  const port = options.outboundPorts === 'all' ? 8500 : options.outboundPorts[0]?.first;
  if (port === undefined)
    return { verified: false, notes: ['no outbound port is intercepted, so there is nothing to dial'] };
  const support = originalDestinationSupport();
  if (!support.available) return { verified: false, notes: [support.reason] };
  const notes: string[] = [];
  let proved = 0;
  let wrong = 0;
  for (const family of [4, 6] as const) {
    if (options.families === (family === 4 ? '6' : '4')) continue;
    const host = probeHost(options, family);
    if (host === null) continue;
    const listener = await listenForProbe(family, options.proxyOutboundPort);
    const result = await probe(host, port);
    listener?.close();
    const required = options.families !== 'auto';
    if ('answer' in result && result.answer === probeAnswer(host, port).trim()) {
      proved++;
      notes.push(
        `IPv${family}: ${host} port ${port} came back right, answered by ${listener ? 'this command' : 'the proxy'}`,
      );
    } else if ('failure' in result && result.unroutable && !required) {
      notes.push(`IPv${family}: not proved, for there is no route to ${host}`);
    } else {
      wrong++;
      const got = 'answer' in result ? `the answer was ${JSON.stringify(result.answer)}` : result.failure;
      notes.push(`IPv${family}: a connection to ${host} port ${port} did not come to the proxy as it should: ${got}`);
    }
  }
  return { verified: proved > 0 && wrong === 0, notes };
}

/** An address that the rules redirect and that nobody has; null when the options include none of the family. */
function probeHost(options: InterceptOptions, family: Family): string | null {
  if (options.includeOutboundCidrs === 'all') return family === 4 ? PROBE_V4 : PROBE_V6;
  const block = options.includeOutboundCidrs.find((cidr) => cidr.family === family);
  return block === undefined ? null : block.text.slice(0, block.text.indexOf('/'));
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
      () => finish({ failure: `no answer within ${PROBE_TIMEOUT_MS} ms`, unroutable: false }),
      PROBE_TIMEOUT_MS,
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
