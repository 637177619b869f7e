/** The chart: its values by its schema always; rendered manifests where helm is, types where the package is. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parse, parseAllDocuments } from 'yaml';
import { inject, pod } from '../injector/reviews.ts';
import { violations } from './json-schema.ts';
import { type Manifest, typeErrors, typesUnavailable } from './kubernetes-types.ts';

const CHART = join(import.meta.dirname, '../../../../deploy/helm/understudy');
const HELM = process.env['UNDERSTUDY_TEST_HELM'] ?? 'helm';
const noHelm = spawnSync(HELM, ['version']).status === 0 ? false : 'needs helm';
const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));
const defaults = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8'));

const TLS_VOLUME = { name: 'tls', secret: { secretName: 'loans-tls' } };
const TLS_MOUNT = { name: 'tls', mountPath: '/etc/loans-tls' };
const APPLICATION = {
  workload: {
    enabled: true,
    metrics: true,
    containers: [{ name: 'loans', image: 'registry.example/loans:7' }],
    mesh: { models: [{ name: 'credit-risk', split: [{ model: 'credit-risk@1' }] }] },
    proxy: { resources: { requests: { cpu: '250m' } }, volumeMounts: [{ ...TLS_MOUNT, readOnly: true }] },
    volumes: [TLS_VOLUME, { name: 'tuning', configMap: { name: 'tuning' } }],
    worker: {
      models: { persistentVolumeClaim: { claimName: 'credit-models', readOnly: true } },
      fallbackModels: ['credit-risk-lite'],
      env: { UNDERSTUDY_WORKER_MAX_BATCH_SIZE: '128' },
      volumeMounts: [{ name: 'tuning', mountPath: '/etc/tuning', readOnly: true }],
      gpus: 1,
    },
    service: { ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
  },
};
const MODEL_SERVER = {
  injector: { enabled: false },
  workload: {
    enabled: true,
    name: 'tfs',
    shape: 'model-server',
    containers: [
      { name: 'tfs', image: 'registry.example/tfs:2' },
      { name: 'polite', image: 'x', lifecycle: { preStop: { sleep: { seconds: 1 } } } },
    ],
    worker: { enabled: false },
    interception: { env: { UNDERSTUDY_INTERCEPT_INBOUND_PORTS: '8500' } },
    service: { ports: [{ name: 'grpc', port: 8500 }] },
  },
};
const MONITORED = {
  podMonitor: { enabled: true, labels: { release: 'prometheus' } },
  metricsPolicy: {
    namespaces: ['lending'],
    from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
  },
  injector: { tls: { source: 'cert-manager' }, defaults: { 'understudy.dev/proxy-cpu': '200m' } },
};

function helm(values: object): { status: number | null; stdout: string; stderr: string } {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-helm-'));
  try {
    const file = join(folder, 'values.json');
    writeFileSync(file, JSON.stringify(values));
    const args = ['template', 'mesh', CHART, '--namespace', 'understudy', '--kube-version', '1.33.0', '--values', file];
    return spawnSync(HELM, args, { encoding: 'utf8' });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function render(values: object): Manifest[] {
  const { status, stdout, stderr } = helm(values);
  if (status !== 0) throw new Error(stderr);
  return parseAllDocuments(stdout)
    .map((document) => document.toJS())
    .filter((manifest) => manifest !== null);
}

function find(manifests: Manifest[], kind: string, name: string): Manifest {
  return manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
}

t.test('the default values, and those of every variant, are what the schema describes', async (t) => {
  t.same(violations(schema, defaults), []);
  for (const values of [APPLICATION, MODEL_SERVER, MONITORED])
    t.same(violations({ ...schema, required: [] }, values), []);
});

t.test('every value has a place in the schema and every place a value', async (t) => {
  const compare = (
    properties: Record<string, { properties?: object }>,
    values: Record<string, unknown>,
    path: string,
  ): void => {
    t.same(
      Object.keys(properties)
        .filter((name) => name !== 'global')
        .sort(),
      Object.keys(values).sort(),
      path,
    );
    for (const [name, { properties: inner }] of Object.entries(properties)) {
      const isFree = ['resources', 'proxy.resources', 'worker.resources'].some((free) =>
        `${path}.${name}`.endsWith(free),
      );
      if (inner !== undefined && !isFree)
        compare(inner as Record<string, object>, values[name] as Record<string, unknown>, `${path}.${name}`);
    }
  };
  compare(schema.properties, defaults, '$');
});

t.test('the schema refuses what is mistyped', async (t) => {
  const wrong: object[] = [
    { workload: { shap: 'application' } },
    { workload: { shape: 'both' } },
    { workload: { worker: { gpus: 'two' } } },
    { workload: { worker: { env: { MAX_BATCH_SIZE: '1' } } } },
    { injector: { defaults: { 'example.com/x': 'y' } } },
    { injector: { failurePolicy: 'fail' } },
  ];
  for (const values of wrong)
    t.equal(violations({ ...schema, required: [] }, values).length, 1, JSON.stringify(values));
});

t.test('helm finds nothing to say about the chart', { skip: noHelm }, async (t) => {
  const { status, stdout } = spawnSync(HELM, ['lint', '--strict', CHART], { encoding: 'utf8' });
  t.equal(status, 0, stdout);
});

t.test('a workload gets exactly the containers that the injector would add', { skip: noHelm }, async (t) => {
  const images = {
    'understudy.dev/image': defaults.images.proxy,
    'understudy.dev/interception-image': defaults.images.interception,
  };
  const application = find(render(APPLICATION), 'Deployment', 'mesh').spec.template.spec;
  const injected = inject(
    pod(
      {
        'understudy.dev/metrics': 'true',
        'understudy.dev/models': 'pvc:credit-models',
        'understudy.dev/fallback-models': 'credit-risk-lite',
        'understudy.dev/config-map': 'mesh-mesh',
        'understudy.dev/proxy-cpu': '250m',
        'understudy.dev/worker-gpus': '1',
        'worker.understudy.dev/max_batch_size': '128',
        'understudy.dev/proxy-mounts': 'tls:/etc/loans-tls',
        'understudy.dev/worker-mounts': 'tuning:/etc/tuning',
      },
      { containers: APPLICATION.workload.containers, volumes: APPLICATION.workload.volumes },
    ),
    images,
  );
  t.same(application.initContainers, injected.spec.initContainers);
  const byName = (volumes: { name: string }[]) => volumes.toSorted((a, b) => a.name.localeCompare(b.name));
  t.same(byName(application.volumes), byName(injected.spec.volumes));

  const server = find(render(MODEL_SERVER), 'Deployment', 'tfs').spec.template.spec;
  const injectedServer = inject(
    pod(
      { 'understudy.dev/shape': 'model-server', 'intercept.understudy.dev/inbound-ports': '8500' },
      { containers: MODEL_SERVER.workload.containers },
    ),
    images,
  );
  t.same(server.initContainers, injectedServer.spec.initContainers);
  t.same(server.containers, injectedServer.spec.containers, 'preStop pauses are the same too');
});

t.test(
  'the mesh document is a directory in the pod, and an edit of it restarts nothing',
  { skip: noHelm },
  async (t) => {
    const manifests = render(APPLICATION);
    t.same(parse(find(manifests, 'ConfigMap', 'mesh-mesh').data['mesh.yaml']), APPLICATION.workload.mesh);
    const edited = structuredClone(APPLICATION);
    edited.workload.mesh.models[0]!.name = 'credit-risk-eu';
    t.same(find(render(edited), 'Deployment', 'mesh'), find(manifests, 'Deployment', 'mesh'));
    const mounts = JSON.stringify(find(manifests, 'Deployment', 'mesh').spec.template.spec.initContainers);
    t.notMatch(mounts, /subPath/);
  },
);

t.test('the webhook takes labelled namespaces and labelled pods, and never its own', { skip: noHelm }, async (t) => {
  const manifests = render({});
  const { webhooks } = find(manifests, 'MutatingWebhookConfiguration', 'mesh-injector.understudy');
  t.same(webhooks.length, 2);
  t.same(webhooks[0].namespaceSelector, { matchLabels: { 'understudy.dev/injection': 'enabled' } });
  t.same(webhooks[1].objectSelector, { matchLabels: { 'understudy.dev/inject': 'true' } });
  for (const webhook of webhooks)
    t.match(webhook, {
      failurePolicy: 'Fail',
      sideEffects: 'None',
      reinvocationPolicy: 'IfNeeded',
      clientConfig: { service: { path: '/mutate' } },
    });
  t.equal(
    find(manifests, 'Deployment', 'mesh-injector').spec.template.metadata.labels['understudy.dev/inject'],
    'false',
  );
  const secret = find(manifests, 'Secret', 'mesh-injector-tls');
  t.equal(
    webhooks[0].clientConfig.caBundle,
    secret.data['ca.crt'],
    'the certificate it serves is the one the API server trusts',
  );
});

t.test('helm refuses a workload that cannot run', { skip: noHelm }, async (t) => {
  const base = APPLICATION.workload;
  const cases: [object, RegExp][] = [
    [{ workload: { ...base, containers: [] } }, /needs a container of its own/],
    [{ workload: { ...base, worker: { enabled: true } } }, /worker needs a volume/],
    [{ workload: { ...MODEL_SERVER.workload, interception: { mode: 'none' } } }, /needs redirect/],
    [{ injector: { tls: { source: 'secret', secretName: 'x' } } }, /caBundle/],
    [{ workload: { ...base, shape: 'both' } }, /shape/],
  ];
  for (const [values, reason] of cases) {
    const { status, stderr } = helm(values);
    t.not(status, 0);
    t.match(stderr, reason);
  }
});

t.test(
  'the Kubernetes types accept injected pods, and notice a field that is none',
  { skip: typesUnavailable },
  async (t) => {
    const pods = [
      {
        'understudy.dev/models': 'pvc:m',
        'understudy.dev/metrics': 'true',
        'understudy.dev/worker-gpus': '1',
        'understudy.dev/config-map': 'mesh',
      },
      { 'understudy.dev/shape': 'model-server' },
      { 'understudy.dev/interception': 'none', 'understudy.dev/ip-families': 'ipv4' },
    ].map((annotations) => inject(pod(annotations as object as Record<string, string>)));
    t.equal(typeErrors(pods), '');
    const wrong = structuredClone(pods[0]);
    wrong.spec.initContainers[0].restartPolicies = 'Always';
    t.match(typeErrors([wrong]), /restartPolicies/);
  },
);

t.test('the Kubernetes types accept everything the chart renders', { skip: noHelm || typesUnavailable }, async (t) => {
  for (const values of [{}, APPLICATION, MODEL_SERVER, MONITORED]) t.equal(typeErrors(render(values)), '');
});
