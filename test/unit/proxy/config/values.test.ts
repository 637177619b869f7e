import fc from 'fast-check';
import t, { type Test } from 'tap';
import { UnitError } from '../../../../base/units.ts';
import { formatAddress, parseAddress, parseListenAddresses } from '../../../../proxy/config/address.ts';
import { defaultOf, expectationOf, parseField } from '../../../../proxy/config/field.ts';
import {
  formatTarget,
  parseClusterName,
  parseCohortSource,
  parseHeaderName,
  parseName,
  parseTarget,
  parseTargets,
  parseVersion,
  parseWeightedTargets,
} from '../../../../proxy/config/model-target.ts';
import { nearestHint, nearestName } from '../../../../proxy/config/nearest-name.ts';
import { runs } from '../../../support/fuzz-runs.ts';

function refuses(test: Test, parse: (text: string) => unknown, texts: readonly string[]): void {
  for (const text of texts) test.throws(() => parse(text), { name: 'UnitError' }, `refuses ${JSON.stringify(text)}`);
}

t.test('an address is a host and port, a bracketed IPv6 literal and port, or a Unix path', async (t) => {
  t.same(parseAddress('127.0.0.1:8500'), { kind: 'tcp', host: '127.0.0.1', port: 8500 });
  t.same(parseAddress(' models.default.svc:1 '), { kind: 'tcp', host: 'models.default.svc', port: 1 });
  t.same(parseAddress('localhost:65535'), { kind: 'tcp', host: 'localhost', port: 65_535 });
  t.same(parseAddress('[::1]:8500'), { kind: 'tcp', host: '::1', port: 8500 });
  t.same(parseAddress('unix:/run/w.sock'), { kind: 'unix', path: '/run/w.sock' });
  t.same(parseAddress(`unix:/${'a'.repeat(106)}`), { kind: 'unix', path: `/${'a'.repeat(106)}` });
  refuses(t, parseAddress, [
    '',
    'host',
    ':8500',
    'host:',
    'host:0',
    'host:65536',
    'http://host:80',
    '::1:80',
    '[::1]',
    '[host]:80',
  ]);
  refuses(t, parseAddress, [
    '256.1.1.1:80',
    '1.2.3:80',
    'a..b:80',
    '-a:80',
    'a-:80',
    'unix:',
    'unix:/',
    'unix:run/w.sock',
    'a b:80',
  ]);
  refuses(t, parseAddress, [
    `unix:/${'a'.repeat(107)}`,
    `unix:/${'é'.repeat(54)}`,
    'unix:/a\0b',
    `${'a.'.repeat(127)}a:80`,
  ]);
});

t.test('a host name of any length is judged at once', async (t) => {
  for (const text of [`${'a'.repeat(100_000)}:80`, `${'a-'.repeat(50_000)}!:80`, `${'a.'.repeat(50_000)}!:80`]) {
    const startedMs = performance.now();
    t.throws(() => parseAddress(text));
    t.ok(performance.now() - startedMs < 1000);
  }
});

t.test('listening needs IP literals, allows several and port 0, and can be off', async (t) => {
  t.same(parseListenAddresses('off'), []);
  t.same(parseListenAddresses('127.0.0.1:0'), [{ kind: 'tcp', host: '127.0.0.1', port: 0 }]);
  t.equal(parseListenAddresses('127.0.0.1:15001, [::1]:15001,unix:/run/u.sock').length, 3);
  t.equal(parseListenAddresses('127.0.0.1:0,127.0.0.1:0').length, 2, 'two free ports are two addresses');
  refuses(t, parseListenAddresses, [
    '',
    'localhost:80',
    '127.0.0.1',
    '127.0.0.1:1,',
    '127.0.0.1:1,127.0.0.1:1',
    'off,127.0.0.1:1',
  ]);
  refuses(t, parseListenAddresses, [Array.from({ length: 9 }, (_, i) => `127.0.0.1:${i + 1}`).join(',')]);
});

t.test('what an address is formatted as parses to the same address', async () => {
  const port = fc.integer({ min: 1, max: 65_535 });
  const host = fc.oneof(
    fc.ipV4(),
    fc.ipV6().filter((text) => !text.includes('.')),
    fc.domain(),
  );
  fc.assert(
    fc.property(host, port, (name, number) => {
      const text = name.includes(':') ? `[${name}]:${number}` : `${name}:${number}`;
      return formatAddress(parseAddress(text)) === text;
    }),
    { numRuns: runs(300) },
  );
});

t.test('a target is a model, perhaps with version, percentage and address', async (t) => {
  const bare = { version: '', percentHundredths: null, address: null };
  t.same(parseTarget('credit-risk'), { ...bare, model: 'credit-risk' });
  t.same(parseTarget('credit-risk@1'), { ...bare, model: 'credit-risk', version: '1' });
  t.same(parseTarget('team/model_2.x@9223372036854775807').version, '9223372036854775807');
  t.same(parseTarget('a@1  via  unix:/w').address, { kind: 'unix', path: '/w' });
  t.same(
    parseWeightedTargets('a@2 5% via [::1]:80, b 0.5%').map((target) => target.percentHundredths),
    [500, 50],
  );
  t.same(parseTargets('a, b@3').map(formatTarget), ['a', 'b@3']);
  refuses(t, parseTarget, [
    '',
    'a@',
    '@1',
    'a@-1',
    'a@01',
    'a@stable',
    'a@9223372036854775808',
    'a@1@2',
    'a 5%',
    'a via',
    'a via b',
  ]);
  refuses(t, parseTarget, ['a,b', 'a b', 'é', 'a@1 via host:80 5%', '-a', `${'a'.repeat(129)}`, 'a@1 VIA host:80']);
  refuses(t, parseTargets, ['a 5%', 'a,', ',a', Array.from({ length: 17 }, (_, i) => `m${i}`).join(',')]);
  refuses(t, parseWeightedTargets, ['a 101%', 'a 5', 'a 5%,']);
});

