/**
 * One AdmissionReview in, one out. Pure: no clock, no sockets.
 *
 * A document that is no AdmissionReview is a `BadReview`, which the server answers with 400; a review of a pod we cannot
 * accept is a review that refuses, with every mistake in one message.
 */
import { planInjection } from './injection.ts';
import { isRecord, type Pod, readPod } from './kubernetes.ts';
import { patchFor, reasonToLeave } from './pod-patch.ts';
import type { SidecarParts } from './sidecar-parts.ts';

/** The request was no AdmissionReview of a version we speak. */
export class BadReview extends Error {}

export interface AdmissionResponse {
  readonly uid: string;
  readonly allowed: boolean;
  readonly status?: { readonly code: number; readonly reason: string; readonly message: string };
  readonly patchType?: 'JSONPatch';
  /** Base64 of a JSON array of operations. */
  readonly patch?: string;
  readonly warnings?: readonly string[];
}

export interface Verdict {
  readonly review: { readonly apiVersion: string; readonly kind: string; readonly response: AdmissionResponse };
  /** For logs and metrics: injected, refused, or why the pod was left alone. */
  readonly outcome: string;
  /** `namespace/name` as far as it is known: a pod made by a controller has no name yet. */
  readonly pod: string;
}

const API_VERSION = 'admission.k8s.io/v1';
/** The API server cuts and complains above 256. */
const MAX_WARNING_CHARS = 250;

export class PodInjector {
  private readonly defaults: Readonly<Record<string, string>>;
  private readonly parts: SidecarParts;

  constructor(defaults: Readonly<Record<string, string>>, parts: SidecarParts) {
    this.defaults = defaults;
    this.parts = parts;
  }

  /** Answers the text of a review. Throws `BadReview`. */
  review(text: string): Verdict {
    const request = readRequest(text);
    const uid = request['uid'] as string;
    const resource = isRecord(request['resource']) ? request['resource'] : {};
    const isNewPod =
      request['operation'] === 'CREATE' &&
      resource['group'] === '' &&
      resource['version'] === 'v1' &&
      resource['resource'] === 'pods' &&
      (request['subResource'] ?? '') === '';
    if (!isNewPod) return verdict({ uid, allowed: true }, 'not_a_new_pod', '');
    const pod = readPod(request['object']);
    if (typeof pod === 'string') return verdict(refusal(uid, [pod]), 'refused', '');
    const name = `${request['namespace'] ?? ''}/${pod.metadata?.name ?? pod.metadata?.generateName ?? ''}`;
    return this.decide(uid, pod, name);
  }

  private decide(uid: string, pod: Pod, name: string): Verdict {
    const reason = reasonToLeave(pod);
    if (reason !== null) return verdict({ uid, allowed: true, ...leavingWarning(reason) }, reason, name);
    const plan = planInjection(pod, this.defaults, this.parts);
    if ('problems' in plan) return verdict(refusal(uid, plan.problems), 'refused', name);
    const problems: string[] = [];
    const patch = patchFor(pod, plan, problems);
    if (problems.length > 0) return verdict(refusal(uid, problems), 'refused', name);
    const warnings = plan.warnings.map((warning) => warning.slice(0, MAX_WARNING_CHARS));
    const response: AdmissionResponse = {
      uid,
      allowed: true,
      patchType: 'JSONPatch',
      patch: Buffer.from(JSON.stringify(patch)).toString('base64'),
      ...(warnings.length > 0 ? { warnings } : {}),
    };
    return verdict(response, 'injected', name);
  }
}

function readRequest(text: string): Record<string, unknown> {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new BadReview('the body is not JSON');
  }
  if (!isRecord(document) || document['kind'] !== 'AdmissionReview' || document['apiVersion'] !== API_VERSION) {
    throw new BadReview(`expected an AdmissionReview of ${API_VERSION}`);
  }
  const request = document['request'];
  if (!isRecord(request)) throw new BadReview('request: expected an object');
  const uid = request['uid'];
  if (typeof uid !== 'string' || uid === '' || uid.length > 128) throw new BadReview('request.uid: expected a text');
  return request;
}

function refusal(uid: string, problems: readonly string[]): AdmissionResponse {
  const message = `understudy: ${problems.join('; ')}`;
  return { uid, allowed: false, status: { code: 400, reason: 'BadRequest', message } };
}

/** Leaving a pod that asked for injection is said aloud; opting out and being injected already are no surprise. */
function leavingWarning(reason: string): Pick<AdmissionResponse, 'warnings'> {
  if (reason === 'host_network')
    return { warnings: ['understudy: not injected, since the pod uses the network of its node'] };
  if (reason === 'other_os') return { warnings: ['understudy: not injected, since the pod is not for Linux'] };
  return {};
}

function verdict(response: AdmissionResponse, outcome: string, pod: string): Verdict {
  return { review: { apiVersion: API_VERSION, kind: 'AdmissionReview', response }, outcome, pod };
}
