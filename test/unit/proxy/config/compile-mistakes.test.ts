/** What environment and document may not say, alone and together: each mistake by its place, with what was expected. */
import t from 'tap';
import { CREDIT_RISK, clusterNames, compile, good } from './compiling.ts';

t.test('shorthand and document add up, and what stands in both is a mistake', async (t) => {
  const mesh = good(t, CREDIT_RISK, 'models: [{name: ocr, split: [{model: ocr@1}]}]');
  t.same(
    mesh.models.map(({ name }) => name),
    ['credit-risk', 'ocr'],
  );
  const twice = compile(CREDIT_RISK, 'models: [{name: credit-risk, split: [{model: credit-risk@3}]}]');
  t.equal(twice.mesh, null);
  t.match(twice.mistakes, [
    /models\[0\]\.name .*UNDERSTUDY_MODEL_CREDIT_RISK_PRIMARY configures it; write a model in one place/,
  ]);
  const aliases = compile({ UNDERSTUDY_MODEL_A_PRIMARY: 'm@1', UNDERSTUDY_MODEL_B_PRIMARY: 'm@2' });
  t.match(aliases.mistakes, [/UNDERSTUDY_MODEL_B_PRIMARY = "m": .*UNDERSTUDY_MODEL_A_PRIMARY configures it/]);
  const upstream = { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: '10.0.0.9:80' };
  t.match(compile(upstream, 'passthrough: {address: "10.0.0.9:81"}').mistakes, [
    /passthrough .*UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS is set/,
  ]);
});

t.test('a shorthand target called like a declared cluster means that cluster', async (t) => {
  const text = 'clusters: [{name: credit-risk@1, model: credit-risk, version: 1, endpoints: ["10.0.0.1:80"]}]';
  const mesh = good(t, CREDIT_RISK, text);
  t.same(mesh.clusters[mesh.models[0]!.split[0]!.cluster]!.endpoints, [{ kind: 'tcp', host: '10.0.0.1', port: 80 }]);
  t.equal(mesh.clusters.filter(({ name }) => name === 'credit-risk@1').length, 1);
  const other = compile(CREDIT_RISK, text.replace('version: 1', 'version: 2'));
  t.match(other.mistakes, [
    /UNDERSTUDY_MODEL_CREDIT_RISK_PRIMARY = "credit-risk@1": .*it serves credit-risk@2; see clusters\[0\]/,
  ]);
  const via = good(t, { UNDERSTUDY_MODEL_A_PRIMARY: 'credit-risk@1 via 10.0.0.5:80' }, text);
  t.same(clusterNames(via, via.models[0]!, 'split'), ['credit-risk@1 via 10.0.0.5:80']);
});