t.test('names, versions and headers are checked at their borders', async (t) => {
  t.equal(parseName('a'.repeat(128)).length, 128);
  t.equal(parseClusterName('credit-risk@1'), 'credit-risk@1');
  t.equal(parseVersion('0'), '0');
  t.equal(parseVersion('9223372036854775807'), '9223372036854775807');
  t.equal(parseHeaderName(' X-Customer '), 'x-customer');
  refuses(t, parseName, ['', 'a'.repeat(129), 'a@1', ' a', 'a b', '.a', '__proto__ ']);
  refuses(t, parseClusterName, ['', '@worker', 'a b']);
  refuses(t, parseVersion, ['', '-1', '00', '1.0', '1e3', '9223372036854775808', '99999999999999999999', ' 1']);
  refuses(t, parseHeaderName, ['', 'a b', 'a:', ':path', 'key-bin', 'é', 'a'.repeat(129)]);
});

t.test('a cohort comes from a header or an input, and borders must ascend', async (t) => {
  t.same(parseCohortSource('header:X-Segment'), { kind: 'header', name: 'x-segment' });
  t.same(parseCohortSource('input:employment'), { kind: 'input', tensor: 'employment', buckets: [] });
  t.same(parseCohortSource('input:age 25,40.5,65'), { kind: 'input', tensor: 'age', buckets: [25, 40.5, 65] });
  refuses(t, parseCohortSource, ['', 'x-segment', 'header:', 'header:a 1,2', 'input:', 'input:a 2,1', 'input:a 1,1']);
  refuses(t, parseCohortSource, ['input:a 1,', 'input:a NaN', 'input:a 1,Infinity', 'input:a x', 'query:a']);
});

t.test('any int64 that is not negative survives digit for digit', async () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
      (version) => parseTarget(`m@${version}`).version === `${version}`,
    ),
    { numRuns: runs(300) },
  );
});

t.test('no text makes a value parser fail in any other way', async () => {
  const parsers = [parseAddress, parseListenAddresses, parseTargets, parseWeightedTargets, parseCohortSource];
  const words = fc.constantFrom(
    'a',
    '@',
    '1',
    ' ',
    ' via ',
    'unix:/',
    ':80',
    ',',
    '%',
    '[',
    ']',
    '::',
    'off',
    'input:',
    'header:',
    '.',
  );
  const texts = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.array(words, { maxLength: 10 }).map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(texts, (text) => {
      for (const parse of parsers) {
        try {
          parse(text);
        } catch (error) {
          if (!(error instanceof UnitError)) throw error;
        }
      }
    }),
    { numRuns: runs(2000) },
  );
});

t.test('a field keeps its bounds and says them', async (t) => {
  const field = { kind: 'duration', default: '3s', min: 10, max: 60_000, reason: '', reloadable: false } as const;
  t.equal(parseField(field, '10ms'), 10);
  t.equal(parseField(field, '1m'), 60_000);
  t.throws(() => parseField(field, '9ms'), /at least 10ms, at most 1m/);
  t.throws(() => parseField(field, '60001ms'), { name: 'UnitError' });
  t.equal(defaultOf(field), 3000);
  t.match(expectationOf(field), /at least 10ms, at most 1m/);
  const level = { kind: 'choice', choices: ['a', 'b'], default: null, reason: '', reloadable: false } as const;
  t.equal(defaultOf(level), null);
  t.throws(() => parseField(level, 'c'), /one of a, b/);
  const plain = { default: null, reason: '', reloadable: false } as const;
  t.equal(parseField({ ...plain, kind: 'boolean' }, 'true'), true);
  t.throws(() => parseField({ ...plain, kind: 'boolean' }, 'yes'));
  t.equal(parseField({ ...plain, kind: 'number' }, '-1.5e3'), -1500);
  for (const text of ['', ' ', '0x10', 'Infinity', 'NaN', '1_000'])
    t.throws(() => parseField({ ...plain, kind: 'number' }, text));
  t.equal(parseField({ ...plain, kind: 'grpcStatus' }, 'UNAVAILABLE'), 14);
  for (const text of ['OK', 'ok', '14', 'toString', ''])
    t.throws(() => parseField({ ...plain, kind: 'grpcStatus' }, text));
  t.same(parseField({ ...plain, kind: 'ports' }, 'none'), []);
});

t.test('a hint is given for a near name and none for a far one', async (t) => {
  const known = ['window', 'weight', 'cluster', 'UNDERSTUDY_CONCURRENCY'];
  t.equal(nearestName('windw', known), 'window');
  t.equal(nearestName('wieght', known), 'weight', 'two swapped letters are one step');
  t.equal(nearestName('UNDERSTUDY_CONCURENCY', known), 'UNDERSTUDY_CONCURRENCY');
  t.equal(nearestName('Cluster', known), 'cluster');
  t.equal(nearestName('banana', known), undefined);
  t.equal(nearestName('', known), undefined);
  t.equal(nearestName('w'.repeat(129), known), undefined);
  t.equal(nearestHint('clustr', known), 'did you mean cluster?');
});
