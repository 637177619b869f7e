/**
 * Elements of one type as elements of another, by rules that are written down:
 *
 * - Booleans are 0 and 1; anything but zero is true.
 * - To a narrower float: the nearest, ties to even. To an integer: the nearest, ties to even, or cut towards zero.
 * - What the type cannot hold is refused, or becomes the nearest value it holds (`saturate`). A NaN has no integer and no
 *   truth value, and is refused either way; infinities and NaN stay what they are between floats.
 * - 64-bit integers are exact throughout. Strings are cast to nothing and from nothing.
 */
import { allocateElements, DataType, dtypeName, type ElementArray } from './dtype.ts';

export type Rounding = 'nearest' | 'truncate';
export type Overflow = 'refuse' | 'saturate';

export interface CastRule {
  readonly rounding: Rounding;
  readonly overflow: Overflow;
}

/** A value that the type asked for cannot hold, or a pair of types between which nothing is cast. */
export class CastError extends Error {
  override readonly name = 'CastError';
}

/** Whether elements of `from` can become elements of `to` at all. */
export function canCast(from: number, to: number): boolean {
  return from === to || (isNumeric(from) && isNumeric(to));
}

/** Elements in place of `data`, which holds elements of `from`; `data` itself where the types are one. @throws CastError */
export function castElements(
  data: ElementArray,
  count: number,
  from: number,
  to: number,
  rule: CastRule,
): ElementArray {
  if (from === to) return data;
  const out = canCast(from, to) ? allocateElements(to, count) : null;
  if (out === null) throw new CastError(`${dtypeName(from)} cannot become ${dtypeName(to)}`);
  const source = values(data, from);
  const wide = out instanceof BigInt64Array || out instanceof BigUint64Array;
  for (let i = 0; i < count; i++) {
    const value = source[i]!;
    if (wide) out[i] = toLong(value, to, rule);
    else out[i] = toNumber(value, to, rule);
  }
  return out;
}

/** The number as an element of `to` is stored; 16-bit floats as their bits. For types of up to 32 bits and floats. */
function toNumber(value: number | bigint, to: number, rule: CastRule): number {
  switch (to) {
    case DataType.DOUBLE:
      return Number(value);
    case DataType.FLOAT:
      return toFloat(Number(value), to, rule);
    case DataType.HALF:
      half[0] = toFloat(Number(value), to, rule);
      return halfBits[0]!;
    case DataType.BFLOAT16:
      single[0] = toFloat(Number(value), to, rule);
      return singleBits[0]! >>> 16;
    case DataType.BOOL:
      if (Number.isNaN(value)) throw new CastError('NaN is neither true nor false');
      return Number(value) !== 0 ? 1 : 0;
    default:
      return toInteger(value, to, rule);
  }
}

function toInteger(value: number | bigint, to: number, rule: CastRule): number {
  const [least, most] = RANGES[to]!;
  const whole = typeof value === 'bigint' ? value : rounded(value, to, rule);
  if (whole >= least && whole <= most) return Number(whole);
  return Number(outside(whole, whole < least ? least : most, to, rule));
}

function toLong(value: number | bigint, to: number, rule: CastRule): bigint {
  const [least, most] = LONG_RANGES[to]!;
  const whole = typeof value === 'bigint' ? value : rounded(value, to, rule);
  if (whole >= least && whole <= most) return BigInt(whole);
  return outside(whole, whole < least ? least : most, to, rule);
}

function outside<T extends number | bigint>(value: number | bigint, nearest: T, to: number, { overflow }: CastRule): T {
  if (overflow === 'refuse') throw new CastError(`${value} does not fit ${dtypeName(to)}`);
  return nearest;
}

function rounded(value: number, to: number, { rounding }: CastRule): number {
  if (Number.isNaN(value)) throw new CastError(`NaN does not fit ${dtypeName(to)}`);
  return rounding === 'truncate' ? Math.trunc(value) : nearestEven(value);
}

function nearestEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest === 0.5) return below % 2 === 0 ? below : below + 1;
  return rest > 0.5 ? below + 1 : below;
}

/** The nearest value of the type, as a double that the type holds exactly. */
function toFloat(value: number, to: number, { overflow }: CastRule): number {
  if (!Number.isFinite(value)) return value;
  const near = to === DataType.FLOAT ? Math.fround(value) : to === DataType.HALF ? Math.f16round(value) : brain(value);
  if (Number.isFinite(near)) return near;
  if (overflow === 'refuse') throw new CastError(`${value} does not fit ${dtypeName(to)}`);
  return value < 0 ? -LARGEST[to]! : LARGEST[to]!;
}

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);
const half = new Float16Array(1);
const halfBits = new Uint16Array(half.buffer);

/** The nearest bfloat16 (eight bits of mantissa, the range of a float32), ties to even, in one rounding from the double. */
function brain(value: number): number {
  const size = Math.abs(value);
  if (size === 0) return value;
  const exponent = Math.max(-126, Math.floor(Math.log2(size)));
  // One too small or too large near a power of two does not matter: the step is then half or twice what it need be.
  const step = 2 ** ((2 ** exponent > size ? exponent - 1 : 2 ** (exponent + 1) <= size ? exponent + 1 : exponent) - 7);
  const near = nearestEven(size / Math.max(step, 2 ** -133)) * Math.max(step, 2 ** -133);
  return Math.sign(value) * (near > LARGEST[DataType.BFLOAT16]! ? Number.POSITIVE_INFINITY : near);
}

const LARGEST: Record<number, number> = {
  [DataType.FLOAT]: 3.4028234663852886e38,
  [DataType.HALF]: 65504,
  [DataType.BFLOAT16]: 2 ** 127 * (2 - 2 ** -7),
};

/** Elements as numbers or bigints. */
function values(data: ElementArray, dtype: number): ArrayLike<number | bigint> {
  if (dtype === DataType.HALF) return new Float16Array(data.buffer, data.byteOffset, data.length);
  if (dtype !== DataType.BFLOAT16) return data;
  const wide = new Uint32Array(data.length);
  for (let i = 0; i < data.length; i++) wide[i] = (data[i] as number) << 16;
  return new Float32Array(wide.buffer);
}

/** Each element as a double; for rules, which know no other numbers. */
export function asDoubles(data: ElementArray, count: number, dtype: number): Float64Array {
  const source = values(data, dtype);
  const out = new Float64Array(count);
  for (let i = 0; i < count; i++) out[i] = Number(source[i]);
  return out;
}

const RANGES: Record<number, readonly [number, number]> = {
  [DataType.INT8]: [-128, 127],
  [DataType.UINT8]: [0, 255],
  [DataType.INT16]: [-32768, 32767],
  [DataType.UINT16]: [0, 65535],
  [DataType.INT32]: [-2147483648, 2147483647],
  [DataType.UINT32]: [0, 4294967295],
};
const LONG_RANGES: Record<number, readonly [bigint, bigint]> = {
  [DataType.INT64]: [-(2n ** 63n), 2n ** 63n - 1n],
  [DataType.UINT64]: [0n, 2n ** 64n - 1n],
};

function isNumeric(dtype: number): boolean {
  return dtype !== DataType.STRING && allocateElements(dtype, 0) !== null;
}