const WRONG: Readonly<Record<string, [text: string, expected: RegExp]>> = {
  'a reference to nothing': [
    'models: [{name: m, split: [{cluster: x}]}]',
    /models\[0\]\.split\[0\]\.cluster .*declared cluster/,
  ],
  'weights below 100%': [
    'models: [{name: m, split: [{model: m@1, weight: 50%}, {model: m@2, weight: 49.99%}]}]',
    /"99.99%": expected weights that sum to 100%/,
  ],
  'weights above 100%': [
    'models: [{name: m, split: [{model: m@1}, {model: m@2, weight: 60%}, {model: m@3, weight: 60%}]}]',
    /"120%": expected weights/,
  ],
  'two shares without weight': [
    'models: [{name: m, split: [{model: m@1}, {model: m@2}]}]',
    /a weight for each share but one/,
  ],
  'no share': ['models: [{name: m}]', /models\[0\]\.split .*at least one share/],
  'a cluster twice in a split': [
    'models: [{name: m, split: [{model: m@1, weight: 50%}, {model: m@1}]}]',
    /split\[1\].*each cluster once/,
  ],
  'a shadow twice': [
    'models: [{name: m, split: [{model: m@1}], shadows: [{model: m@2}, {model: m@2}]}]',
    /shadows\[1\].*each cluster once/,
  ],
  'a fallback twice': [
    'models: [{name: m, split: [{model: m@1}], fallback: [{model: n}, {model: n}]}]',
    /fallback\[1\].*each cluster once/,
  ],
  'a shadow of itself': [
    'models: [{name: m, split: [{model: m@1}], shadows: [{model: m@1}]}]',
    /shadows\[0\].*another cluster than the primary/,
  ],
  'a fallback to itself': [
    'models: [{name: m, split: [{model: m@1}], fallback: [{model: m@1}]}]',
    /fallback\[0\].*another cluster than the primary/,
  ],
  'two keys in a target': [
    'models: [{name: m, split: [{model: m@1, cluster: x}]}]',
    /exactly one of the keys cluster and model/,
  ],
  'no key in a target': ['models: [{name: m, split: [{weight: 100%}]}]', /exactly one of the keys cluster and model/],
  'two clusters of one name': [
    'clusters: [{name: a, model: a}, {name: a, model: b}]',
    /clusters\[1\]\.name .*clusters\[0\] has it/,
  ],
  'two models of one name': [
    'models: [{name: m, split: [{model: m}]}, {name: m, split: [{model: m}]}]',
    /models\[1\]\.name .*models\[0\] configures it/,
  ],
  'a version of no model': ['clusters: [{name: a, version: 1, endpoints: ["b:80"]}]', /clusters\[0\]\.version/],
  'a cluster without address': ['clusters: [{name: a}]', /clusters\[0\]\.endpoints .*at least one address/],
  'a model served by a cluster of other traffic': [
    'clusters: [{name: a, endpoints: ["b:80"]}]\nmodels: [{name: m, split: [{cluster: a}]}]',
    /a cluster that names a model/,
  ],
  'a passthrough to a model': [
    'clusters: [{name: a, model: a}]\npassthrough: {cluster: a}',
    /a cluster that names no model/,
  ],
  'an empty passthrough': ['passthrough: {}', /passthrough .*exactly one/],
  'an open period above its bound': [
    'defaults: {breaker: {open: 10s, maxOpen: 5s}}',
    /defaults\.breaker\.maxOpen .*at least the first open period, 10000ms/,
  ],
  'the same on a cluster': ['clusters: [{name: a, model: a, breaker: {open: 40s}}]', /clusters\[0\]\.breaker\.maxOpen/],
  'the same on a model': [
    'models: [{name: m, split: [{model: m}], breaker: {open: 40s}}]',
    /models\[0\]\.breaker\.maxOpen/,
  ],
  'two policies for one target': [
    'models: [{name: m, split: [{model: x@1}]}, {name: n, split: [{model: x@1}], limits: {pendingRequests: 1}}]',
    /models\[1\]\.split\[0\].*the same breaker, timeouts and limits/,
  ],
  'a policy that reaches no cluster': [
    'clusters: [{name: a, model: a}]\nmodels: [{name: m, split: [{cluster: a}], limits: {pendingRequests: 1}}]',
    /models\[0\] .*on the clusters, which are all declared/,
  ],
  'two cohort sources': [
    'models: [{name: m, split: [{model: m}], cohort: {header: a, input: b}}]',
    /models\[0\]\.cohort .*exactly one/,
  ],
  'buckets of a header': [
    'models: [{name: m, split: [{model: m}], cohort: {header: a, buckets: [1]}}]',
    /models\[0\]\.cohort\.buckets .*no buckets/,
  ],
  'buckets out of order': [
    'models: [{name: m, split: [{model: m}], cohort: {input: a, buckets: [2, 1]}}]',
    /"2,1": expected numbers that ascend/,
  ],
};

t.test('each rule between values is checked, by itself', async (t) => {
  for (const [name, [text, expected]] of Object.entries(WRONG)) {
    const { mesh, mistakes } = compile({}, text);
    t.equal(mesh, null, name);
    t.match(mistakes, [expected], name);
    t.equal(mistakes.length, 1, `${name}: ${mistakes.join(' | ')}`);
  }
});

t.test('mistakes of environment and document are reported together, without their consequences', async (t) => {
  const { mistakes } = compile(
    { UNDERSTUDY_CONCURRENCY: 'many', UNDERSTUDY_MODEL_A_PRIMARY: 'a@1', UNDERSTUDY_MODEL_A_SHADOW: 'a@1' },
    'models: [{name: m, split: [{model: "m@x"}], shadows: [{cluster: gone}]}]\nextra: 1',
  );
  t.same(
    mistakes.map((line) => line.split(' ')[0]!.replace(':', '')),
    [
      'UNDERSTUDY_CONCURRENCY',
      'extra',
      'models[0].split[0].model',
      'UNDERSTUDY_MODEL_A_SHADOW',
      'models[0].shadows[0].cluster',
    ],
  );
});
