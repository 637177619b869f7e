import t from 'tap';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import type { RouteSnapshot } from '../../../../proxy/config/snapshot.ts';
import { RequestTraits } from '../../../../proxy/routing/request-traits.ts';
import { RouteTable } from '../../../../proxy/routing/route-table.ts';

const ANY: RouteSnapshot = {
  name: 'any',
  authorities: [],
  path: '',
  pathIsPrefix: true,
  methods: [],
  headers: [],
  upgrade: 'websocket',
  connect: false,
  trustsInternal: false,
  policy: null,
  cluster: 0,
  statsBase: 0,
};

function head(path = '/v1/models', authority = 'models.internal:8500', ...more: [string, string][]): HeaderList {
  return HeaderList.of([':method', 'GET'], [':scheme', 'http'], [':path', path], [':authority', authority], ...more);
}

function takes(route: Partial<RouteSnapshot>, list: HeaderList): boolean {
  return new RouteTable([{ ...ANY, ...route }]).match(list, RequestTraits.of(list)) === 0;
}

t.test('a route without conditions takes everything', async (test) => {
  test.ok(takes({}, head()));
});

t.test('a path is compared without its query, whole or by its beginning', async (test) => {
  test.ok(takes({ path: '/v1/models', pathIsPrefix: false }, head('/v1/models?x=/v1')));
  test.notOk(takes({ path: '/v1/models', pathIsPrefix: false }, head('/v1/models/a')));
  test.ok(takes({ path: '/v1/' }, head('/v1/models/a')));
  test.notOk(takes({ path: '/v1/' }, head('/v1')));
});

t.test('an authority is compared without regard to case, and to the port where the pattern has none', async (test) => {
  const rows: [string, string, boolean][] = [
    ['models.internal', 'MODELS.internal', true],
    ['models.internal', 'models.internal:8500', true],
    ['models.internal:8500', 'models.internal:8500', true],
    ['models.internal:8501', 'models.internal:8500', false],
    ['*.internal', 'a.b.internal:1', true],
    ['*.internal', 'internal', false],
    ['*.internal', '.internal', false],
    ['[::1]', '[::1]:8500', true],
    ['[::1]:8500', '[::1]', false],
  ];
  for (const [pattern, authority, taken] of rows) {
    test.equal(takes({ authorities: [pattern] }, head('/', authority)), taken, `${pattern} and ${authority}`);
  }
});

t.test('every header condition must hold, absence included', async (test) => {
  const tester = { name: 'x-tester', value: 'yes', isPrefix: false, absent: false };
  const headers = [tester, { name: 'x-debug', value: '', isPrefix: true, absent: true }];
  test.ok(takes({ headers }, head('/', 'a', ['x-tester', 'yes'])));
  test.notOk(takes({ headers }, head('/', 'a', ['x-tester', 'yes please'])));
  test.notOk(takes({ headers }, head('/', 'a', ['x-tester', 'yes'], ['x-debug', '1'])));
  test.notOk(takes({ headers }, head()));
  test.ok(takes({ headers: [{ ...tester, isPrefix: true }] }, head('/', 'a', ['x-tester', 'yes please'])));
});

t.test('the first route that matches takes the request, and another table judges anew', async (test) => {
  const list = head('/b');
  const traits = RequestTraits.of(list);
  const table = new RouteTable([{ ...ANY, path: '/a' }, { ...ANY, path: '/b' }, ANY]);
  test.equal(table.match(list, traits), 1);
  test.equal(table.match(list, traits), 1);
  test.equal(new RouteTable([{ ...ANY, methods: ['POST'] }]).match(list, traits), -1);
});
