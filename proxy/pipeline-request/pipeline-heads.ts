/** Heads of pipelines' calls: what a step's call takes along from its caller's, and what the caller is answered. */
import { encodeGrpcMessage } from '../../proto/grpc/percent-encoding.ts';
import { formatGrpcTimeout } from '../../proto/grpc/timeout.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import type { CallAnswer } from '../pipeline/call-form.ts';
import type { PipelinePlan } from '../pipeline/plan.ts';
import type { RunFailure } from '../pipeline/run.ts';

const PATHS = {
  'tensorflow-serving': '/tensorflow.serving.PredictionService/Predict',
  'open-inference': '/inference.GRPCInferenceService/ModelInfer',
} as const;

type StepProtocol = keyof typeof PATHS;

/** Fields that say how the caller's own request and answer are written. */
const CALLERS_OWN: ReadonlySet<string> = new Set([
  'host',
  'content-type',
  'content-length',
  'content-encoding',
  'accept',
  'accept-encoding',
  'expect',
  'te',
  'grpc-timeout',
  'grpc-encoding',
  'grpc-accept-encoding',
  'inference-header-content-length',
]);

/** Heads of steps by those of their pipelines' calls: equal calls share them, and what is worked out of them. */
export class StepHeads {
  private readonly known = {
    'tensorflow-serving': new WeakMap<HeaderList, HeaderList>(),
    'open-inference': new WeakMap<HeaderList, HeaderList>(),
  } as const;

  /** The head for steps of a call with the head `forward` (without what concerns its connection); `timeoutMs` 0 for none. */
  of(forward: HeaderList, timeoutMs: number, protocol: StepProtocol): HeaderList {
    const known = this.known[protocol];
    let head = known.get(forward);
    if (head === undefined) {
      head = stepHead(forward, timeoutMs, PATHS[protocol]);
      known.set(forward, head);
    }
    return head;
  }
}

function stepHead(forward: HeaderList, timeoutMs: number, path: string): HeaderList {
  const names = [':method', ':scheme', ':path', ':authority', 'content-type', 'te'];
  const values = ['POST', forward.get(':scheme') ?? 'http', path, forward.get(':authority') ?? 'pipeline'];
  values.push('application/grpc', 'trailers');
  const never = names.map(() => false);
  if (timeoutMs > 0) {
    // What is left when the step begins takes its place.
    names.push('grpc-timeout');
    values.push(formatGrpcTimeout(timeoutMs));
    never.push(false);
  }
  for (let i = 0; i < forward.length; i++) {
    const name = forward.names[i]!;
    if (name.startsWith(':') || CALLERS_OWN.has(name)) continue;
    names.push(name);
    values.push(forward.values[i]!);
    never.push(forward.isNeverIndexed(i));
  }
  return new HeaderList(names, values, forward.sensitive ? never : null);
}

/** Who answered each step, and which of them not as meant. */
export interface RunReport {
  readonly steps: string;
  readonly degraded: readonly string[];
}

export const NO_REPORT: RunReport = { steps: '', degraded: [] };

/** The head of a complete answer; gRPC's trailers follow it. */
export function answerHead(plan: PipelinePlan, answer: CallAnswer, report: RunReport, grpc: boolean): HeaderList {
  const fields: [string, string][] = [
    [':status', '200'],
    ['content-type', answer.contentType],
  ];
  if (!grpc) fields.push(['content-length', String(answer.body.length)]);
  for (const [name, value] of answer.fields) fields.push([name, value]);
  fields.push(['x-understudy-served-by', plan.config.name], ['x-understudy-model-version', plan.config.version]);
  return HeaderList.of(...fields, ...reportFields(report));
}

/** Trailers-only answer of a failed call, or the head of one over HTTP. */
export function failureHead(failure: RunFailure, report: RunReport, status: number, bodyBytes: number): HeaderList {
  const { grpcStatus, reason, step } = failure;
  const fields: [string, string][] = [[':status', String(status)]];
  if (bodyBytes < 0) {
    fields.push(['content-type', 'application/grpc'], ['grpc-status', String(grpcStatus)]);
    fields.push(['grpc-message', encodeGrpcMessage(failure.message)]);
  } else {
    fields.push(['content-type', 'application/json'], ['content-length', String(bodyBytes)]);
  }
  if (reason !== '') fields.push(['x-understudy-reason', reason]);
  if (step !== '') fields.push(['x-understudy-step', step]);
  return HeaderList.of(...fields, ...reportFields(report));
}

function reportFields({ steps, degraded }: RunReport): [string, string][] {
  const fields: [string, string][] = [];
  if (steps !== '') fields.push(['x-understudy-steps', steps]);
  if (degraded.length > 0) fields.push(['x-understudy-degraded', degraded.join(',')]);
  return fields;
}
