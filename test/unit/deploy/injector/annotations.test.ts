/** What annotations change: images, resources, and each setting of the three programs. */
import t from 'tap';
import { readProgramSettings } from '../../../../deploy/injector/program-settings.ts';
import { FLAGS as WORKER_FLAGS } from '../../../../inference-worker/worker-flags.ts';
import { environmentTwin, FLAGS as INTERCEPT_FLAGS } from '../../../../proxy/cli/intercept-flags.ts';
import { PROCESS_FIELDS } from '../../../../proxy/config/process-fields.ts';
import { envOf, initContainer, inject, MODELS, pod, refusal } from './reviews.ts';

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
