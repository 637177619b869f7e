/** What environment and document come to: clusters, models, policies and places of one snapshot. */
import t from 'tap';
import { type Allocate, NameAllocator } from '../../../../proxy/config/allocation.ts';
import { CREDIT_RISK, clusterNames, compile, good } from './compiling.ts';

t.test('the common case needs no document', async (t) => {
  const mesh = good(t, CREDIT_RISK);
  t.equal(mesh.revision, 7);
  t.same(
    mesh.clusters.map(({ name }) => name),
    ['credit-risk@1', 'credit-risk@2', 'credit-risk-lite', '@worker'],
  );
  const [model] = mesh.models;
  t.equal(model!.name, 'credit-risk');
  t.same(model!.split, [
    { cluster: 0, weightHundredths: 9500 },
    { cluster: 1, weightHundredths: 500 },
  ]);
  t.same(clusterNames(mesh, model!, 'shadows'), ['credit-risk@2']);
  t.equal(model!.shadows[0]!.percentHundredths, 10_000);
  t.same(model!.fallbacks, [{ cluster: 2, budgetFraction: 1, adapt: null, rules: [], local: null }]);
  t.equal(model!.primaryBudgetFraction, 0.8);
  t.equal(model!.salt, 'credit-risk');
  t.ok(model!.fallbackStatuses.includes(14));
  t.notOk(model!.fallbackStatuses.includes(3), 'a mistake of the caller stays one');
  t.same(mesh.clusters[0]!.endpoints, [{ kind: 'unix', path: '/run/understudy/worker.sock' }]);
});

t.test('a document says the same as the shorthand', async (t) => {
  const text = `
models:
  - name: credit-risk
    split: [{model: credit-risk@1}, {model: credit-risk@2, weight: 5%}]
    shadows: [{model: credit-risk@2}]
    fallback: [{model: credit-risk-lite}]
`;
  t.same(good(t, {}, text), good(t, CREDIT_RISK));
});

t.test('a fallback without an address is served by the fallback worker', async (t) => {
  const mesh = good(t, { ...CREDIT_RISK, UNDERSTUDY_OUTBOUND_FALLBACK_WORKER_ADDRESS: 'unix:/run/lite.sock' });
  t.same(mesh.clusters[2]!.endpoints, [{ kind: 'unix', path: '/run/lite.sock' }]);
  const own = good(t, { ...CREDIT_RISK, UNDERSTUDY_MODEL_CREDIT_RISK_FALLBACK: 'credit-risk-lite via [::1]:8500' });
  t.same(own.clusters[2]!.endpoints, [{ kind: 'tcp', host: '::1', port: 8500 }]);
});

t.test('the same version at two addresses makes two clusters whose names do not depend on order', async (t) => {
  const env = {
    UNDERSTUDY_MODEL_A_PRIMARY: 'a@1',
    UNDERSTUDY_MODEL_A_FALLBACK: 'a@1 via 10.0.0.2:80, a@1 via 10.0.0.1:80',
    UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: '127.0.0.1:8500',
  };
  const mesh = good(t, env);
  t.same(clusterNames(mesh, mesh.models[0]!, 'split'), ['a@1']);
  t.same(clusterNames(mesh, mesh.models[0]!, 'fallbacks'), ['a@1 via 10.0.0.2:80', 'a@1 via 10.0.0.1:80']);
  const elsewhere = good(t, { ...env, UNDERSTUDY_MODEL_A_PRIMARY: 'b', UNDERSTUDY_MODEL_B_PRIMARY: 'a' });
  t.same(clusterNames(elsewhere, elsewhere.models[0]!, 'fallbacks'), ['a@1 via 10.0.0.2:80', 'a@1']);
});

t.test('fallback steps share the remaining deadline equally unless they say otherwise', async (t) => {
  const mesh = good(
    t,
    {},
    'models: [{name: m, split: [{model: m}], fallback: [{model: a}, {model: b, budget: 50%}, {model: c}]}]',
  );
  t.same(
    mesh.models[0]!.fallbacks.map((step) => step.budgetFraction),
    [1 / 3, 0.5, 1],
  );
  t.equal(good(t, {}, 'models: [{name: m, split: [{model: m}]}]').models[0]!.primaryBudgetFraction, 1);
});

