import t from 'tap';
import { NameAllocator } from '../../../../proxy/config/allocation.ts';
import { compileMesh, EMPTY_DOCUMENT } from '../../../../proxy/config/compile.ts';
import { parseDocument } from '../../../../proxy/config/document.ts';
import { parseEnvironment } from '../../../../proxy/config/env.ts';
import { formatProblem, ProblemList } from '../../../../proxy/config/problem.ts';

function compile(document: object) {
  const problems = new ProblemList();
  const environment = parseEnvironment({}, problems);
  const parsed = parseDocument(JSON.stringify(document), problems) ?? EMPTY_DOCUMENT;
  const mesh = compileMesh(environment, parsed, new NameAllocator().allocate, 1, problems);
  return { mesh, mistakes: problems.problems.map(formatProblem).join('\n') };
}

const clusters = [{ name: 'other', endpoints: ['127.0.0.1:9000'] }];

t.test('conditions that are not written hold for everything', async (test) => {
  const { mesh, mistakes } = compile({ clusters, routes: [{ name: 'all', cluster: 'other' }] });
  test.equal(mistakes, '');
  test.same(mesh!.routes, [
    {
      name: 'all',
      authorities: [],
      path: '',
      pathIsPrefix: true,
      methods: [],
      trustsInternal: false,
      headers: [],
      upgrade: 'websocket',
      connect: false,
      cluster: 0,
      statsBase: 0,
    },
  ]);
});

t.test('authorities are lowered, and a whole path is no prefix', async (test) => {
  const routes = [{ name: 'r', authorities: ['Reports.Internal:80'], path: '/a', cluster: 'other' }];
  const [route] = compile({ clusters, routes }).mesh!.routes;
  test.match(route, { authorities: ['reports.internal:80'], path: '/a', pathIsPrefix: false });
});

t.test('all mistakes of all routes are told at once', async (test) => {
  const { mesh, mistakes } = compile({
    clusters: [...clusters, { name: 'm', model: 'credit' }],
    routes: [
      { name: 'a', path: 'reports', cluster: 'other', headers: [{ name: 'x', value: 'a', prefix: 'b' }] },
      { name: 'a', path: '/a', pathPrefix: '/b', authorities: ['not a host'], cluster: 'others' },
      { name: 'c', methods: ['FETCH'], cluster: 'm' },
    ],
  });
  test.equal(mesh, null);
  for (const part of [
    'routes[0].path',
    'routes[0].headers[0]',
    'routes[1].name',
    'the keys path and pathPrefix',
    'routes[1].authorities[0]',
    'routes[1].cluster',
    'routes[2].methods[0]',
    'routes[2].cluster',
  ]) {
    test.ok(mistakes.includes(part), `${part} in\n${mistakes}`);
  }
});
