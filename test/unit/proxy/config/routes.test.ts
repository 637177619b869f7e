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
      policy: null,
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

t.test('a route with fallbacks has the policy of a model that nobody names', async (test) => {
  const fallback = [
    { cluster: 'spare', adapt: [{ path: 'results[].text', from: 'label', fill: 'none' }] },
    { static: { json: '{"results":[]}' } },
  ];
  const all = [...clusters, { name: 'spare', endpoints: ['127.0.0.1:9001'] }];
  const { mesh, mistakes } = compile({
    clusters: all,
    routes: [{ name: 'ocr', cluster: 'other', fallback, modelVersionField: 'model_version', maxReplaySize: '4MiB' }],
  });
  test.equal(mistakes, '');
  const policy = mesh!.routes[0]!.policy!;
  test.match(policy, {
    isRoute: true,
    versionOutput: 'model_version',
    maxReplayBytes: 4_194_304,
    primaryBudgetFraction: 0.8,
  });
  test.strictSame(
    policy.fallbacks.map(({ cluster }) => mesh!.clusters[cluster]!.name),
    ['spare', '@static/route:ocr/1'],
  );
  test.strictSame(policy.fallbacks[0]!.rules, [
    {
      path: [
        { key: 'results', each: true },
        { key: 'text', each: false },
      ],
      from: 'label',
      cast: 'none',
      fill: '"none"',
      drop: false,
    },
  ]);
  test.strictSame(mesh!.models, [], 'and is no model');
});

t.test("every mistake of a route's fallbacks is told at once", async (test) => {
  const adapt = [
    { path: 'a..b', fill: '1' },
    { path: 'x', fill: '1' },
    { path: 'x', drop: true, cast: 'string' },
    { path: 'list[]', from: 'other' },
    { path: 'y', from: 'a.b' },
    { path: 'z' },
  ];
  const { mistakes } = compile({
    clusters,
    routes: [
      {
        name: 'ocr',
        cluster: 'other',
        modelVersionField: 'v',
        fallback: [
          { cluster: 'other', adapt },
          { static: { json: '[]' } },
          { static: { json: '{' }, cluster: 'nobody' },
          {},
        ],
      },
    ],
  });
  for (const expected of [
    'fallback[0].cluster = "other": expected another cluster than the route\'s',
    'adapt[0].path = "a..b": expected keys with dots between them',
    'adapt[2].path = "x": expected a path that routes[0].fallback[0].adapt[1] does not have',
    'adapt[2]: expected no from, cast and fill, since the value is dropped',
    'adapt[3]: expected cast and fill only, since the path ends in elements of a list',
    'adapt[4].from = "a.b": expected one key',
    'adapt[5]: expected at least one of the keys from, cast, fill and drop',
    'fallback[1].static.json = "[]": expected a JSON object',
    'fallback[2]: expected exactly one of the keys cluster and static',
    'fallback[2].static.json = "{": expected a JSON object',
    'fallback[3]: expected exactly one of the keys cluster and static',
  ]) {
    test.ok(mistakes.replaceAll(' (line 1)', '').includes(expected), `${expected}\n${mistakes}`);
  }
});
