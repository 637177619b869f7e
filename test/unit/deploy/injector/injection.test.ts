/** What a pod gets: order, shapes, annotations, and what is refused. Patches are applied by an RFC 6902 of the test's own. */
import t from 'tap';
import { readProgramSettings } from '../../../../deploy/injector/program-settings.ts';
import { FLAGS as WORKER_FLAGS } from '../../../../inference-worker/worker-flags.ts';
import { environmentTwin, FLAGS as INTERCEPT_FLAGS } from '../../../../proxy/cli/intercept-flags.ts';
import { PROCESS_FIELDS } from '../../../../proxy/config/process-fields.ts';
import { envOf, initContainer, inject, operationsOf, pod, refusal, respond } from './reviews.ts';

const MODELS = { 'understudy.dev/models': 'pvc:credit-models' };
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

t.test('annotations change images, resources and GPUs', async (t) => {
  const injected = inject(
    pod({
      ...MODELS,
      'understudy.dev/image': 'mirror.example/understudy@sha256:abc',
      'understudy.dev/worker-image': 'mirror.example/understudy:gpu',
      'understudy.dev/proxy-cpu': '250m',
      'understudy.dev/proxy-memory-limit': '300Mi',
      'understudy.dev/worker-cpu-limit': '4',
      'understudy.dev/worker-memory': '2Gi',
      'understudy.dev/worker-gpus': '2',
      'understudy.dev/worker-gpu-resource': 'nvidia.com/mig-1g.10gb',
    }),
  );
  t.equal(initContainer(injected, 'understudy-proxy').image, 'mirror.example/understudy@sha256:abc');
  t.equal(initContainer(injected, 'understudy-worker').image, 'mirror.example/understudy:gpu');
  t.same(initContainer(injected, 'understudy-proxy').resources, {
    requests: { cpu: '250m', memory: '128Mi' },
    limits: { memory: '300Mi' },
  });
  t.same(initContainer(injected, 'understudy-worker').resources, {
    requests: { cpu: '500m', memory: '2Gi' },
    limits: { memory: '2Gi', cpu: '4', 'nvidia.com/mig-1g.10gb': '2' },
  });
});

t.test('a request or limit given alone takes the standard value of the other with it', async (t) => {
  const resources = (annotations: Record<string, string>) =>
    initContainer(inject(pod(annotations)), 'understudy-proxy').resources;
  t.match(resources({ 'understudy.dev/proxy-memory': '1Gi' }), {
    requests: { memory: '1Gi' },
    limits: { memory: '1Gi' },
  });
  t.match(resources({ 'understudy.dev/proxy-memory': '64Mi' }), {
    requests: { memory: '64Mi' },
    limits: { memory: '256Mi' },
  });
  t.match(resources({ 'understudy.dev/proxy-memory-limit': '100M' }), {
    requests: { memory: '100M' },
    limits: { memory: '100M' },
  });
  t.match(resources({ 'understudy.dev/proxy-cpu-limit': '50m' }), { requests: { cpu: '50m' }, limits: { cpu: '50m' } });
});

t.test('annotations become settings of the three programs', async (t) => {
  const injected = inject(
    pod({
      ...MODELS,
      'model.understudy.dev/credit-risk.primary': 'credit-risk@1',
      'model.understudy.dev/credit-risk.sticky-header': 'x-applicant',
      'proxy.understudy.dev/outbound-detect-timeout': '1s',
      'worker.understudy.dev/max_batch_size': '128',
      'intercept.understudy.dev/outbound-ports': '8500,9000-9010',
    }),
  );
  t.match(envOf(injected, 'understudy-proxy'), {
    UNDERSTUDY_MODEL_CREDIT_RISK_PRIMARY: 'credit-risk@1',
    UNDERSTUDY_MODEL_CREDIT_RISK_STICKY_HEADER: 'x-applicant',
    UNDERSTUDY_OUTBOUND_DETECT_TIMEOUT: '1s',
  });
  t.match(envOf(injected, 'understudy-worker'), { UNDERSTUDY_WORKER_MAX_BATCH_SIZE: '128' });
  t.match(envOf(injected, 'understudy-interception'), { UNDERSTUDY_INTERCEPT_OUTBOUND_PORTS: '8500,9000-9010' });
});

t.test('each flag of intercept is an annotation, but for those that only the injector can know', async (t) => {
  // The image has one user, whose listeners the injector places; the last two are those of `remove`, which no pod runs.
  const injectors = ['proxy-uid', 'proxy-gid', 'proxy-outbound-port', 'proxy-inbound-port'];
  const others = [...injectors, 'families', 'open-connections', 'drain'];
  for (const { flag, default: value } of INTERCEPT_FLAGS) {
    const annotations = { [`intercept.understudy.dev/${flag}`]: value };
    if (others.includes(flag)) {
      t.match(refusal(pod(annotations)), 'set by the injector; remove it', flag);
    } else {
      const env = envOf(inject(pod(annotations)), 'understudy-interception');
      t.equal(env[environmentTwin(flag)], value, flag);
    }
  }
  const families = { dual: 'auto', ipv4: '4', ipv6: '6' };
  for (const [name, value] of Object.entries(families)) {
    const env = envOf(inject(pod({ 'understudy.dev/ip-families': name })), 'understudy-interception');
    t.equal(env['UNDERSTUDY_INTERCEPT_FAMILIES'], value, 'families have an annotation for all containers together');
  }
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

t.test("every setting of proxy and worker has an annotation, or is refused as the injector's", async (t) => {
  for (const [program, names] of [
    ['proxy', Object.values(PROCESS_FIELDS).map(({ environment }) => environment.slice('UNDERSTUDY_'.length))],
    ['worker', Object.keys(WORKER_FLAGS)],
  ] as const) {
    for (const name of names) {
      const key = `${program}.understudy.dev/${program === 'proxy' ? name.toLowerCase().replaceAll('_', '-') : name}`;
      const problems: string[] = [];
      const { source } = readProgramSettings({ [key]: 'x' }, problems);
      t.ok(source.size === 1 || /set by the injector/.test(problems.join()), `${key}: ${problems}`);
    }
  }
});

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

t.test('values arrive as written, though Kubernetes expands $(NAME)', async (t) => {
  const injected = inject(
    pod({
      'model.understudy.dev/m.primary': 'm@1',
      'model.understudy.dev/m.cohort': 'header:x',
      'proxy.understudy.dev/config': 'a: $(HOME)',
    }),
  );
  t.equal(envOf(injected, 'understudy-proxy')['UNDERSTUDY_CONFIG'], 'a: $$(HOME)');
});

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

t.test('pods without metadata, annotations, labels or volumes are patched all the same', async (t) => {
  const bare = { spec: { containers: [{ name: 'loans' }] } };
  t.match(inject(bare), { metadata: { labels: { 'understudy.dev/sidecar': 'true' } } });
  const empty = { metadata: {}, spec: { containers: [{ name: 'loans' }], volumes: null, initContainers: null } };
  t.match(inject(empty).spec.volumes, [{ name: 'understudy-run' }]);
});
