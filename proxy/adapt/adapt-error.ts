/** Why an answer cannot be adapted, or no answer can be computed. Never a fault of ours: bytes that do not fit. */
import { CastError } from '../../proto/tensor/element-cast.ts';
import { JsonError } from '../../proto/tensor/json-error.ts';
import { OipError } from '../../proto/tensor/oip-error.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';

export type MisfitReason = 'misfit' | 'too_large';

export class AdaptError extends Error {
  override readonly name = 'AdaptError';
  readonly reason: MisfitReason;

  constructor(reason: MisfitReason, message: string) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = stackTraceLimit;
    this.reason = reason;
  }
}

/** The error as an `AdaptError`; what no codec throws is thrown again. */
export function misfitOf(error: unknown): AdaptError {
  if (error instanceof AdaptError) return error;
  if (error instanceof WireError || error instanceof JsonError) {
    return new AdaptError(error.reason === 'too_large' ? 'too_large' : 'misfit', error.message);
  }
  if (error instanceof OipError || error instanceof CastError || error instanceof SyntaxError) {
    return new AdaptError('misfit', error.message);
  }
  throw error;
}
