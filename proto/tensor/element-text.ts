/** Elements written as text, as configuration has them. */
import { allocateElements, DataType, type ElementArray } from './dtype.ts';
import { CastError, castElements } from './element-cast.ts';
import type { TensorData } from './tensor-writer.ts';

const EXACT = { rounding: 'nearest', overflow: 'refuse' } as const;
const SPECIALS: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};

/**
 * The texts as elements of the type. Integers must be whole and fit; floats are rounded to the nearest; booleans are
 * `true`, `false`, 1 and 0. Null where a text is no such element, or the type is not carried.
 */
export function elementsOfText(dtype: number, texts: readonly string[]): TensorData | null {
  if (dtype === DataType.STRING) return [...texts];
  const out = allocateElements(dtype, texts.length);
  if (out === null) return null;
  for (const [i, text] of texts.entries()) if (!put(out, i, dtype, text.trim())) return null;
  return out;
}

function put(out: ElementArray, i: number, dtype: number, text: string): boolean {
  if (dtype === DataType.BOOL) {
    const value = ['false', 'true', '0', '1'].indexOf(text);
    if (value >= 0) out[i] = value % 2;
    return value >= 0;
  }
  const isFloat = FLOATS.has(dtype);
  let one: ElementArray;
  if (/^-?\d{1,20}$/.test(text) && !isFloat) {
    const value = BigInt(text);
    if (value < -(2n ** 63n) || value >= 2n ** 64n) return false;
    one = value < 0n ? new BigInt64Array([value]) : new BigUint64Array([value]);
  } else {
    const value = SPECIALS[text] ?? (NUMBER.test(text) ? Number(text) : undefined);
    if (value === undefined || (!isFloat && !Number.isInteger(value))) return false;
    one = new Float64Array([value]);
  }
  const from =
    one instanceof Float64Array ? DataType.DOUBLE : one instanceof BigInt64Array ? DataType.INT64 : DataType.UINT64;
  try {
    const cast = castElements(one, 1, from, dtype, EXACT)[0]!;
    out[i] = cast;
    return true;
  } catch (error) {
    if (error instanceof CastError) return false;
    throw error;
  }
}

const NUMBER = /^-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?$/;
const FLOATS: ReadonlySet<number> = new Set([DataType.FLOAT, DataType.DOUBLE, DataType.HALF, DataType.BFLOAT16]);
