/**
 * How full the memory of a worker's devices is, read from the metrics it serves on the port that takes its model calls.
 *
 * `usedFraction` is the fullest device's fraction; null where the worker has no device (or is none of ours: it serves no
 * such metrics), and NaN while that is not known: it has not answered yet, or not lately.
 */
import type { ClientRequestArgs, IncomingMessage } from 'node:http';
import type { EndpointAddress } from '../config/snapshot.ts';
import type { OpenConnection } from '../discovery/health-probe.ts';

const PATH = '/metrics';
const TIMEOUT_MS = 2000;
/** The worker's metrics have a few hundred lines; more than this is something else. */
const MAX_BYTES = 4 * 1024 * 1024;

/** The server could not be asked, which says nothing about its devices. */
const UNREACHABLE: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENOTFOUND']);

/** Asks one endpoint; `open` makes the connection where a plain one will not do. Never rejects. */
export async function readDeviceMemory(
  address: EndpointAddress,
  open: OpenConnection | null = null,
): Promise<number | null> {
  try {
    return usedFraction(await get(address, open));
  } catch (error) {
    return UNREACHABLE.has((error as NodeJS.ErrnoException).code ?? '') ? Number.NaN : null;
  }
}

/** The fullest device of a worker's metrics, 0..1; null when they name none. */
export function usedFraction(metrics: string): number | null {
  const used = samplesOf(metrics, 'understudy_device_memory_used_bytes');
  const total = samplesOf(metrics, 'understudy_device_memory_total_bytes');
  let fullest: number | null = null;
  for (const [labels, bytes] of used) {
    const size = total.get(labels) ?? 0;
    if (size > 0) fullest = Math.max(fullest ?? 0, bytes / size);
  }
  return fullest;
}

function samplesOf(metrics: string, name: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of metrics.split('\n')) {
    if (!line.startsWith(`${name}{`)) continue;
    const close = line.lastIndexOf('}');
    samples.set(line.slice(name.length, close + 1), Number(line.slice(close + 1)));
  }
  return samples;
}

function get(address: EndpointAddress, open: OpenConnection | null): Promise<string> {
  return new Promise((resolve, reject) => {
    const target = address.kind === 'unix' ? { socketPath: address.path } : { host: address.host, port: address.port };
    const secure = open === null ? {} : { createConnection: () => open(address, 'http/1.1') };
    const options: ClientRequestArgs = { ...target, ...secure, path: PATH, timeout: TIMEOUT_MS, agent: false };
    const take = (answer: IncomingMessage): void => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > MAX_BYTES) asking.destroy(new Error('too long for metrics'));
      });
      answer.on('end', () => resolve(answer.statusCode === 200 ? text : ''));
      answer.on('error', reject);
    };
    // Loaded with the first question: node:http costs 15 MiB, and few configurations ask.
    const asking = process.getBuiltinModule('node:http').request(options, take);
    asking.on('timeout', () => asking.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })));
    asking.on('error', reject);
    asking.end();
  });
}
