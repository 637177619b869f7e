import t from 'tap';
import {
  LATEST_ONE,
  MAX_VERSION,
  parseVersionNumber,
  parseVersionPolicy,
  wantedVersions,
} from '../../../../inference-worker/repository/version-policy.ts';

t.test('latest wants the highest numbers, compared as numbers', async (t) => {
  t.same(wantedVersions(LATEST_ONE, [9n, 10n, 2n]), [10n]);
  t.same(wantedVersions({ kind: 'latest', count: 2 }, [9n, 10n, 2n]), [10n, 9n]);
  t.same(wantedVersions({ kind: 'latest', count: 2 }, [7n]), [7n]);
  t.same(wantedVersions(LATEST_ONE, []), []);
});

t.test('all wants everything and specific only what is both named and there', async (t) => {
  t.same(wantedVersions({ kind: 'all' }, [1n, 3n, 2n]), [3n, 2n, 1n]);
  t.same(wantedVersions({ kind: 'specific', versions: [1n, 8n] }, [1n, 3n, 2n]), [1n]);
});

t.test('version numbers are decimal int64 with leading zeros ignored', async (t) => {
  t.equal(parseVersionNumber('00000123'), 123n);
  t.equal(parseVersionNumber('0'), 0n);
  t.equal(parseVersionNumber('9223372036854775807'), MAX_VERSION);
  for (const bad of ['', '9223372036854775808', '-1', '+1', ' 1', '1.0', '1e3', 'v1', '１', '0x1']) {
    t.equal(parseVersionNumber(bad), null, JSON.stringify(bad));
  }
});

t.test('the short policy form is read or refused whole', async (t) => {
  t.same(parseVersionPolicy('all'), { kind: 'all' });
  t.same(parseVersionPolicy('latest'), LATEST_ONE);
  t.same(parseVersionPolicy('latest=3'), { kind: 'latest', count: 3 });
  t.same(parseVersionPolicy('1+007+1'), { kind: 'specific', versions: [1n, 7n] });
  for (const bad of ['', 'latest=0', 'latest=', 'latest=x', '1+', '1,2', 'newest'])
    t.equal(parseVersionPolicy(bad), null, bad);
});
