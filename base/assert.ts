/** Programmer errors: a broken invariant ends the process; operating errors are handled elsewhere as typed values. */

/** An invariant of ours did not hold. Never thrown for bad input or a misbehaving peer. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
