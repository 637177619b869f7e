/**
 * The kinds of traffic that are relayed: for each its messages, how answers are looked at closely before it is measured,
 * and its load. Rule: a load's result counts only answers that were right or whose bytes add up.
 */
import type { AskedProgram } from '../programs/asked-program.ts';
import { countWrongAnswers, countWrongRestAnswers } from './answer-check.ts';
import type { EchoPlan, EchoResult } from './echo-load.ts';
import { type LoadResult, runH2load } from './h2load.ts';
import { PREDICT_PATH, replyBody, requestBody } from './payload.ts';
import { REST_PATH, restReplyBody, restRequestBody } from './rest-payload.ts';

/** gRPC; the same from callers with TLS; gRPC with a copy of each request to a shadow; REST over HTTP/1.1; bytes of no known protocol. */
export type TrafficKind = 'grpc' | 'tls' | 'mirror' | 'http1' | 'tcp';

export type EchoLoad = AskedProgram<{ readonly ready: true }, EchoPlan, EchoResult>;

export interface TrafficLoad {
  readonly port: number;
  readonly connections: number;
  readonly streams: number;
  /** Requests in all; a multiple of `connections`. */
  readonly requests: number;
  readonly requestBytes: number;
  /** Requests a second over all connections; null to send as answers come. */
  readonly requestsPerSecond: number | null;
  readonly timeoutMs: number;
}

export interface LoadPrograms {
  /** Path of h2load. */
  readonly h2load: string;
  /** Runs only where opaque bytes are relayed. */
  readonly echo: EchoLoad | null;
  readonly core: number;
  /** Where the body of h2load's requests lies, and its log. */
  readonly bodyFile: string;
  readonly logFile: string;
}

/** A request body of `bytes` bytes. Opaque load makes its own. */
export function requestOf(traffic: TrafficKind, bytes: number): Buffer {
  return traffic === 'http1' ? restRequestBody(bytes) : requestBody(bytes);
}

function replyOf(traffic: TrafficKind): Buffer {
  return traffic === 'http1' ? restReplyBody() : replyBody();
}

/** How many of `count` requests to `port` were not answered exactly. The opaque load compares every byte by itself. */
export async function countWrong(traffic: TrafficKind, port: number, bytes: number, count: number): Promise<number> {
  if (traffic === 'tcp') return 0;
  const check = traffic === 'http1' ? countWrongRestAnswers : countWrongAnswers;
  return await check(port, requestOf(traffic, bytes), replyOf(traffic), count, traffic === 'tls');
}

/** One run of load. `failed` are requests that were not answered, or whose answers had too few or too many bytes. */
export async function runLoad(
  traffic: TrafficKind,
  load: TrafficLoad,
  programs: LoadPrograms,
): Promise<Omit<LoadResult, 'dataBytes' | 'succeeded'> & { readonly failed: number }> {
  const { port, connections, requests, timeoutMs } = load;
  if (traffic === 'tcp') {
    const plan = { port, connections, requests, messageBytes: load.requestBytes, timeoutMs };
    const result = await programs.echo!.ask(plan);
    return { ...result, failed: requests - result.succeeded };
  }
  const http1 = traffic === 'http1';
  const result = await runH2load({
    program: programs.h2load,
    core: programs.core,
    port,
    path: http1 ? REST_PATH : PREDICT_PATH,
    connections,
    streams: load.streams,
    requests,
    bodyFile: programs.bodyFile,
    headers: http1 ? ['content-type: application/json'] : ['content-type: application/grpc', 'te: trailers'],
    http1,
    tls: traffic === 'tls',
    requestsPerSecond: load.requestsPerSecond === null ? null : load.requestsPerSecond / connections,
    logFile: programs.logFile,
    timeoutMs,
  });
  const wrongBytes = Math.abs(requests - result.dataBytes / replyOf(traffic).length);
  return { ...result, failed: Math.max(requests - result.succeeded, Math.ceil(wrongBytes)) };
}
