/**
 * Inflates a compressed request and hands it on. Small messages are inflated on the spot, large ones on zlib's own
 * threads, so that the front thread serves others meanwhile. Bounded by the message limit and by how much a message may
 * grow; at most as many inflate at once as zlib has threads.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { type InflateBounds, inflateMessage, type MessageEncoding } from '../../proto/grpc/compression.ts';

/** The call whose request is inflated. */
export interface InflatingCall {
  readonly head: { readonly encoding: MessageEncoding | '' | null };
  /** Counts bytes kept for the call; `release` takes them out again. */
  hold(bytes: number): void;
  release(): void;
  deliver(buffer: Buffer, start: number, end: number): void;
  failStatus(code: number, message: string): void;
  failWith(error: unknown): void;
}

/** Any message may inflate to this size: a tensor of zeros that short is no attack. */
const FREE_BYTES = 1024 * 1024;
/** Beyond it a message may become this many times longer. Real tensors reach 10. */
const MAX_RATIO = 100;

function boundsOf(inputBytes: number, maxBytes: number): InflateBounds {
  return { maxBytes, maxRatio: Math.max(MAX_RATIO, FREE_BYTES / Math.max(1, inputBytes)) };
}

/** Inflates `[start, end)` and delivers it to the call's method, or fails the call. */
export function inflateRequest(
  call: InflatingCall,
  maxBytes: number,
  buffer: Buffer,
  start: number,
  end: number,
): void {
  const { encoding } = call.head;
  if (encoding === '') {
    // What the gRPC protocol asks for; the bytes cannot be read and no server setting would change that.
    call.failStatus(GrpcStatus.INTERNAL, 'the message is compressed and grpc-encoding does not say how');
    return;
  }
  // The bytes are ours only during this call.
  const copy = Buffer.from(buffer.subarray(start, end));
  call.hold(copy.length);
  inflateMessage(encoding as MessageEncoding, copy, 0, copy.length, boundsOf(copy.length, maxBytes), (error, bytes) => {
    call.release();
    if (bytes !== null) call.deliver(bytes, 0, bytes.length);
    else call.failWith(error);
  });
}
