/** What a pod gets: containers and their order, shapes, users, volumes and probes. Patches are applied by an RFC 6902 of the test's own. */
import t from 'tap';
import { envOf, initContainer, inject, MODELS, pod, respond } from './reviews.ts';

const names = (list: { name: string }[] | undefined): string[] => (list ?? []).map(({ name }) => name);

t.test(
  'an application pod gets worker, proxy and interception, in this order and before its own init containers',
  async (t) => {
    const injected = inject(pod(MODELS, { initContainers: [{ name: 'migrate', image: 'm' }] }));
    t.same(names(injected.spec.initContainers), [
      'understudy-worker',
      'understudy-proxy',
      'understudy-interception',
      'migrate',
    ]);
    t.equal(initContainer(injected, 'understudy-worker').restartPolicy, 'Always');
    t.equal(initContainer(injected, 'understudy-proxy').restartPolicy, 'Always');
    t.notOk(initContainer(injected, 'understudy-interception').restartPolicy, 'rules are put in place once');
    t.ok(initContainer(injected, 'understudy-proxy').startupProbe, 'the rules wait for the proxy to listen');
    t.same(names(injected.spec.containers), ['loans'], 'the application itself is untouched');
  },
);

t.test('ours come after the init container that the pod names', async (t) => {
  const spec = {
    initContainers: [
      { name: 'fetch-models', image: 'f' },
      { name: 'migrate', image: 'm' },
    ],
    volumes: [{ name: 'models', emptyDir: {} }],
  };
  const injected = inject(
    pod({ 'understudy.dev/models': 'volume:models', 'understudy.dev/after': 'fetch-models' }, spec),
  );
  t.same(names(injected.spec.initContainers), [
    'fetch-models',
    'understudy-worker',
    'understudy-proxy',
    'understudy-interception',
    'migrate',
  ]);
  t.same(names(injected.spec.volumes), ['models', 'understudy-run'], 'and its volume is used as it is');
  t.match(initContainer(injected, 'understudy-worker').volumeMounts, [
    {},
    { name: 'models', mountPath: '/models', readOnly: true },
  ]);
});

t.test('a patch applied twice equals once', async (t) => {
  const variants: Record<string, string>[] = [
    MODELS,
    {},
    { 'understudy.dev/shape': 'model-server' },
    { 'understudy.dev/interception': 'none' },
  ];
  for (const annotations of variants) {
    const once = inject(pod(annotations));
    const again = respond(once);
    t.same(again.patch, undefined, 'an injected pod gets no patch');
    t.equal(again.allowed, true);
    t.same(inject(once), once);
  }
});

t.test('a pod without models gets no worker, and its calls go on to where they were meant', async (t) => {
  const injected = inject(pod());
  t.same(names(injected.spec.initContainers), ['understudy-proxy', 'understudy-interception']);
  t.match(envOf(injected, 'understudy-proxy'), { UNDERSTUDY_OUTBOUND_OTHER_MODELS: 'upstream' });
});

t.test('a model-server pod has its inbound ports taken and time to leave', async (t) => {
  const lifecycle = { postStart: { exec: { command: ['true'] } } };
  const own = { preStop: { exec: { command: ['drain'] } } };
  const containers = [{ name: 'tfs' }, { name: 'helper', lifecycle }, { name: 'polite', lifecycle: own }];
  const injected = inject(
    pod({ 'understudy.dev/shape': 'model-server', 'understudy.dev/drain-delay': '7s' }, { containers }),
  );
  t.match(envOf(injected, 'understudy-proxy'), { UNDERSTUDY_INBOUND_LISTEN: '[::]:15006' });
  t.match(envOf(injected, 'understudy-interception'), {
    UNDERSTUDY_INTERCEPT_INBOUND_PORTS: '8500,8501',
    UNDERSTUDY_INTERCEPT_OUTBOUND_PORTS: 'none',
  });
  t.same(
    initContainer(injected, 'understudy-interception').args,
    ['intercept', 'install', '&&', 'intercept', 'verify'],
    'the rules are proved inbound',
  );
  t.same(injected.spec.containers[0].lifecycle, { preStop: { sleep: { seconds: 7 } } });
  t.same(injected.spec.containers[1].lifecycle, { ...lifecycle, preStop: { sleep: { seconds: 7 } } });
  t.same(injected.spec.containers[2].lifecycle, own, 'a preStop of its own stays');
});

