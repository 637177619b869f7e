/**
 * The annotations a pod may carry, as data: name, default, form and meaning. The same table feeds the reader, the
 * chart's defaults and the table in deploy/README.md, which a test compares.
 *
 * Four families besides stand for settings of our programs and are checked by those programs' own readers:
 * `proxy.understudy.dev/`, `model.understudy.dev/`, `worker.understudy.dev/` and `intercept.understudy.dev/`.
 */

import { MOUNTS_FORM, MOUNTS_PATTERN } from './mounts.ts';

export const DOMAIN = 'understudy.dev';

export interface AnnotationSpec {
  readonly default: string;
  /** What a value must look like; an empty value stands for the default. */
  readonly pattern: RegExp;
  /** Completes "expected ...". */
  readonly form: string;
  readonly meaning: string;
}

const NAME = '[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?';
const IMAGE = /^[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,511}$/;
const IMAGE_FORM = 'an image reference such as registry.example/understudy:1.0';
const QUANTITY = /^(?:0|[1-9]\d{0,14})(?:\.\d{1,3})?(?:m|k|M|G|T|Ki|Mi|Gi|Ti)?$/;
const QUANTITY_FORM = 'a Kubernetes quantity such as 250m, 1.5 or 512Mi';

const cpuOrMemory = (meaning: string): AnnotationSpec => ({
  default: '',
  pattern: QUANTITY,
  form: QUANTITY_FORM,
  meaning,
});
const choice = (fallback: string, choices: readonly string[], meaning: string): AnnotationSpec => ({
  default: fallback,
  pattern: new RegExp(`^(?:${choices.join('|')})$`),
  form: choices.join(' or '),
  meaning,
});
const image = (meaning: string): AnnotationSpec => ({ default: '', pattern: IMAGE, form: IMAGE_FORM, meaning });

/** Annotations of `understudy.dev/` itself. */
export const ANNOTATIONS = {
  inject: choice('true', ['true', 'false'], 'false keeps the pod as it is; the label of the same name does so too'),
  shape: choice(
    'application',
    ['application', 'model-server'],
    'beside an application that calls models, or in front of a model server that others call',
  ),
  interception: choice(
    'redirect',
    ['redirect', 'none'],
    'none adds no rules and needs no NET_ADMIN: the application calls the explicit ports of the proxy',
  ),
  worker: choice(
    'auto',
    ['auto', 'true', 'false'],
    'whether there is an inference worker; auto: when models are given',
  ),
  models: {
    default: '',
    pattern: new RegExp(
      `^(?:pvc:${NAME}|volume:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?|image:[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,511})$`,
    ),
    form: 'pvc:CLAIM, volume:NAME (a volume of this pod) or image:REFERENCE',
    meaning: 'where the worker finds MODEL/VERSION/model.onnx; mounted read-only',
  },
  'fallback-models': {
    default: '',
    pattern: /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(?:,[A-Za-z0-9][A-Za-z0-9._-]{0,127}){0,31}$/,
    form: 'model names joined by commas',
    meaning: 'models served by a process of their own, which outlives a crash of the one with the primaries',
  },
  'config-map': {
    default: '',
    pattern: new RegExp(`^${NAME}(?::[-._a-zA-Z0-9]{1,253})?$`),
    form: 'NAME or NAME:KEY',
    meaning: 'the ConfigMap with the mesh document, at key mesh.yaml; an edit is in force without a restart',
  },
  metrics: choice(
    'false',
    ['true', 'false'],
    'opens port 15020 to the pod network, for Prometheus and the kubelet: metrics and probes, nothing else',
  ),
  'ip-families': choice(
    'dual',
    ['dual', 'ipv4', 'ipv6'],
    'address families of listeners and rules; ipv4 where the node has IPv6 switched off',
  ),
  after: {
    default: '',
    pattern: /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
    form: 'the name of an init container of this pod',
    meaning: 'init container after which ours start, such as one that fetches the models; first of all otherwise',
  },
  'drain-delay': {
    default: '5s',
    pattern: /^(?:0|[1-9]\d{0,3})s$/,
    form: 'whole seconds such as 5s',
    meaning:
      'model-server: preStop pause of containers that have no preStop, until callers know the pod is going; 0s is none',
  },
  'proxy-mounts': {
    default: '',
    pattern: MOUNTS_PATTERN,
    form: MOUNTS_FORM,
    meaning: 'files for the proxy, such as a Secret with the certificate that proxy.understudy.dev/tls-cert-file names',
  },
  'worker-mounts': {
    default: '',
    pattern: MOUNTS_PATTERN,
    form: MOUNTS_FORM,
    meaning: 'files for the worker, such as a batching file',
  },
  image: image('image of proxy and, unless given, worker'),
  'worker-image': image('image of the worker, such as the gpu target'),
  'interception-image': image('image with iptables'),
  'proxy-cpu': cpuOrMemory('CPU request of the proxy'),
  'proxy-cpu-limit': cpuOrMemory('CPU limit of the proxy; none by default, since throttling shows as latency'),
  'proxy-memory': cpuOrMemory('memory request of the proxy'),
  'proxy-memory-limit': cpuOrMemory('memory limit of the proxy'),
  'worker-cpu': cpuOrMemory('CPU request of the worker'),
  'worker-cpu-limit': cpuOrMemory('CPU limit of the worker'),
  'worker-memory': cpuOrMemory('memory request of the worker'),
  'worker-memory-limit': cpuOrMemory('memory limit of the worker'),
  'worker-gpus': {
    default: '',
    pattern: /^[1-9]\d?$/,
    form: 'a whole number from 1 to 99',
    meaning: 'GPUs of the worker, as limit',
  },
  'worker-gpu-resource': {
    default: 'nvidia.com/gpu',
    pattern: new RegExp(`^${NAME}/[A-Za-z0-9][-._A-Za-z0-9]{0,62}$`),
    form: 'a resource name such as nvidia.com/gpu',
    meaning: 'extended resource that counts them, such as a MIG profile',
  },
} as const satisfies Record<string, AnnotationSpec>;

export type AnnotationName = keyof typeof ANNOTATIONS;
export type AnnotationValues = Readonly<Record<AnnotationName, string>>;

/** Written by the injector, not by people. */
export const STATUS_ANNOTATION = `${DOMAIN}/status`;
/** Label that metrics and network policies select injected pods by. */
export const INJECTED_LABEL = `${DOMAIN}/sidecar`;

/** The values of `understudy.dev/` annotations; mistakes go to `problems`. */
export function readOwnAnnotations(given: Readonly<Record<string, string>>, problems: string[]): AnnotationValues {
  const values: Record<string, string> = {};
  for (const [name, spec] of Object.entries(ANNOTATIONS)) {
    const key = `${DOMAIN}/${name}`;
    const text = given[key]?.trim() ?? '';
    if (text !== '' && !spec.pattern.test(text)) problems.push(`${key} = ${shown(text)}: expected ${spec.form}`);
    values[name] = text === '' ? spec.default : text;
  }
  for (const key of Object.keys(given)) {
    if (!key.startsWith(`${DOMAIN}/`) || key === STATUS_ANNOTATION) continue;
    if (!Object.hasOwn(ANNOTATIONS, key.slice(DOMAIN.length + 1))) problems.push(`${key}: not an annotation of ours`);
  }
  return values as AnnotationValues;
}

/** A value as messages show it, cut to 80 characters. */
export function shown(text: string): string {
  return JSON.stringify(text.length <= 80 ? text : `${text.slice(0, 77)}...`);
}
