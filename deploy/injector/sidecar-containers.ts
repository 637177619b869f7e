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

/** Requests and limits from `<who>-cpu`, `-memory`, `-cpu-limit`, `-memory-limit` and, for the worker, GPUs. */
export function withResources(part: ContainerPart, values: AnnotationValues, who: 'proxy' | 'worker'): ContainerPart {
  const requests: Record<string, string> = { ...part.resources?.requests };
  const limits: Record<string, string> = { ...part.resources?.limits };
  const set = (map: Record<string, string>, key: string, value: string): void => {
    if (value !== '') map[key] = value;
  };
  set(requests, 'cpu', values[`${who}-cpu`]);
  set(requests, 'memory', values[`${who}-memory`]);
  set(limits, 'cpu', values[`${who}-cpu-limit`]);
  set(limits, 'memory', values[`${who}-memory-limit`]);
  if (who === 'worker') set(limits, values['worker-gpu-resource'], values['worker-gpus']);
  return { ...part, resources: { requests, limits } };
}

/** Adds one more target to every probe that runs the probe program. */
export function withProbeTarget(part: ContainerPart, target: string): ContainerPart {
  return mapProbes(part, (probe) =>
    probe.exec === undefined ? probe : { ...probe, exec: { command: [...probe.exec.command, target] } },
  );
}

/** The proxy with its admin port open: the kubelet asks it directly, and Prometheus finds it by the port's name. */
export function adminContainer(part: ContainerPart, port: number): ContainerPart {
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
