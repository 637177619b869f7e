/**
 * What a pod is going to get, decided from its annotations and its spec alone: the containers in their order, the volumes,
 * and what to warn about. Pure; the same pod and defaults give the same plan.
 */
import { type AnnotationValues, DOMAIN, readOwnAnnotations } from './annotations.ts';
import type { Container, Pod, Volume } from './kubernetes.ts';
import { mountProblems, parseMounts } from './mounts.ts';
import { probeWarnings } from './probe-warnings.ts';
import {
  checkInterception,
  checkProxy,
  checkWorker,
  type Environment,
  FAMILIES,
  type ProgramSettings,
  readProgramSettings,
} from './program-settings.ts';
import { finish, resourceProblems, withMetricsPort, withProbeTarget, withResources } from './sidecar-containers.ts';
import type { SidecarParts } from './sidecar-parts.ts';

export interface InjectionPlan {
  /** In order of start: worker, proxy, interception; those that are wanted. */
  readonly initContainers: readonly Container[];
  readonly volumes: readonly Volume[];
  /** Init container after which ours go; empty for the front. */
  readonly after: string;
  /** Seconds of preStop pause for the pod's own containers that have none; 0 is none. */
  readonly drainDelaySeconds: number;
  readonly warnings: readonly string[];
}

const RUN = '/run/understudy';
const PRIMARY_SOCKET = `${RUN}/worker.sock`;
const FALLBACK_SOCKET = `${RUN}/fallback.sock`;
const MODELS_MOUNT = '/models';
const CONFIG_MOUNT = '/etc/understudy';
/** User of our containers, whose connections the rules leave alone. */
const PROXY_ID = 1717;
const METRICS_PORT = '15020';
const INBOUND_PORT = '15006';
const OUTBOUND_PORT = '15001';
/** Ports an application calls the proxy at where nothing is redirected: those of TensorFlow Serving. */
const EXPLICIT_PORTS = '8500,8501';
/** Seconds of a pod's grace period that stay for the exit itself. */
const EXIT_SECONDS = 5;

/** Plans the injection, or gives every mistake in the annotations. `defaults` are annotations a pod may override. */
export function planInjection(
  pod: Pod,
  defaults: Readonly<Record<string, string>>,
  parts: SidecarParts,
): InjectionPlan | { readonly problems: readonly string[] } {
  const given = ownAnnotations(defaults, pod.metadata?.annotations ?? {});
  const problems: string[] = [];
  const values = readOwnAnnotations(given, problems);
  const settings = readProgramSettings(given, problems);
  if (problems.length > 0) return { problems };
  const planner = new Planner(pod, values, settings, parts);
  const plan = planner.plan();
  return planner.problems.length > 0 ? { problems: planner.problems } : plan;
}

/** Annotations of our families, the pod's over the defaults. */
function ownAnnotations(
  defaults: Readonly<Record<string, string>>,
  pod: Readonly<Record<string, string>>,
): Record<string, string> {
  const prefixes = [`${DOMAIN}/`, ...FAMILIES];
  const all = Object.entries({ ...defaults, ...pod });
  return Object.fromEntries(all.filter(([key]) => prefixes.some((prefix) => key.startsWith(prefix))));
}

class Planner {
  readonly problems: string[] = [];
  private readonly pod: Pod;
  private readonly values: AnnotationValues;
  private readonly settings: ProgramSettings;
  private readonly parts: SidecarParts;
  private readonly volumes: Volume[] = [];
  private readonly probed: string[] = [];
  private readonly isModelServer: boolean;
  private readonly hasWorker: boolean;

  constructor(pod: Pod, values: AnnotationValues, settings: ProgramSettings, parts: SidecarParts) {
    this.pod = pod;
    this.values = values;
    this.settings = settings;
    this.parts = parts;
    this.isModelServer = values.shape === 'model-server';
    this.hasWorker = values.worker === 'true' || (values.worker === 'auto' && values.models !== '');
  }

