/** Whether an answer that says OK can be believed: which check fits which API. */
import type { Attempt, Exchange } from './exchange.ts';
import { hasBadJsonOutput } from './policy/json-output-check.ts';
import { hasBadOipOutput } from './policy/oip-output-check.ts';
import { hasBadOutput } from './policy/output-check.ts';
import { hasBadScore } from './policy/score-check.ts';

/** An OK whose numbers cannot be believed, where the model's policy has them looked at and the answer was held. */
export function isBadAnswer(exchange: Exchange, attempt: Attempt): boolean {
  const { held, model, traits, infers, committed } = exchange;
  if (model === null || !model.config.checkOutputs || committed || !infers) return false;
  if (held === null) return true;
  const { buffer, length } = held;
  const { call } = traits!;
  if (call === null) return hasBadJsonOutput(attempt.responseHead!, buffer, length);
  if (call.api === 'open-inference') return hasBadOipOutput(buffer, length);
  return call.method === 'Predict' ? hasBadOutput(buffer, length) : hasBadScore(call.method, buffer, length);
}
