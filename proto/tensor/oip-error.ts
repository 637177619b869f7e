/** A mistake in an inference request of the Open Inference Protocol; the message is for the caller. */
export class OipError extends Error {
  override readonly name = 'OipError';

  constructor(message: string) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = stackTraceLimit;
  }
}