  plan(): InjectionPlan {
    this.checkTogether();
    this.volumes.push(this.parts.volumes.run);
    const containers: Container[] = [];
    if (this.hasWorker) containers.push(this.worker());
    containers.push(this.proxy());
    if (this.values.interception === 'redirect') containers.push(this.interception());
    return {
      initContainers: containers,
      volumes: this.volumes,
      after: this.values.after,
      drainDelaySeconds: this.isModelServer ? Number.parseInt(this.values['drain-delay'], 10) : 0,
      warnings: this.warnings(),
    };
  }

  private worker(): Container {
    const { values, parts, settings } = this;
    const fallback = values['fallback-models'];
    const groups = [`primary:${PRIMARY_SOCKET}:*`];
    if (fallback !== '') groups.push(`fallback:${FALLBACK_SOCKET}:${fallback}`);
    const env = { ...parts.worker.env, UNDERSTUDY_WORKER_GROUP: groups.join(' '), ...settings.worker };
    this.problems.push(...checkWorker(env, settings.source));
    let part = withResources(parts.worker, values, 'worker');
    if (fallback !== '') part = withProbeTarget(part, `grpc:unix:${FALLBACK_SOCKET}`);
    const mounts = [...(part.volumeMounts ?? [])];
    if (values.models !== '') mounts.push(this.modelMount());
    mounts.push(...parseMounts(values['worker-mounts']));
    return finish({ ...part, env, volumeMounts: mounts }, values['worker-image'] || values.image);
  }

  private modelMount() {
    const [kind, ...rest] = this.values.models.split(':');
    const reference = rest.join(':');
    const name = kind === 'volume' ? reference : 'understudy-models';
    if (kind === 'pvc') this.volumes.push({ name, persistentVolumeClaim: { claimName: reference, readOnly: true } });
    if (kind === 'image') this.volumes.push({ name, image: { reference, pullPolicy: 'IfNotPresent' } });
    return { name, mountPath: MODELS_MOUNT, readOnly: true };
  }

  private proxy(): Container {
    const { values, settings, parts } = this;
    const shape = parts.shapes[this.isModelServer ? 'model-server' : 'application'];
    const env: Record<string, string> = { ...parts.proxy.env, ...shape.proxy.env, ...this.listeners() };
    if (!this.hasWorker) env['UNDERSTUDY_OUTBOUND_OTHER_MODELS'] = 'upstream';
    if (this.hasWorker && values['fallback-models'] !== '') {
      env['UNDERSTUDY_OUTBOUND_FALLBACK_WORKER_ADDRESS'] = `unix:${FALLBACK_SOCKET}`;
    }
    if (values.interception === 'none') env['UNDERSTUDY_OUTBOUND_EXPLICIT_PORTS'] = EXPLICIT_PORTS;
    const grace = this.pod.spec.terminationGracePeriodSeconds;
    if (grace !== undefined) env['UNDERSTUDY_SHUTDOWN_GRACE_PERIOD'] = `${Math.max(1, grace - EXIT_SECONDS)}s`;
    let part = withResources(parts.proxy, values, 'proxy');
    const hasDocument = values['config-map'] !== '' || 'UNDERSTUDY_CONFIG' in settings.proxy;
    if (values['config-map'] !== '') {
      const { mount, file } = this.configMount();
      env['UNDERSTUDY_CONFIG_FILE'] = file;
      part = { ...part, volumeMounts: [...(part.volumeMounts ?? []), mount] };
    }
    const extra = parseMounts(values['proxy-mounts']);
    if (extra.length > 0) part = { ...part, volumeMounts: [...(part.volumeMounts ?? []), ...extra] };
    Object.assign(env, settings.proxy);
    this.problems.push(...checkProxy(env, hasDocument, settings.source));
    if (values.metrics === 'true') part = withMetricsPort(part, Number(METRICS_PORT));
    return finish({ ...part, env }, values.image);
  }

  /** A whole directory, never one file by subPath: the kubelet updates only directories. */
  private configMount() {
    const [name = '', key = 'mesh.yaml'] = this.values['config-map'].split(':');
    this.volumes.push({ name: 'understudy-config', configMap: { name } });
    const mount = { name: 'understudy-config', mountPath: CONFIG_MOUNT, readOnly: true };
    return { mount, file: `${CONFIG_MOUNT}/${key}` };
  }

