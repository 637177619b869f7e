/** What becomes of a request's head before anything is decided on it. */
import t from 'tap';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { HeadPolicy, type HeadRules, withoutInternal } from '../../../../proxy/routing/head-policy.ts';
import { RequestTraits } from '../../../../proxy/routing/request-traits.ts';

const SOURCE = { remoteAddress: '10.0.0.7', secure: false };
const policy = (rules: Partial<HeadRules> = {}) =>
  new HeadPolicy({ side: 'outbound', trustsInternal: false, forwarded: 'off', requestId: 'pass', ...rules });
const list = (...more: [string, string][]) => HeaderList.of([':method', 'GET'], [':path', '/'], ...more);
const STEERING: [string, string][] = [
  ['x-understudy-shadow', '1'],
  ['accept', 'a'],
  ['x-understudy-anything', 'x'],
];

t.test('a head without anything to change stays the same list, so what is known of it stays known', async (test) => {
  const head = list(['accept', 'a']);
  const heads = policy();
  test.equal(heads.prepare(head, SOURCE), head);
  RequestTraits.of(head);
  test.equal(heads.prepare(head, SOURCE), head);
});

t.test('internal fields of strangers are taken away once, and repeated heads get the same list', async (test) => {
  const head = list(...STEERING);
  const heads = policy();
  const prepared = heads.prepare(head, SOURCE);
  test.same(prepared.names, [':method', ':path', 'accept']);
  test.equal(heads.prepare(head, SOURCE), prepared);
});

t.test('listeners that share a list do not share trust, in whichever order they see it', async (test) => {
  for (const order of [
    [true, false, true],
    [false, true, false],
  ]) {
    const head = list(...STEERING);
    for (const trustsInternal of order) {
      const prepared = policy({ trustsInternal }).prepare(head, SOURCE);
      RequestTraits.of(prepared);
      test.equal(prepared.get('x-understudy-shadow'), trustsInternal ? '1' : undefined);
    }
  }
});

t.test('a route that trusts sees what a listener that does not has taken away', async (test) => {
  const head = list(...STEERING);
  const heads = policy();
  test.equal(heads.prepare(head, SOURCE).get('x-understudy-shadow'), undefined);
  test.equal(heads.prepareTrusted(head, SOURCE).get('x-understudy-shadow'), '1');
});

t.test('forwarded fields are appended to, replaced or left alone, per caller', async (test) => {
  const fields: [string, string][] = [
    ['x-forwarded-for', '1.1.1.1'],
    ['x-forwarded-proto', 'https'],
    ['x-forwarded-for', '2.2.2.2'],
  ];
  const append = policy({ forwarded: 'append' });
  const head = list(...fields);
  const appended = append.prepare(head, SOURCE);
  test.equal(appended.get('x-forwarded-for'), '1.1.1.1, 2.2.2.2, 10.0.0.7');
  test.equal(appended.get('x-forwarded-proto'), 'https');
  test.equal(append.prepare(head, SOURCE), appended, 'the same caller');
  const other = append.prepare(head, { remoteAddress: '10.0.0.8', secure: true });
  test.equal(other.get('x-forwarded-for'), '1.1.1.1, 2.2.2.2, 10.0.0.8');
  const replaced = policy({ forwarded: 'replace' }).prepare(list(...fields), {
    remoteAddress: '10.0.0.8',
    secure: true,
  });
  test.equal(replaced.get('x-forwarded-for'), '10.0.0.8');
  test.equal(replaced.get('x-forwarded-proto'), 'https');
  test.equal(policy({ forwarded: 'append' }).prepare(list(), SOURCE).get('x-forwarded-proto'), 'http');
  test.equal(
    policy()
      .prepare(list(...fields), SOURCE)
      .get('x-forwarded-for'),
    '1.1.1.1',
  );
  const unix = policy({ forwarded: 'replace' }).prepare(list(...fields), { remoteAddress: '', secure: false });
  test.equal(unix.get('x-forwarded-for'), undefined);
});

t.test('a request id that is to be replaced is taken away, and secrets stay never-indexed', async (test) => {
  const head = new HeaderList(
    ['x-request-id', 'authorization', 'x-understudy-a'],
    ['old', 'secret', 'x'],
    [false, true, false],
  );
  const prepared = policy({ requestId: 'replace' }).prepare(head, SOURCE);
  test.same(prepared.names, ['authorization']);
  test.ok(prepared.isNeverIndexed(0));
});

t.test('trailers lose internal fields too', async (test) => {
  const clean = HeaderList.of(['a', 'b']);
  test.equal(withoutInternal(clean), clean);
  test.same(withoutInternal(HeaderList.of(['x-understudy-shadow', '1'], ['a', 'b'])).names, ['a']);
});
