/** Which protocol a pipeline is called in, and whether it is run or only asked about. */

import { type CallAnswer, type CallForm, refuseLabel } from '../pipeline/call-form.ts';
import { InferForm } from '../pipeline/infer-form.ts';
import { grpcModelAnswer, restModelAnswer } from '../pipeline/model-answers.ts';
import type { PipelinePlan } from '../pipeline/plan.ts';
import { PredictForm } from '../pipeline/predict-form.ts';
import { JSON_LENGTH_HEADER, RestInferForm } from '../pipeline/rest-infer-form.ts';
import { RestPredictForm } from '../pipeline/rest-predict-form.ts';
import type { Exchange } from '../request/exchange.ts';

const LABEL = /\/labels\/([^/:?]+)/i;

/** How a call is read and answered; null for one that does not run the pipeline. */
export function formOf(plan: PipelinePlan, { traits, head }: Exchange): CallForm | null {
  const { call, rest } = traits!;
  switch (call?.method ?? rest!.method) {
    case 'Predict':
      if (call !== null) return new PredictForm(plan);
      return new RestPredictForm(plan, rest!.version, labelOf(head!.get(':path')!));
    case 'ModelInfer':
      return new InferForm(plan);
    case 'infer':
      return new RestInferForm(plan, rest!.version, head!.get(JSON_LENGTH_HEADER));
    default:
      return null;
  }
}

/** The answer to a call that does not run the pipeline; a gRPC message is `[start, end)` of `body`. @throws CallFault, WireError */
export function answerAbout(
  plan: PipelinePlan,
  exchange: Exchange,
  body: Buffer,
  start: number,
  end: number,
): CallAnswer {
  const { call, rest } = exchange.traits!;
  if (call !== null) return grpcModelAnswer(plan, call.method, body, start, end);
  const label = labelOf(exchange.head!.get(':path')!);
  // Status calls pass over labels, as TensorFlow Serving does.
  if (label !== '' && rest!.rest !== '') refuseLabel(label);
  return restModelAnswer(plan, rest!.api, rest!.version, rest!.rest);
}

function labelOf(path: string): string {
  const label = LABEL.exec(path)?.[1] ?? '';
  try {
    return decodeURIComponent(label);
  } catch {
    return label;
  }
}