  /** Rules of an address family redirect to that family's loopback address, so listeners and rules go together. */
  private listeners(): Environment {
    const families = this.values['ip-families'];
    const outbound = { dual: ['127.0.0.1', '[::1]'], ipv4: ['127.0.0.1'], ipv6: ['[::1]'] }[families] ?? [];
    const everywhere = families === 'ipv4' ? '0.0.0.0' : '[::]';
    const env: Record<string, string> = {
      UNDERSTUDY_OUTBOUND_LISTEN: outbound.map((host) => `${host}:${OUTBOUND_PORT}`).join(','),
    };
    if (this.isModelServer) env['UNDERSTUDY_INBOUND_LISTEN'] = `${everywhere}:${INBOUND_PORT}`;
    if (this.values.metrics === 'true') env['UNDERSTUDY_METRICS_LISTEN'] = `${everywhere}:${METRICS_PORT}`;
    return env;
  }

  private interception(): Container {
    const { values, settings, parts } = this;
    const shape = parts.shapes[this.isModelServer ? 'model-server' : 'application'];
    const families = { dual: 'auto', ipv4: '4', ipv6: '6' }[values['ip-families']] ?? 'auto';
    const env: Record<string, string> = {
      ...parts.interception.env,
      ...shape.interception.env,
      UNDERSTUDY_INTERCEPT_FAMILIES: families,
      ...settings.intercept,
    };
    if (values.metrics === 'true') {
      const own = env['UNDERSTUDY_INTERCEPT_EXCLUDE_INBOUND_PORTS'] ?? 'none';
      env['UNDERSTUDY_INTERCEPT_EXCLUDE_INBOUND_PORTS'] = own === 'none' ? METRICS_PORT : `${own},${METRICS_PORT}`;
    }
    const { XTABLES_LOCKFILE: _, ...ours } = env;
    const tls = settings.proxy['UNDERSTUDY_INBOUND_TLS'];
    this.probed.push(...probeWarnings(this.pod.spec.containers, ours, tls));
    this.problems.push(...checkInterception(ours, settings.source));
    return finish({ ...parts.interception, env }, values['interception-image'] || values.image);
  }

  private checkTogether(): void {
    const { values, problems } = this;
    problems.push(...resourceProblems(values, DOMAIN));
    if (values.image === '')
      problems.push(`${DOMAIN}/image: neither the pod nor the injector's defaults name an image`);
    if (values.worker === 'true' && values.models === '') {
      problems.push(`${DOMAIN}/worker = "true": needs ${DOMAIN}/models, where its models are`);
    }
    if (values['fallback-models'] !== '' && !this.hasWorker) {
      problems.push(`${DOMAIN}/fallback-models: needs a worker, so ${DOMAIN}/models must be given`);
    }
    if (this.isModelServer && values.interception === 'none') {
      problems.push(`${DOMAIN}/interception = "none": a proxy in front of a model server needs redirection`);
    }
    const [kind, name] = values.models.split(':');
    if (kind === 'volume' && !(this.pod.spec.volumes ?? []).some((volume) => volume.name === name)) {
      problems.push(`${DOMAIN}/models = "volume:${name}": this pod has no such volume`);
    }
    for (const name of ['proxy-mounts', 'worker-mounts'] as const)
      problems.push(...mountProblems(`${DOMAIN}/${name}`, values[name], this.pod));
    if (values['worker-mounts'] !== '' && !this.hasWorker)
      problems.push(`${DOMAIN}/worker-mounts: needs a worker, so ${DOMAIN}/models must be given`);
    if (values.after !== '' && !(this.pod.spec.initContainers ?? []).some(({ name }) => name === values.after)) {
      problems.push(`${DOMAIN}/after = "${values.after}": this pod has no such init container`);
    }
  }

  private warnings(): string[] {
    const { spec } = this.pod;
    const all = [...(spec.initContainers ?? []), ...spec.containers];
    const bypassing = all.filter(({ securityContext }) =>
      (['runAsUser', 'runAsGroup'] as const).some(
        (id) => (securityContext?.[id] ?? spec.securityContext?.[id]) === PROXY_ID,
      ),
    );
    return [
      ...bypassing.map(
        ({ name }) => `container ${name} runs as user or group ${PROXY_ID}, the proxy's: its calls are not redirected`,
      ),
      ...this.probed,
    ];
  }
}
