/** Number texts: what clients of TensorFlow Serving see, and that they read back as the same number. */
import fc from 'fast-check';
import t from 'tap';
import { ByteSink } from '../../../../proto/tensor/byte-sink.ts';
import { putDouble, putFloat, putInteger, putLong } from '../../../../proto/tensor/json-number-text.ts';
import { runs } from '../../../support/fuzz-runs.ts';

const sink = new ByteSink();

function text(put: (sink: ByteSink) => void): string {
  sink.clear();
  put(sink);
  return sink.view().toString();
}

const floatText = (value: number): string => text((s) => putFloat(s, Math.fround(value)));
const doubleText = (value: number): string => text((s) => putDouble(s, value));

t.test('floats are the shortest text, whole ones with a point, far ones with an exponent', async (t) => {
  const expected: [number, string][] = [
    [0.1, '0.1'],
    [3, '3.0'],
    [-0, '-0.0'],
    [9_000_000, '9e+06'],
    [3e-5, '3e-05'],
    [0.0001, '0.0001'],
    [1_234_567, '1234567.0'],
    [999_999.6, '999999.6'],
    [999_999.97, '1e+06'],
    [123_456.7, '123456.7'],
    [1.2345678e9, '1.2345678e+09'],
    [1e38, '1e+38'],
    [1e-45, '1e-45'],
    [1 / 3, '0.33333334'],
    [Number.NaN, 'NaN'],
    [Number.POSITIVE_INFINITY, 'Infinity'],
    [Number.NEGATIVE_INFINITY, '-Infinity'],
  ];
  for (const [value, wanted] of expected) t.equal(floatText(value), wanted);
  t.equal(doubleText(1 / 3), '0.3333333333333333');
  t.equal(doubleText(1e300), '1e+300');
  t.equal(doubleText(5), '5.0');
});

t.test('every float and double reads back, and no float text could be shorter', async (t) => {
  fc.assert(
    fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (value) => {
      const written = floatText(value);
      t.ok(Object.is(Math.fround(Number(written)), value), written);
      const digits = written
        .replace(/e.*/, '')
        .replace(/[-.]/g, '')
        .replace(/^0+|0+$/g, '').length;
      if (digits > 1) t.not(Math.fround(Number(value.toPrecision(digits - 1))), value, written);
    }),
    { numRuns: runs(3000) },
  );
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
      t.ok(Object.is(Number(doubleText(value)), value));
    }),
    { numRuns: runs(1000) },
  );
});

t.test('integers are exact to 64 bits', async (t) => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
      const lo = Number(BigInt.asIntN(32, value));
      const hi = Number(BigInt.asIntN(32, value >> 32n));
      t.equal(
        text((s) => putLong(s, lo, hi, true)),
        String(value),
      );
      t.equal(
        text((s) => putLong(s, lo, hi, false)),
        String(BigInt.asUintN(64, value)),
      );
    }),
    { numRuns: runs(1000) },
  );
  for (const value of [0, 9, 10, -1, 999_999_999, 1e9, -(2 ** 31), 2 ** 32 - 1, 2 ** 53]) {
    t.equal(
      text((s) => putInteger(s, value)),
      String(value),
    );
  }
});
