/**
 * What the request headers of a gRPC call say, read once per distinct header list: the HTTP/2 engine hands out the same
 * list for the same bytes, and the reading stays with it.
 */
import { type MessageEncoding, parseEncoding } from '../../proto/grpc/compression.ts';
import { GrpcHeader, isGrpcContentType } from '../../proto/grpc/metadata.ts';
import { parseGrpcTimeoutMs } from '../../proto/grpc/timeout.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import { Priority } from '../batching/batcher.ts';
import { TIMING_HEADER } from './task-timing.ts';

/** Marks a copy of a request that nobody waits for; it goes behind primary traffic and is shed first. */
export const SHADOW_HEADER = 'x-understudy-shadow';

export class CallHead {
  /** `/package.Service/Method`. */
  readonly path: string;
  /** Whether this is a gRPC request at all: POST with a content-type of `application/grpc`. */
  readonly isGrpc: boolean;
  /** Milliseconds the caller gives the call; Infinity when it does not say, NaN when it says it wrongly. */
  readonly timeoutMs: number;
  /** How messages marked as compressed are: '' when the caller does not say, null when we do not know it. */
  readonly encoding: MessageEncoding | '' | null;
  /** `grpc-encoding` as sent. */
  readonly encodingName: string;
  /** One of `Priority`. */
  readonly priority: number;
  /** The caller wants to know how long its task waited and ran. */
  readonly wantsTiming: boolean;

  constructor(headers: HeaderList) {
    this.path = headers.get(':path') ?? '';
    this.isGrpc = headers.get(':method') === 'POST' && isGrpcContentType(headers.get('content-type') ?? '');
    const timeout = headers.get(GrpcHeader.timeout);
    this.timeoutMs = timeout === undefined ? Number.POSITIVE_INFINITY : parseGrpcTimeoutMs(timeout);
    this.encodingName = headers.get(GrpcHeader.encoding) ?? 'identity';
    this.encoding = parseEncoding(this.encodingName);
    this.priority = headers.get(SHADOW_HEADER) === undefined ? Priority.primary : Priority.shadow;
    this.wantsTiming = headers.get(TIMING_HEADER) !== undefined;
  }
}

/** The head of a call, remembered on its header list. */
export function readCallHead(headers: HeaderList): CallHead {
  const { memo } = headers;
  if (memo instanceof CallHead) return memo;
  const head = new CallHead(headers);
  headers.memo = head;
  return head;
}