t.test('breaker, timeouts and limits come from the nearest level', async (t) => {
  const mesh = good(
    t,
    {},
    `
defaults: {breaker: {window: 5s, open: 2s}, timeouts: {request: 30s}}
clusters:
  - {name: declared, model: m, version: 3, endpoints: ["10.0.0.1:8500"], breaker: {window: 1s}, limits: {pendingRequests: 0}}
  - {name: web, endpoints: ["10.0.0.2:80"]}
models:
  - name: m
    split: [{cluster: declared, weight: 50%}, {model: m@4}]
    breaker: {consecutiveFailures: 0}
    timeouts: {connect: 50ms}
passthrough: {cluster: web}
`,
  );
  const [declared, web, made] = mesh.clusters;
  t.match(declared, {
    name: 'declared',
    version: '3',
    maxPendingRequests: 0,
    connectTimeoutMs: 1000,
    requestTimeoutMs: 30_000,
  });
  t.match(declared!.breaker, { windowMs: 1000, openMs: 2000, consecutiveFailures: 5, enabled: true });
  t.match(made, { name: 'm@4', connectTimeoutMs: 50, breaker: { windowMs: 5000, consecutiveFailures: 0 } });
  t.match(
    web,
    { model: '', requestTimeoutMs: 0, breaker: { enabled: false } },
    'other traffic is neither judged nor cut',
  );
  t.equal(mesh.passthroughCluster, 1);
});

t.test('traffic that is no model call, and models nobody named, go where they are told', async (t) => {
  const none = good(t, {});
  t.equal(none.passthroughCluster, -1);
  t.equal(none.clusters[none.defaultModelCluster]!.name, '@worker');
  const upstream = good(t, {
    UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: '10.0.0.9:80',
    UNDERSTUDY_OUTBOUND_OTHER_MODELS: 'upstream',
  });
  t.equal(upstream.clusters[upstream.passthroughCluster]!.name, '@passthrough');
  t.equal(upstream.defaultModelCluster, upstream.passthroughCluster);
  const document = good(t, {}, 'passthrough: {address: "10.0.0.9:80"}');
  t.same(document.clusters[document.passthroughCluster]!.endpoints, [{ kind: 'tcp', host: '10.0.0.9', port: 80 }]);
  t.equal(good(t, { UNDERSTUDY_OUTBOUND_OTHER_MODELS: 'upstream' }).defaultModelCluster, -1);
});

t.test('a canary may be compared with the primary it replaces', async (t) => {
  const mesh = good(t, {
    UNDERSTUDY_MODEL_M_PRIMARY: 'm@1',
    UNDERSTUDY_MODEL_M_CANARY: 'm@2 5%',
    UNDERSTUDY_MODEL_M_SHADOW: 'm@1',
  });
  t.same(clusterNames(mesh, mesh.models[0]!, 'shadows'), ['m@1']);
  const moved = good(t, {
    UNDERSTUDY_MODEL_M_PRIMARY: 'm@1',
    UNDERSTUDY_MODEL_M_CANARY: 'm@2 100%',
    UNDERSTUDY_MODEL_M_SHADOW: 'm@1',
  });
  t.equal(moved.models[0]!.split[0]!.weightHundredths, 0);
  const over = compile({ UNDERSTUDY_MODEL_M_PRIMARY: 'm@1', UNDERSTUDY_MODEL_M_CANARY: 'm@2 60%, m@3 41%' });
  t.match(over.mistakes, [/UNDERSTUDY_MODEL_M_CANARY = "101%": expected weights that sum to 100% at most/]);
});

t.test('places are stable by name, asked for only by valid configurations, and bounded', async (t) => {
  const asked: string[] = [];
  const allocator = new NameAllocator({ cluster: { first: 100, stride: 10, count: 5 } });
  const allocate: Allocate = (kind, name) => {
    asked.push(`${kind} ${name}`);
    return allocator.allocate(kind, name, []);
  };
  compile({}, 'models: [{name: m}]', allocate);
  t.same(asked, [], 'a refused configuration uses nothing up');
  const before = compile(CREDIT_RISK, undefined, allocate).mesh!;
  t.same(
    before.clusters.map(({ statsBase, breakerIndex }) => [statsBase, breakerIndex]),
    [
      [100, 0],
      [110, 1],
      [120, 2],
      [130, 3],
    ],
  );
  t.match(before.originalDestination, { name: '@original', statsBase: 140, breakerIndex: 4 }, 'none but its own');
  t.ok(asked.includes('shadow credit-risk/credit-risk@2'));
  const after = compile({ UNDERSTUDY_MODEL_X_PRIMARY: 'credit-risk@2' }, undefined, allocate).mesh!;
  t.match(after.clusters[0], { name: 'credit-risk@2', statsBase: 110, breakerIndex: 1 });
  const full = compile({ UNDERSTUDY_MODEL_X_PRIMARY: 'one-more' }, undefined, allocate);
  t.equal(full.mesh, null);
  t.match(full.mistakes, [/at most 5 names of kind cluster/]);
});

