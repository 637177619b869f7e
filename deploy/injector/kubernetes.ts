/** The parts of Kubernetes objects that the injector reads or writes; everything else passes through unseen. */

export interface EnvVar {
  readonly name: string;
  readonly value: string;
}

export interface Probe {
  readonly exec?: { readonly command: readonly string[] };
  readonly httpGet?: { readonly path: string; readonly port: number | string; readonly scheme?: string };
  readonly grpc?: { readonly port: number };
  readonly tcpSocket?: { readonly port: number | string };
  readonly periodSeconds?: number;
  readonly timeoutSeconds?: number;
  readonly failureThreshold?: number;
}

export interface Resources {
  readonly requests?: Readonly<Record<string, string>>;
  readonly limits?: Readonly<Record<string, string>>;
}

export interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly readOnly?: boolean;
  readonly subPath?: string;
}

export interface Container {
  readonly name: string;
  readonly image?: string;
  readonly args?: readonly string[];
  readonly restartPolicy?: string;
  readonly env?: readonly EnvVar[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly resources?: Resources;
  readonly securityContext?: { readonly runAsUser?: number; readonly runAsGroup?: number };
  readonly lifecycle?: { readonly preStop?: object };
  readonly volumeMounts?: readonly VolumeMount[];
}

export interface Volume {
  readonly name: string;
  readonly [source: string]: unknown;
}

export interface Pod {
  readonly metadata?: {
    readonly name?: string;
    readonly generateName?: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly containers: readonly Container[];
    readonly initContainers?: readonly Container[];
    readonly volumes?: readonly Volume[];
    readonly hostNetwork?: boolean;
    readonly os?: { readonly name?: string };
    readonly terminationGracePeriodSeconds?: number;
    readonly securityContext?: { readonly runAsUser?: number; readonly runAsGroup?: number };
  };
}

/**
 * The pod in an AdmissionReview's object, or a sentence that says what is wrong with it. Null fields of its first two
 * levels are left out, since Kubernetes takes null for absent.
 */
export function readPod(value: unknown): Pod | string {
  if (!isRecord(value)) return 'request.object: expected a Pod';
  const { metadata: rawMetadata = {}, spec: rawSpec } = withoutNulls(value);
  if (!isRecord(rawMetadata)) return 'metadata: expected an object';
  const metadata = withoutNulls(rawMetadata);
  for (const key of ['labels', 'annotations'] as const) {
    const map = metadata[key] ?? {};
    if (!isRecord(map) || !Object.values(map).every((text) => typeof text === 'string')) {
      return `metadata.${key}: expected text values by name`;
    }
  }
  if (!isRecord(rawSpec)) return 'spec: expected an object';
  const spec = withoutNulls(rawSpec);
  if (!isNamedList(spec['containers'], true))
    return 'spec.containers: expected a list of named containers, at least one';
  for (const key of ['initContainers', 'volumes'] as const) {
    if (!isNamedList(spec[key] ?? [], false)) return `spec.${key}: expected a list of named items`;
  }
  const grace = spec['terminationGracePeriodSeconds'] ?? 0;
  if (typeof grace !== 'number') return 'spec.terminationGracePeriodSeconds: expected a number';
  const hasMetadata = isRecord(value['metadata']);
  return (hasMetadata ? { ...value, metadata, spec } : { spec }) as unknown as Pod;
}

function withoutNulls(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null));
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isNamedList(value: unknown, filled: boolean): boolean {
  if (!Array.isArray(value) || (filled && value.length === 0)) return false;
  return value.every((item) => isRecord(item) && typeof item['name'] === 'string');
}