t.test('only the interception container is root, with nothing but the network capabilities', async (t) => {
  const injected = inject(pod(MODELS));
  for (const name of ['understudy-worker', 'understudy-proxy']) {
    t.match(initContainer(injected, name).securityContext, {
      runAsUser: 1717,
      runAsGroup: 1717,
      runAsNonRoot: true,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
    });
  }
  const { securityContext } = initContainer(injected, 'understudy-interception');
  t.same(securityContext.capabilities, { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW'] });
  t.equal(securityContext.readOnlyRootFilesystem, true);
});

t.test('the mesh document is mounted as a directory, so that edits arrive', async (t) => {
  const injected = inject(pod({ 'understudy.dev/config-map': 'loans-mesh:policy.yaml' }));
  const mount = initContainer(injected, 'understudy-proxy').volumeMounts.find(
    (each: { name: string }) => each.name === 'understudy-config',
  );
  t.same(mount, { name: 'understudy-config', mountPath: '/etc/understudy', readOnly: true });
  t.match(injected.spec.volumes, [
    { name: 'understudy-run' },
    { name: 'understudy-config', configMap: { name: 'loans-mesh' } },
  ]);
  t.match(envOf(injected, 'understudy-proxy'), { UNDERSTUDY_CONFIG_FILE: '/etc/understudy/policy.yaml' });
});

t.test(
  'volumes of the pod reach our containers where annotations say so, read-only unless they say more',
  async (t) => {
    const spec = {
      volumes: [
        { name: 'tls', secret: { secretName: 'loans-tls' } },
        { name: 'pairs', persistentVolumeClaim: { claimName: 'pairs' } },
      ],
    };
    const injected = inject(
      pod(
        {
          'understudy.dev/proxy-mounts': 'tls:/etc/loans-tls,pairs:/var/pairs:rw',
          'proxy.understudy.dev/inbound-tls': 'permissive',
          'proxy.understudy.dev/tls-cert-file': '/etc/loans-tls/tls.crt',
          'proxy.understudy.dev/tls-key-file': '/etc/loans-tls/tls.key',
          'proxy.understudy.dev/pair-store': '/var/pairs/pairs.db',
        },
        spec,
      ),
    );
    t.same(initContainer(injected, 'understudy-proxy').volumeMounts.slice(1), [
      { name: 'tls', mountPath: '/etc/loans-tls', readOnly: true },
      { name: 'pairs', mountPath: '/var/pairs' },
    ]);
    t.equal(envOf(injected, 'understudy-proxy')['UNDERSTUDY_TLS_CERT_FILE'], '/etc/loans-tls/tls.crt');
    const worker = inject(pod({ ...MODELS, 'understudy.dev/worker-mounts': 'pairs:/tuning' }, spec));
    t.same(initContainer(worker, 'understudy-worker').volumeMounts.at(-1), {
      name: 'pairs',
      mountPath: '/tuning',
      readOnly: true,
    });
  },
);

t.test('fallback models get a process of their own that the proxy knows and the probes ask', async (t) => {
  const injected = inject(pod({ ...MODELS, 'understudy.dev/fallback-models': 'credit-risk-lite' }));
  t.match(envOf(injected, 'understudy-worker'), {
    UNDERSTUDY_WORKER_GROUP:
      'primary:/run/understudy/worker.sock:* fallback:/run/understudy/fallback.sock:credit-risk-lite',
  });
  t.match(envOf(injected, 'understudy-proxy'), {
    UNDERSTUDY_OUTBOUND_FALLBACK_WORKER_ADDRESS: 'unix:/run/understudy/fallback.sock',
  });
  t.match(initContainer(injected, 'understudy-worker').startupProbe.exec.command.slice(2), [
    'grpc:unix:/run/understudy/worker.sock',
    'grpc:unix:/run/understudy/fallback.sock',
  ]);
});

t.test('opened metrics are probed directly and never redirected', async (t) => {
  const injected = inject(pod({ 'understudy.dev/metrics': 'true', 'understudy.dev/ip-families': 'ipv4' }));
  const proxy = initContainer(injected, 'understudy-proxy');
  t.same(proxy.readinessProbe.httpGet, { path: '/readyz', port: 15020 });
  t.notOk(proxy.readinessProbe.exec);
  t.same(proxy.ports, [{ name: 'understudy-http', containerPort: 15020 }]);
  t.match(envOf(injected, 'understudy-proxy'), {
    UNDERSTUDY_ADMIN_LISTEN: '127.0.0.1:15000',
    UNDERSTUDY_METRICS_LISTEN: '0.0.0.0:15020',
    UNDERSTUDY_OUTBOUND_LISTEN: '127.0.0.1:15001',
  });
  t.match(envOf(injected, 'understudy-interception'), {
    UNDERSTUDY_INTERCEPT_EXCLUDE_INBOUND_PORTS: '15020',
    UNDERSTUDY_INTERCEPT_FAMILIES: '4',
  });
});

t.test('without redirection there is no root container, and the proxy listens where model servers do', async (t) => {
  const injected = inject(pod({ 'understudy.dev/interception': 'none' }));
  t.same(names(injected.spec.initContainers), ['understudy-proxy']);
  t.match(envOf(injected, 'understudy-proxy'), { UNDERSTUDY_OUTBOUND_EXPLICIT_PORTS: '8500,8501' });
});

t.test('the pod has one deadline: the proxy ends 5 s before it', async (t) => {
  const injected = inject(pod({}, { terminationGracePeriodSeconds: 90 }));
  t.match(envOf(injected, 'understudy-proxy'), { UNDERSTUDY_SHUTDOWN_GRACE_PERIOD: '85s' });
});

t.test('pods without metadata, annotations, labels or volumes are patched all the same', async (t) => {
  const bare = { spec: { containers: [{ name: 'loans' }] } };
  t.match(inject(bare), { metadata: { labels: { 'understudy.dev/sidecar': 'true' } } });
  const empty = { metadata: {}, spec: { containers: [{ name: 'loans' }], volumes: null, initContainers: null } };
  t.match(inject(empty).spec.volumes, [{ name: 'understudy-run' }]);
});
