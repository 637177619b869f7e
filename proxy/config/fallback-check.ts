/** What a fallback step says besides its cluster: how its answers are adapted, or the answer itself. */

import { dtypeFromOip } from '../../proto/tensor/dtype.ts';
import { checkMapping, checkSignature, type Signature } from './answer-check.ts';
import type { LocalAnswerPolicy, OutputMapping } from './answer-policy.ts';
import type { ModelDocument } from './document-fields.ts';
import { checkRule, checkStatic } from './local-check.ts';
import type { ProblemList } from './problem.ts';

type FallbackDocument = ModelDocument['fallback'][number];

/** The answer of a step that has one of its own; null for a step that asks a cluster. */
export function checkLocal(step: FallbackDocument, path: string, problems: ProblemList): LocalAnswerPolicy | null {
  const { rule } = step;
  const constant = step.static;
  if (rule === null && constant === null) return null;
  const others = [step.cluster, step.model, rule === null ? null : constant].filter((key) => key !== null);
  if (others.length > 0) problems.add(path, undefined, 'exactly one of the keys cluster, model, static and rule');
  return constant === null
    ? checkRule(rule!, `${path}.rule`, problems)
    : checkStatic(constant, `${path}.static`, problems);
}

/** How a step's answers are adapted; null where they go on as they are. */
export function checkAdapt(
  step: FallbackDocument,
  primary: readonly Signature[],
  path: string,
  problems: ProblemList,
): OutputMapping | null {
  const isLocal = step.rule !== null || step.static !== null;
  if (isLocal && (step.adapt !== null || step.outputs.length > 0)) {
    problems.add(path, undefined, 'no outputs and no adapt, since the answer is written here');
    return null;
  }
  const fallback = checkSignature(step.outputs, `${path}.outputs`, problems);
  if (step.adapt !== null) return checkMapping(step.adapt, primary, fallback, `${path}.adapt`, problems);
  if (fallback.length > 0 && !problems.covers(`${path}.outputs`)) {
    problems.add(
      `${path}.outputs`,
      undefined,
      'an adapt beside them',
      'outputs are only compared with what adapt makes of them',
    );
  }
  return null;
}

/** What a model's own outputs are declared to be. */
export function declaredSignature(model: ModelDocument): readonly Signature[] {
  return model.outputs.map(({ name, dtype, shape }) => ({ name, dtype: dtypeFromOip(dtype ?? ''), shape }));
}