t.test('a hedge is taken as written, needs somewhere to go, and is off without it', async (t) => {
  const written = (hedge: string, more = 'fallback: [{model: lite}], ') =>
    compile({}, `models: [{name: m, split: [{model: m}], ${more}hedge: ${hedge}}]`);
  t.match(written('{}').mesh!.models[0]!.hedge, {
    after: { ms: 0, quantile: 0.95 },
    toFallback: true,
    budgetFraction: 0.1,
    budgetFloor: 1,
  });
  t.match(written('{after: 50ms, budget: 5%}').mesh!.models[0]!.hedge, {
    after: { ms: 50, quantile: 0 },
    budgetFraction: 0.05,
  });
  t.equal(written('{after: p99.9}').mesh!.models[0]!.hedge!.after.quantile, 0.999);
  t.equal(written('{to: endpoint}', '').mesh!.models[0]!.hedge!.toFallback, false);
  t.equal(good(t, CREDIT_RISK).models[0]!.hedge, null);
  t.match(written('{}', '').mistakes, [/models\[0\]\.hedge.*a fallback to hedge with, or to: endpoint/]);
  for (const after of ['p10', 'p100', '50', '0ms', '2h', 'soon'])
    t.match(written(`{after: ${after}}`).mistakes, [/hedge\.after.*a percentile from p50 to p99\.9/], after);
});

t.test('degradation presets fill in what is not written, and need a fallback', async (t) => {
  const withPreset = (env: string) =>
    good(t, { ...CREDIT_RISK, UNDERSTUDY_MODEL_CREDIT_RISK_DEGRADATION: env }).models[0]!;
  const mean = { meanOverMs: 500, meanSamples: 10, returnFraction: 0.7, p95OverMs: 0, outOfMemory: 0 };
  t.match(withPreset('mean').degradation, { ...mean, memoryBelowFraction: 0, place: 0 });
  const tail = { meanOverMs: 0, p95OverMs: 600, p95ForMs: 15_000, outOfMemory: 3, memoryBelowFraction: 0.7 };
  t.match(withPreset('tail').degradation, { ...tail, memoryForMs: 60_000 });
  t.match(withPreset('both').degradation, { ...tail, meanOverMs: 500, stepAnswers: 20 });
  t.same(withPreset('both').degradation!.ladderHundredths, [1000, 3000, 6000, 10_000]);
  t.equal(good(t, CREDIT_RISK).models[0]!.degradation, null);
  const text = (degradation: string, fallback = 'fallback: [{model: lite}], ') =>
    `models: [{name: m, split: [{model: m}], ${fallback}degradation: ${degradation}}]`;
  const written = good(t, {}, text('{preset: mean, meanOver: 2s, ladder: [50%, 100%]}')).models[0]!.degradation!;
  t.match(written, { meanOverMs: 2000, p95OverMs: 0, ladderHundredths: [5000, 10_000] });
  t.match(compile({}, text('{}', '')).mistakes, [/models\[0\].degradation .*a fallback/]);
  t.match(compile({}, text('{preset: mean, meanOver: 0s}')).mistakes, [/at least one of meanOver, p95Over and outOfM/]);
  for (const ladder of ['[10%, 30%]', '[60%, 30%, 100%]']) {
    t.match(compile({}, text(`{ladder: ${ladder}}`)).mistakes, [/degradation.ladder.*shares that ascend to 100%/]);
  }
});

t.test('a snapshot is frozen throughout and crosses threads', async (t) => {
  const mesh = good(
    t,
    CREDIT_RISK,
    'models: [{name: ocr, split: [{model: ocr}], cohort: {input: a, buckets: [1], names: {"0": low}}}]',
  );
  const frozen = (value: unknown): boolean =>
    typeof value !== 'object' || value === null || (Object.isFrozen(value) && Object.values(value).every(frozen));
  t.ok(frozen(mesh));
  t.same(structuredClone(mesh), mesh);
});
