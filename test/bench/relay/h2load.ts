/** One run of h2load, the load generator: its arguments, its summary, and the exact latencies from its log. */
import { readFileSync, rmSync } from 'node:fs';
import { quantile } from '../measure/statistics.ts';
import { PinnedProgram } from '../programs/pinned-program.ts';

/** The one cipher suite offered, so that all proxies use the same: the client decides, whatever they prefer. */
const TLS_CIPHER = 'TLS_AES_128_GCM_SHA256';

export interface LoadOptions {
  /** Path of the program. */
  readonly program: string;
  readonly core: number;
  readonly port: number;
  readonly path: string;
  readonly connections: number;
  readonly streams: number;
  /** Requests in all; a multiple of `connections` keeps them even. */
  readonly requests: number;
  readonly bodyFile: string;
  /** `NAME: VALUE` of each header field. */
  readonly headers: readonly string[];
  readonly http1: boolean;
  /** TLS 1.3 with `TLS_CIPHER`. */
  readonly tls: boolean;
  /** Requests each connection sends a second, whether answered or not; null to send as answers come. */
  readonly requestsPerSecond: number | null;
  readonly logFile: string;
  /** The run is given up after this long. */
  readonly timeoutMs: number;
}

export interface LoadResult {
  /** Requests answered with a 2xx status. */
  readonly succeeded: number;
  /** Bytes of DATA received: tells answers with a body from refusals, which also are 200 in gRPC. */
  readonly dataBytes: number;
  readonly requestsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** Runs h2load to its end. Rejects if its summary cannot be read; a run given up counts what it logged. */
export async function runH2load(options: LoadOptions): Promise<LoadResult> {
  const program = new PinnedProgram({
    name: 'h2load',
    command: options.program,
    core: options.core,
    args: [
      `--clients=${options.connections}`,
      `--max-concurrent-streams=${options.streams}`,
      `--requests=${options.requests}`,
      `--data=${options.bodyFile}`,
      `--log-file=${options.logFile}`,
      ...options.headers.map((header) => `--header=${header}`),
      ...(options.http1 ? ['--h1'] : []),
      ...(options.tls ? [`--tls13-ciphers=${TLS_CIPHER}`] : []),
      ...(options.requestsPerSecond === null ? [] : [`--rps=${options.requestsPerSecond}`]),
      `${options.tls ? 'https' : 'http'}://127.0.0.1:${options.port}${options.path}`,
    ],
  });
  const timer = setTimeout(() => program.kill(), options.timeoutMs);
  await program.ended;
  clearTimeout(timer);
  const latencies = readLatencies(options.logFile);
  return {
    ...readSummary(program.lastOutput),
    p50Us: quantile(latencies, 0.5),
    p99Us: quantile(latencies, 0.99),
  };
}

function readSummary(text: string): Pick<LoadResult, 'succeeded' | 'dataBytes' | 'requestsPerSecond'> {
  const number = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0);
  return {
    succeeded: number(/status codes: (\d+) 2xx/),
    dataBytes: number(/\((\d+)\) data/),
    requestsPerSecond: number(/finished in .*, ([\d.]+) req\/s/),
  };
}

const NEWLINE = 10;
const TAB = 9;

/** Latencies in microseconds, ascending. Each line is: start time, status, microseconds until the end of the answer. */
function readLatencies(file: string): Float64Array {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
    rmSync(file);
  } catch {
    return new Float64Array(0);
  }
  const latencies = new Float64Array(bytes.length >> 3);
  let count = 0;
  let value = 0;
  for (const byte of bytes) {
    if (byte === NEWLINE) {
      latencies[count++] = value;
      value = 0;
    } else if (byte === TAB) value = 0;
    else value = value * 10 + byte - 48;
  }
  return latencies.subarray(0, count).sort();
}
