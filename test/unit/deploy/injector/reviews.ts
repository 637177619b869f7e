/** AdmissionReviews as the API server writes them, and a short way to have one answered. */
import { type AdmissionResponse, PodInjector } from '../../../../deploy/injector/admission.ts';
import { readSidecarParts } from '../../../../deploy/injector/sidecar-parts.ts';
import { applyPatch, type Operation } from './json-patch.ts';

export const DEFAULTS = {
  'understudy.dev/image': 'registry.example/understudy:1.0',
  'understudy.dev/interception-image': 'registry.example/understudy-interception:1.0',
};

// biome-ignore lint/suspicious/noExplicitAny: pods in tests have any shape
export type AnyPod = any;

/** A pod as a Deployment makes it. */
export function pod(
  annotations: Record<string, string> = {},
  spec: object = {},
  labels: object = { app: 'loans' },
): AnyPod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: 'loans-6d4cf56db6-',
      labels,
      annotations: { 'kubectl.kubernetes.io/restartedAt': '2026-11-01T00:00:00Z', ...annotations },
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'loans-6d4cf56db6', uid: '5c1a', controller: true },
      ],
    },
    spec: {
      containers: [
        { name: 'loans', image: 'registry.example/loans:7', ports: [{ containerPort: 8080, protocol: 'TCP' }] },
      ],
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 30,
      dnsPolicy: 'ClusterFirst',
      securityContext: {},
      ...spec,
    },
  };
}

/** The review of a pod's creation. */
export function review(object: AnyPod, request: object = {}): object {
  return {
    kind: 'AdmissionReview',
    apiVersion: 'admission.k8s.io/v1',
    request: {
      uid: '705ab4f5-6393-11e8-b7cc-42010a800002',
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      requestKind: { group: '', version: 'v1', kind: 'Pod' },
      requestResource: { group: '', version: 'v1', resource: 'pods' },
      namespace: 'lending',
      operation: 'CREATE',
      userInfo: {
        username: 'system:serviceaccount:kube-system:replicaset-controller',
        groups: ['system:authenticated'],
      },
      object,
      oldObject: null,
      dryRun: false,
      options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1' },
      ...request,
    },
  };
}

const parts = readSidecarParts();

export function respond(object: AnyPod, defaults: Record<string, string> = DEFAULTS): AdmissionResponse {
  return new PodInjector(defaults, parts).review(JSON.stringify(review(object))).review.response;
}

export function operationsOf(response: AdmissionResponse): Operation[] {
  return response.patch === undefined ? [] : JSON.parse(Buffer.from(response.patch, 'base64').toString('utf8'));
}

/** The pod after its review, as the API server would store it. Throws when it was refused. */
export function inject(object: AnyPod, defaults: Record<string, string> = DEFAULTS): AnyPod {
  const response = respond(object, defaults);
  if (!response.allowed) throw new Error(response.status?.message);
  return applyPatch(object, operationsOf(response));
}

/** The message of a refusal. */
export function refusal(object: AnyPod, defaults: Record<string, string> = DEFAULTS): string {
  const response = respond(object, defaults);
  return response.allowed ? 'allowed' : (response.status?.message ?? '');
}

export function initContainer(object: AnyPod, name: string): AnyPod {
  return (object.spec.initContainers ?? []).find((container: AnyPod) => container.name === name);
}

export function envOf(object: AnyPod, name: string): Record<string, string> {
  const list = initContainer(object, name).env as { name: string; value: string }[];
  return Object.fromEntries(list.map(({ name: key, value }) => [key, value]));
}

/** Asks for a worker. */
export const MODELS = { 'understudy.dev/models': 'pvc:credit-models' };
