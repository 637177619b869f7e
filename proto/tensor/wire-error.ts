/** The one error of the codecs: bytes from a peer that cannot be what they claim to be, or that exceed a bound. */

/**
 * - `malformed`: not a protobuf message, or not the one expected; a gRPC server answers INTERNAL or INVALID_ARGUMENT.
 * - `too_large`: a bound was exceeded before anything was allocated for it; RESOURCE_EXHAUSTED.
 * - `tensor`: well-formed bytes, but the tensor contradicts itself; TensorFlow Serving's `tensor parsing error: NAME`.
 * - `compression`: the compressed bytes are corrupt, cut short, or of an unknown encoding.
 */
export type WireErrorReason = 'malformed' | 'too_large' | 'tensor' | 'compression';

export class WireError extends Error {
  override readonly name = 'WireError';
  readonly reason: WireErrorReason;
  /** Byte offset in the message where reading stopped, -1 where none is known. */
  readonly offset: number;

  constructor(reason: WireErrorReason, what: string, problem: string, offset = -1, cause?: unknown) {
    super(
      offset >= 0 ? `${what}: ${problem} at byte ${offset}` : `${what}: ${problem}`,
      cause === undefined ? undefined : { cause },
    );
    this.reason = reason;
    this.offset = offset;
  }
}
