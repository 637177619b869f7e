import fc from 'fast-check';
import t from 'tap';
import { parseVersionName } from '../../../../inference-worker/repository/version-name.ts';
import { runs } from '../../../support/fuzz-runs.ts';

function numberOf(name: string): bigint {
  const parsed = parseVersionName(name);
  if (parsed.kind !== 'version') throw new Error(`${name} is no version`);
  return parsed.version;
}

t.test('a release becomes major<<51 | minor<<39 | patch<<27 | date, and keeps its name as a label', async (t) => {
  t.same(parseVersionName('1.4.0-20250405'), {
    kind: 'version',
    version: (1n << 51n) | (4n << 39n) | (0n << 27n) | 20250405n,
    label: '1.4.0-20250405',
  });
  t.equal(numberOf('v1.4.0'), (1n << 51n) | (4n << 39n), 'no date is 0, a leading v is passed over');
  t.equal(numberOf('4095.4095.4095-99991231'), (4095n << 51n) | (4095n << 39n) | (4095n << 27n) | 99991231n);
  t.ok(numberOf('4095.4095.4095-99991231') <= 2n ** 63n - 1n);
  t.same(parseVersionName('00000123'), { kind: 'version', version: 123n, label: null });
});

t.test('a release whose number would not be unique is refused with the reason', async (t) => {
  for (const [name, reason] of [
    ['4096.0.0', /go up to 4095/],
    ['1.4096.0', /go up to 4095/],
    ['1.0.4096', /go up to 4095/],
    ['1.4.0-20250230', /not YYYYMMDD/],
    ['1.4.0-20251301', /not YYYYMMDD/],
    ['1.4.0-2025040', /not YYYYMMDD/],
    ['1.04.0', /begins with 0/],
  ] as const) {
    const parsed = parseVersionName(name);
    t.equal(parsed.kind, 'refused', name);
    t.match(parsed.kind === 'refused' ? parsed.reason : '', reason, name);
  }
});

t.test('other names are no versions', async (t) => {
  for (const name of ['latest', '-4', '1.4', '1.4.0-rc1', '1.4.0.1', '9223372036854775808', '', 'v1']) {
    t.equal(parseVersionName(name).kind, 'other', name);
  }
});

t.test('numbers are in the order of the releases', async () => {
  const part = fc.integer({ min: 0, max: 4095 });
  const release = fc.tuple(part, part, part, fc.constantFrom(0, 20240101, 20250405, 20251231));
  const text = ([a, b, c, d]: number[]) => `${a}.${b}.${c}${d === 0 ? '' : `-${d}`}`;
  fc.assert(
    fc.property(release, release, (a, b) => {
      const first = a.findIndex((value, i) => value !== b[i]);
      const order = first < 0 ? 0 : Math.sign(a[first]! - b[first]!);
      const difference = numberOf(text(a)) - numberOf(text(b));
      return Math.sign(Number(difference)) === order;
    }),
    { numRuns: runs(500) },
  );
});
