/** Small changes to one container part: resources, probes, and the list form of its environment. */
import type { AnnotationValues } from './annotations.ts';
import type { Container, Probe } from './kubernetes.ts';
import type { ContainerPart } from './sidecar-parts.ts';

const PROBES = ['startupProbe', 'livenessProbe', 'readinessProbe'] as const;

/** The container as the pod has it: image set, environment as a list sorted by name. */
export function finish(part: ContainerPart, image: string): Container {
  const { name, env, ...rest } = part;
  const list = Object.keys(env)
    .sort()
    .map((key) => ({ name: key, value: literal(env[key]!) }));
  return { name, image, ...rest, env: list };
}

/** Kubernetes expands `$(NAME)` in values; what people wrote in annotations is to arrive as written. */
function literal(value: string): string {
  return value.replaceAll('$(', () => '$$(');
}

/**
 * Requests and limits from `<who>-cpu`, `-memory`, `-cpu-limit`, `-memory-limit` and, for the worker, GPUs. Where only one
 * of request and limit is given, the standard value of the other follows it, since a request above its limit is no pod.
 */
export function withResources(part: ContainerPart, values: AnnotationValues, who: 'proxy' | 'worker'): ContainerPart {
  const requests: Record<string, string> = { ...part.resources?.requests };
  const limits: Record<string, string> = { ...part.resources?.limits };
  for (const kind of ['cpu', 'memory'] as const) {
    const request = values[`${who}-${kind}`];
    const limit = values[`${who}-${kind}-limit`];
    if (request !== '') requests[kind] = request;
    if (limit !== '') limits[kind] = limit;
    if (!exceeds(requests[kind], limits[kind])) continue;
    if (limit === '') limits[kind] = requests[kind]!;
    else if (request === '') requests[kind] = limits[kind]!;
  }
  if (who === 'worker' && values['worker-gpus'] !== '') limits[values['worker-gpu-resource']] = values['worker-gpus'];
  return { ...part, resources: { requests, limits } };
}

/** Requests that stay above their limits, in words. */
export function resourceProblems(values: AnnotationValues, prefix: string): string[] {
  const problems: string[] = [];
  for (const who of ['proxy', 'worker'] as const) {
    for (const kind of ['cpu', 'memory'] as const) {
      const request = values[`${who}-${kind}`];
      const limit = values[`${who}-${kind}-limit`];
      if (request === '' || limit === '' || !exceeds(request, limit)) continue;
      problems.push(`${prefix}/${who}-${kind} = "${request}": expected at most the limit, ${limit}`);
    }
  }
  return problems;
}

const UNITS: Readonly<Record<string, number>> = {
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

function exceeds(request: string | undefined, limit: string | undefined): boolean {
  return request !== undefined && limit !== undefined && amount(request) > amount(limit);
}

/** The number a quantity stands for. */
function amount(quantity: string): number {
  const [, digits = '', unit = ''] = /^([\d.]+)([A-Za-z]*)$/.exec(quantity) ?? [];
  return Number(digits) * (UNITS[unit] ?? Number.NaN);
}

/** Adds one more target to every probe that runs the probe program. */
export function withProbeTarget(part: ContainerPart, target: string): ContainerPart {
  return mapProbes(part, (probe) =>
    probe.exec === undefined ? probe : { ...probe, exec: { command: [...probe.exec.command, target] } },
  );
}

/** The proxy with its metrics port open: the kubelet asks it directly, and Prometheus finds it by the port's name. */
export function withMetricsPort(part: ContainerPart, port: number): ContainerPart {
  const direct = mapProbes(part, ({ exec, ...rest }) => {
    const path = new URL(exec?.command.at(-1) ?? '/', 'http://localhost').pathname;
    return { httpGet: { path, port }, ...rest };
  });
  return { ...direct, ports: [{ name: 'understudy-http', containerPort: port }] };
}

function mapProbes(part: ContainerPart, change: (probe: Probe) => Probe): ContainerPart {
  const changed = { ...part };
  for (const name of PROBES) {
    const probe = part[name];
    if (probe !== undefined) changed[name] = change(probe);
  }
  return changed;
}
