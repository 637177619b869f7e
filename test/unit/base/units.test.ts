import fc from 'fast-check';
import t, { type Test } from 'tap';
import {
  countPorts,
  formatDuration,
  formatPercent,
  formatPortRanges,
  formatSize,
  MAX_DURATION_MS,
  parseDurationMs,
  parsePercentHundredths,
  parsePortRanges,
  parseSizeBytes,
  UnitError,
} from '../../../base/units.ts';
import { runs } from '../../support/fuzz-runs.ts';

/** Every text must be refused with an expectation. */
function refuses(test: Test, parse: (text: string) => unknown, texts: readonly string[]): void {
  for (const text of texts) test.throws(() => parse(text), { name: 'UnitError' }, `refuses ${JSON.stringify(text)}`);
}

t.test('a duration is a whole number with its unit', async (t) => {
  const cases = { '0s': 0, '250ms': 250, '30s': 30_000, ' 5m ': 300_000, '2h': 7_200_000, '24d': 2_073_600_000 };
  for (const [text, expected] of Object.entries(cases)) t.equal(parseDurationMs(text), expected, text);
  t.equal(parseDurationMs(`${MAX_DURATION_MS}ms`), MAX_DURATION_MS);
  refuses(t, parseDurationMs, [
    '',
    '5',
    '0',
    '1.5s',
    '-1s',
    '5 s',
    '5S',
    '5sec',
    's',
    '1e3ms',
    '25d',
    `${'9'.repeat(17)}ms`,
  ]);
  refuses(t, parseDurationMs, [`${MAX_DURATION_MS + 1}ms`, 'NaNms', '٣s', '5s\u0000']);
});

t.test('a size is a whole number with a binary unit', async (t) => {
  const cases = { '0B': 0, '512B': 512, '64KiB': 65_536, '4MiB': 4_194_304, '1GiB': 2 ** 30, '2TiB': 2 ** 41 };
  for (const [text, expected] of Object.entries(cases)) t.equal(parseSizeBytes(text), expected, text);
  t.equal(parseSizeBytes(`${Number.MAX_SAFE_INTEGER}B`), Number.MAX_SAFE_INTEGER);
  refuses(t, parseSizeBytes, ['', '4', '4MB', '4mib', '1.5MiB', '-1B', '9007199254740992B', '9000TiB', '4 MiB']);
});

t.test('a percentage has its sign and at most two decimals', async (t) => {
  const cases = { '0%': 0, '5%': 500, '0.25%': 25, '99.9%': 9990, '100%': 10_000, '100.00%': 10_000 };
  for (const [text, expected] of Object.entries(cases)) t.equal(parsePercentHundredths(text), expected, text);
  refuses(t, parsePercentHundredths, ['', '5', '%', '100.01%', '101%', '-1%', '0.001%', '.5%', '5.%', '5 %', '1e1%']);
});

t.test('ports are numbers and ranges, merged in ascending order', async (t) => {
  t.same(parsePortRanges('8500'), [{ first: 8500, last: 8500 }]);
  t.same(parsePortRanges('9000-9010, 8500'), [
    { first: 8500, last: 8500 },
    { first: 9000, last: 9010 },
  ]);
  t.same(parsePortRanges('1-10,5-20,21'), [{ first: 1, last: 21 }]);
  t.same(parsePortRanges('65535,1'), [
    { first: 1, last: 1 },
    { first: 65_535, last: 65_535 },
  ]);
  t.equal(countPorts(parsePortRanges('8500,9000-9010')), 12);
  refuses(t, parsePortRanges, ['', ',', '0', '65536', '10-5', '80,', '80-', '-80', '80-90-100', 'http', '8e1', '1.5']);
});

t.test('an error names the text and says what would have been accepted', async (t) => {
  try {
    parseDurationMs('5');
    t.fail('accepted a number without a unit');
  } catch (error) {
    t.ok(error instanceof UnitError);
    t.match((error as UnitError).expectation, /unit of ms, s, m, h or d/);
    t.match((error as UnitError).message, '"5"');
  }
});

t.test('what is formatted parses to the same value', async (t) => {
  const durations = fc.property(
    fc.integer({ min: 0, max: MAX_DURATION_MS }),
    (ms) => parseDurationMs(formatDuration(ms)) === ms,
  );
  fc.assert(durations, { numRuns: runs(500) });
  const sizes = fc.property(fc.maxSafeNat(), (bytes) => parseSizeBytes(formatSize(bytes)) === bytes);
  fc.assert(sizes, { numRuns: runs(500) });
  for (let hundredths = 0; hundredths <= 10_000; hundredths++) {
    if (parsePercentHundredths(formatPercent(hundredths)) !== hundredths) t.fail(`${hundredths} hundredths`);
  }
  const port = fc.integer({ min: 1, max: 65_535 });
  const ranges = fc.array(fc.tuple(port, port), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(ranges, (pairs) => {
      const text = pairs.map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`).join(',');
      const parsed = parsePortRanges(text);
      t.same(parsePortRanges(formatPortRanges(parsed)), parsed);
      for (let i = 1; i < parsed.length; i++) t.ok(parsed[i]!.first > parsed[i - 1]!.last + 1);
      for (const [a, b] of pairs)
        t.ok(parsed.some(({ first, last }) => first <= Math.min(a, b) && Math.max(a, b) <= last));
    }),
    { numRuns: runs(100) },
  );
});

t.test('no text makes a parser fail in any other way', async (t) => {
  const alphabet = fc.constantFrom(...'0123456789.-,%smhdKMGTiB '.split(''), 'ms', 'MiB');
  const texts = fc.oneof(
    fc.string({ maxLength: 30 }),
    fc.array(alphabet, { maxLength: 12 }).map((parts) => parts.join('')),
  );
  const parsers = [parseDurationMs, parseSizeBytes, parsePercentHundredths];
  fc.assert(
    fc.property(texts, (text) => {
      for (const parse of parsers) {
        try {
          const value = parse(text);
          if (!Number.isSafeInteger(value) || value < 0) t.fail(`${parse.name}(${JSON.stringify(text)}) is ${value}`);
        } catch (error) {
          if (!(error instanceof UnitError)) throw error;
        }
      }
      try {
        parsePortRanges(text);
      } catch (error) {
        if (!(error instanceof UnitError)) throw error;
      }
    }),
    { numRuns: runs(2000) },
  );
});
