/** Scores of Classify, Regress and MultiInference: floats at one place of the message, looked at in place. */
import { WireReader, WireType } from '../../proto/tensor/wire.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';

/** Field numbers from the message down to a float: `result { classifications { classes { score } } }` and so on. */
const CLASSIFY: readonly number[] = [1, 1, 1, 2];
const REGRESS: readonly number[] = [1, 1, 1];
const MULTI: readonly (readonly number[])[] = [
  [1, 2, 1, 1, 2],
  [1, 3, 1, 1],
];
const PATHS: ReadonlyMap<string, readonly (readonly number[])[]> = new Map([
  ['Classify', [CLASSIFY]],
  ['Regress', [REGRESS]],
  ['MultiInference', MULTI],
]);

/** A reader for each level of the longest path. */
const readers = Array.from({ length: 5 }, () => new WireReader());

/** True when the answer of `method` at `[start, end)` is malformed or holds a score that is not finite. */
export function areBadScores(method: string, buffer: Buffer, start: number, end: number): boolean {
  const paths = PATHS.get(method);
  if (paths === undefined) return false;
  try {
    for (const path of paths) if (!isFiniteAt(buffer, start, end, path, 0)) return true;
    return false;
  } catch (error) {
    if (error instanceof WireError) return true;
    throw error;
  } finally {
    for (const reader of readers) reader.release();
  }
}

function isFiniteAt(buffer: Buffer, start: number, end: number, path: readonly number[], level: number): boolean {
  const reader = readers[level]!;
  const isLast = level === path.length - 1;
  reader.reset(buffer, start, end, 'an answer with scores');
  while (reader.pos < end) {
    const tag = reader.readTag();
    const wanted = tag >>> 3 === path[level] && (tag & 7) === (isLast ? WireType.fixed32 : WireType.bytes);
    if (!wanted) {
      reader.skip(tag);
    } else if (isLast) {
      reader.readFixed32();
      if ((reader.lo & 0x7f800000) === 0x7f800000) return false;
    } else {
      const fieldEnd = reader.readPayloadEnd();
      if (!isFiniteAt(buffer, reader.pos, fieldEnd, path, level + 1)) return false;
      reader.pos = fieldEnd;
    }
  }
  return true;
}
