/** Pods that are left alone, warned about or refused, each with its reason. */
import t from 'tap';
import { MODELS, operationsOf, pod, refusal, respond } from './reviews.ts';

t.test('a pod that opted out, by label or annotation, is left alone', async (t) => {
  t.same(operationsOf(respond(pod({ 'understudy.dev/inject': 'false' }))), []);
  t.same(operationsOf(respond(pod({}, {}, { 'understudy.dev/inject': 'false' }))), []);
});

t.test(
  'a pod on the network of its node is left alone with a warning: rules there would catch everybody',
  async (t) => {
    const response = respond(pod({}, { hostNetwork: true }));
    t.same(operationsOf(response), []);
    t.match(response, { allowed: true, warnings: [/network of its node/] });
  },
);

t.test("a container that runs as the proxy's user is warned about", async (t) => {
  const response = respond(pod({}, { containers: [{ name: 'loans', securityContext: { runAsUser: 1717 } }] }));
  t.match(response, { allowed: true, warnings: [/container loans runs as user or group 1717/] });
});

t.test('probes that a redirected port cannot answer truthfully are warned about', async (t) => {
  const containers = [
    {
      name: 'tfs',
      ports: [{ name: 'rest', containerPort: 8501 }],
      startupProbe: { tcpSocket: { port: 8500 } },
      livenessProbe: { httpGet: { path: '/', port: 'rest' } },
      readinessProbe: { grpc: { port: 8500 } },
    },
    {
      name: 'other',
      livenessProbe: { httpGet: { path: '/', port: 9000 } },
      readinessProbe: { exec: { command: ['x'] } },
    },
    { name: 'own-tls', livenessProbe: { httpGet: { path: '/', port: 8500, scheme: 'HTTPS' } } },
  ];
  const server = { 'understudy.dev/shape': 'model-server' };
  const tcp = /^container tfs: a TCP probe of port 8500 reaches the proxy alone and always passes/;
  const { warnings } = respond(pod(server, { containers }));
  t.match(warnings, [tcp]);
  t.equal(warnings?.length, 1, 'HTTP and gRPC probes pass through and tell the truth');
  const strict = {
    ...server,
    'proxy.understudy.dev/inbound-tls': 'strict',
    'proxy.understudy.dev/tls-cert-file': '/t/crt',
    'proxy.understudy.dev/tls-key-file': '/t/key',
  };
  const refused = respond(pod(strict, { containers })).warnings;
  t.match(refused, [tcp, /tfs: an HTTP probe of port 8501 is refused/, /tfs: a gRPC probe of port 8500 is refused/]);
  t.equal(refused?.length, 3);
  const odd = [
    { name: 'odd', ports: null, livenessProbe: { httpGet: null, tcpSocket: { port: 'rest' } }, startupProbe: null },
  ];
  t.same(respond(pod(strict, { containers: odd })).warnings, undefined, "what is no port is nobody's");
  const left = { ...strict, 'intercept.understudy.dev/exclude-inbound-ports': '8500-8501' };
  t.same(respond(pod(left, { containers })).warnings, undefined, 'a port that is left out is probed as ever');
  t.same(respond(pod({}, { containers })).warnings, undefined, 'beside an application nothing comes in redirected');
});

t.test('every mistake is named at once, by the annotation that holds it', async (t) => {
  const message = refusal(
    pod({
      ...MODELS,
      'worker.understudy.dev/max_batch_size': 'many',
      'proxy.understudy.dev/outbound-detect-timeout': '3',
      'model.understudy.dev/credit-risk.primary': 'credit-risk@one',
      'intercept.understudy.dev/outbound-ports': '99999',
    }),
  );
  t.match(message, /worker\.understudy\.dev\/max_batch_size: expected a whole number/);
  t.match(message, /proxy\.understudy\.dev\/outbound-detect-timeout = "3": expected a duration/);
  t.match(message, /model\.understudy\.dev\/credit-risk\.primary = "credit-risk@one": expected/);
  t.match(message, /intercept\.understudy\.dev\/outbound-ports.*99999/);
});

t.test('what cannot work is refused with its reason', async (t) => {
  const cases: [Record<string, string>, object, RegExp][] = [
    [{ 'understudy.dev/metriks': 'true' }, {}, /metriks: not an annotation of ours/],
    [{ 'understudy.dev/shape': 'both' }, {}, /expected application or model-server/],
    [{ 'understudy.dev/models': 'disk:m' }, {}, /expected pvc:CLAIM/],
    [{ 'understudy.dev/models': 'volume:m' }, {}, /this pod has no such volume/],
    [
      { 'understudy.dev/proxy-mounts': 'tls:/etc/tls' },
      {},
      /proxy-mounts = "tls:\/etc\/tls": this pod has no such volume/,
    ],
    [{ 'understudy.dev/proxy-mounts': 'v:/run' }, { volumes: [{ name: 'v' }] }, /something of their own there/],
    [{ 'understudy.dev/proxy-mounts': 'v:/models/x' }, { volumes: [{ name: 'v' }] }, /something of their own there/],
    [{ 'understudy.dev/proxy-mounts': 'v:/a,v:/a' }, { volumes: [{ name: 'v' }] }, /the path is given twice/],
    [{ 'understudy.dev/proxy-mounts': 'v:/a/../b' }, { volumes: [{ name: 'v' }] }, /expected VOLUME:\/PATH/],
    [{ 'understudy.dev/worker-mounts': 'v:/a' }, { volumes: [{ name: 'v' }] }, /needs a worker/],
    [{ 'understudy.dev/after': 'fetch' }, {}, /no such init container/],
    [{ 'understudy.dev/proxy-memory': '1.5Gi', 'understudy.dev/proxy-memory-limit': '1500M' }, {}, /at most the limit/],
    [{ 'understudy.dev/worker': 'true' }, {}, /needs understudy\.dev\/models/],
    [{ 'understudy.dev/fallback-models': 'm' }, {}, /needs a worker/],
    [{ 'understudy.dev/shape': 'model-server', 'understudy.dev/interception': 'none' }, {}, /needs redirection/],
    [{ 'proxy.understudy.dev/admin-listen': '0.0.0.0:1' }, {}, /set by the injector/],
    [{ 'proxy.understudy.dev/outbound-lsten': 'x' }, {}, /no such setting/],
    [{ 'model.understudy.dev/a-b.primary': 'a@1', 'model.understudy.dev/a_b.primary': 'a@2' }, {}, /says the same/],
    [{}, { volumes: [{ name: 'understudy-run', emptyDir: {} }] }, /volume understudy-run: names that begin with/],
    [MODELS, { initContainers: [{ name: 'understudy-worker' }] }, /container understudy-worker: names that begin/],
    [{}, { containers: [] }, /spec\.containers/],
    [{}, { containers: 'none' }, /spec\.containers/],
    [{}, { volumes: [{}] }, /spec\.volumes/],
    [{}, { terminationGracePeriodSeconds: 'soon' }, /spec\.terminationGracePeriodSeconds/],
  ];
  for (const [annotations, spec, reason] of cases) t.match(refusal(pod(annotations, spec)), reason, String(reason));
  t.match(refusal(pod(), {}), /neither the pod nor the injector's defaults name an image/);
});
