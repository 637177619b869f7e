/** Casts of elements, against conversions written another way: exact integers, and rounding by looking at both neighbours. */
import fc from 'fast-check';
import t from 'tap';
import { allocateElements, DataType, type ElementArray } from '../../../../proto/tensor/dtype.ts';
import { CastError, type CastRule, canCast, castElements } from '../../../../proto/tensor/element-cast.ts';
import { elementsOfText } from '../../../../proto/tensor/element-text.ts';

const SATURATE: CastRule = { rounding: 'nearest', overflow: 'saturate' };
const REFUSE: CastRule = { rounding: 'nearest', overflow: 'refuse' };
const { FLOAT, DOUBLE, HALF, BFLOAT16, INT8, UINT8, INT32, INT64, UINT64, BOOL, STRING } = DataType;

function cast(value: number | bigint, from: number, to: number, rule: CastRule): number | bigint {
  const data = allocateElements(from, 1)!;
  data[0] = value;
  return castElements(data, 1, from, to, rule)[0]!;
}

const BOUNDS: Record<number, [bigint, bigint]> = {
  [INT8]: [-128n, 127n],
  [UINT8]: [0n, 255n],
  [INT32]: [-(2n ** 31n), 2n ** 31n - 1n],
  [INT64]: [-(2n ** 63n), 2n ** 63n - 1n],
  [UINT64]: [0n, 2n ** 64n - 1n],
};

t.test('doubles become the nearest integer, ties to even, and the nearest the type holds', async () => {
  const anyNumber = fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.integer({ min: -600, max: 600 }).map((twice) => twice / 2),
  );
  fc.assert(
    fc.property(anyNumber, fc.constantFrom(INT8, UINT8, INT32, INT64, UINT64), (value, to) => {
      const truncated = BigInt(Math.trunc(value));
      const rest = Math.abs(value - Math.trunc(value));
      const away = rest > 0.5 || (rest === 0.5 && truncated % 2n !== 0n) ? 1n : 0n;
      const whole = value < 0 ? truncated - away : truncated + away;
      const [least, most] = BOUNDS[to]!;
      const expected = whole < least ? least : whole > most ? most : whole;
      return BigInt(cast(value, DOUBLE, to, SATURATE)) === expected;
    }),
  );
});

t.test('64-bit integers stay exact on their way to each other, and are refused where they do not fit', async (test) => {
  test.equal(cast(2n ** 63n - 1n, INT64, UINT64, REFUSE), 2n ** 63n - 1n);
  test.equal(cast(2n ** 64n - 1n, UINT64, INT64, SATURATE), 2n ** 63n - 1n);
  test.throws(() => cast(-1n, INT64, UINT64, REFUSE), CastError);
  test.equal(cast(2n ** 53n + 1n, INT64, DOUBLE, REFUSE), 2 ** 53, 'a double has the nearest');
});

t.test('narrower floats are the nearest there are, in one rounding', async () => {
  const finite = fc.double({ noNaN: true, noDefaultInfinity: true });
  fc.assert(
    fc.property(finite, fc.constantFrom(HALF, BFLOAT16, FLOAT), (value, to) => {
      const bits = to === FLOAT ? 32 : 16;
      const decode = decoders[to]!;
      const out = cast(value, DOUBLE, to, SATURATE) as number;
      const got = to === FLOAT ? out : decode(out);
      // No neighbour is nearer.
      const cell = encodeBits(to, got);
      const neighbours = [cell - 1, cell + 1].map((next) => decode((next >>> 0) & (2 ** bits - 1)));
      return neighbours.every((other) => !Number.isFinite(other) || Math.abs(other - value) >= Math.abs(got - value));
    }),
    { numRuns: 400 },
  );
});

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);
const half = new Float16Array(1);
const halfBits = new Uint16Array(half.buffer);
const decoders: Record<number, (bits: number) => number> = {
  [FLOAT]: (bits) => {
    singleBits[0] = bits;
    return single[0]!;
  },
  [BFLOAT16]: (bits) => decoders[FLOAT]!((bits << 16) >>> 0),
  [HALF]: (bits) => {
    halfBits[0] = bits;
    return half[0]!;
  },
};

function encodeBits(to: number, value: number): number {
  if (to === HALF) {
    half[0] = value;
    return halfBits[0]!;
  }
  single[0] = value;
  return to === FLOAT ? singleBits[0]! : singleBits[0]! >>> 16;
}

t.test('what is no number has no integer and no truth value', async (test) => {
  for (const rule of [SATURATE, REFUSE]) {
    for (const to of [INT32, INT64, BOOL]) test.throws(() => cast(Number.NaN, DOUBLE, to, rule), CastError);
    test.equal(cast(Number.POSITIVE_INFINITY, DOUBLE, FLOAT, rule), Number.POSITIVE_INFINITY);
  }
  test.equal(cast(Number.POSITIVE_INFINITY, DOUBLE, INT32, SATURATE), 2 ** 31 - 1);
  test.throws(() => cast(Number.POSITIVE_INFINITY, DOUBLE, INT32, REFUSE), CastError);
  test.throws(() => cast(1e39, DOUBLE, FLOAT, REFUSE), CastError);
  test.equal(cast(-2.7, DOUBLE, INT32, { rounding: 'truncate', overflow: 'refuse' }), -2);
});

t.test('strings are cast to nothing, and to themselves', async (test) => {
  test.ok(canCast(STRING, STRING));
  test.notOk(canCast(STRING, FLOAT));
  test.notOk(canCast(INT32, STRING));
  test.notOk(canCast(0, FLOAT));
});

t.test('texts of the configuration are elements only where the type holds exactly such', async (test) => {
  const first = (dtype: number, text: string): unknown => (elementsOfText(dtype, [text]) as ElementArray | null)?.[0];
  test.equal(first(INT64, '9223372036854775807'), 2n ** 63n - 1n);
  test.equal(first(INT64, '9223372036854775808'), undefined);
  test.equal(first(INT8, '1.5'), undefined);
  test.equal(first(INT8, '1e2'), 100);
  test.equal(first(FLOAT, '0.1'), Math.fround(0.1));
  test.ok(Number.isNaN(first(DOUBLE, 'NaN')));
  test.equal(first(BOOL, 'true'), 1);
  test.equal(first(BOOL, 'yes'), undefined);
  test.equal(first(FLOAT, '0x10'), undefined);
  test.equal(first(STRING, ''), '');
});
