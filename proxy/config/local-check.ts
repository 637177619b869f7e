/** Checks answers without a model: constants and rules. Every mistake is found here; what is left cannot fail but by its inputs. */

import { DataType, dtypeFromOip } from '../../proto/tensor/dtype.ts';
import { checkConstant, checkUnique } from './answer-check.ts';
import type {
  Comparison,
  LinearScore,
  LocalAnswerPolicy,
  LocalCase,
  LocalCondition,
  LocalOutput,
} from './answer-policy.ts';
import type { ModelDocument } from './document-fields.ts';
import { nearestHint } from './nearest-name.ts';
import type { ProblemList } from './problem.ts';

type FallbackDocument = ModelDocument['fallback'][number];
type StaticDocument = NonNullable<FallbackDocument['static']>;
type RuleDocument = NonNullable<FallbackDocument['rule']>;
type RuleOutput = RuleDocument['outputs'][number];
type CaseDocument = RuleDocument['cases'][number];
type ConditionDocument = CaseDocument['when'][number];

/** A constant answer, written at `path`. */
export function checkStatic(document: StaticDocument, path: string, problems: ProblemList): LocalAnswerPolicy {
  const outputs = document.outputs.map((output) => ({ ...output, score: null }));
  return { kind: 'static', document: null, outputs: checkOutputs(outputs, path, problems), cases: [] };
}

/** An answer computed from the inputs. */
export function checkRule(document: RuleDocument, path: string, problems: ProblemList): LocalAnswerPolicy {
  const outputs = checkOutputs(document.outputs, path, problems);
  const cases = document.cases.map((one, i) => checkCase(one, outputs, `${path}.cases[${i}]`, problems));
  return { kind: 'rule', document: null, outputs, cases };
}

function checkOutputs(outputs: readonly RuleOutput[], path: string, problems: ProblemList): LocalOutput[] {
  if (outputs.length === 0 && !problems.covers(`${path}.outputs`))
    problems.add(`${path}.outputs`, undefined, 'at least one output');
  checkUnique(outputs, `${path}.outputs`, problems);
  return outputs.map((output, i) => checkOutput(output, `${path}.outputs[${i}]`, problems));
}

function checkOutput(output: RuleOutput, path: string, problems: ProblemList): LocalOutput {
  const { name, shape, values } = output;
  const dtype = dtypeFromOip(output.dtype);
  const score = output.score === null ? null : checkScore(output.score, dtype, shape, path, problems);
  const checked = { name, dtype, shape, values, score };
  if (name === '' && !problems.covers(`${path}.name`)) problems.add(`${path}.name`, name, 'a name');
  const isReadable = ['dtype', 'shape', 'values'].every((key) => !problems.covers(`${path}.${key}`));
  if (output.score === null) {
    if (isReadable) checkConstant(dtype, shape, values, `${path}.values`, problems);
  } else if (values.length > 0) problems.add(`${path}.values`, undefined, 'no values, since there is a score');
  return checked;
}

function checkScore(
  document: NonNullable<RuleOutput['score']>,
  dtype: number,
  shape: readonly number[],
  path: string,
  problems: ProblemList,
): LinearScore {
  const { bias, terms, transform, min, max } = document;
  if ((dtype === DataType.STRING || dtype === DataType.BOOL) && !problems.covers(`${path}.dtype`)) {
    problems.add(`${path}.dtype`, undefined, 'a type of numbers, since there is a score');
  }
  if ((shape[0] !== -1 || shape.slice(1).includes(-1)) && !problems.covers(`${path}.shape`)) {
    problems.add(
      `${path}.shape`,
      `[${shape.join(', ')}]`,
      'a shape with -1 in front and nowhere else, since there is a score',
    );
  }
  if (min !== null && max !== null && min > max) problems.add(`${path}.score.max`, String(max), `at least min, ${min}`);
  return {
    bias,
    terms,
    sigmoid: transform === 'sigmoid',
    min: min ?? Number.NEGATIVE_INFINITY,
    max: max ?? Number.POSITIVE_INFINITY,
  };
}

function checkCase(
  document: CaseDocument,
  outputs: readonly LocalOutput[],
  path: string,
  problems: ProblemList,
): LocalCase {
  if (document.when.length === 0 && !problems.covers(`${path}.when`))
    problems.add(`${path}.when`, undefined, 'at least one condition');
  if (document.set.length === 0 && !problems.covers(`${path}.set`))
    problems.add(`${path}.set`, undefined, 'at least one output');
  const names = outputs.map(({ name }) => name);
  const sets = document.set.map(({ output: name, values }, i) => {
    const at = `${path}.set[${i}]`;
    const output = outputs.find((one) => one.name === name);
    if (output === undefined) {
      if (!problems.covers(at)) problems.add(`${at}.output`, name, 'the name of an output', nearestHint(name, names));
    } else if (output.shape[0] !== -1) {
      problems.add(`${at}.output`, name, 'an output with -1 in front of its shape: a case is about a row');
    } else if (!problems.covers(at)) {
      checkConstant(output.dtype, output.shape, values, `${at}.values`, problems);
    }
    return { name, values };
  });
  const conditions = document.when.map((one, i) => checkCondition(one, outputs, `${path}.when[${i}]`, problems));
  return { conditions, outputs: sets };
}

function checkCondition(
  { input, column, score, op, value }: ConditionDocument,
  outputs: readonly LocalOutput[],
  path: string,
  problems: ProblemList,
): LocalCondition {
  const isOrdered = op !== '=' && op !== '!=';
  const comparison = op as Comparison;
  if (!problems.covers(path)) {
    if ((input === null) === (score === null)) problems.add(path, undefined, 'exactly one of the keys input and score');
    if ((isOrdered || score !== null) && (value.trim() === '' || Number.isNaN(Number(value)))) {
      problems.add(`${path}.value`, value, 'a number');
    }
    if (score !== null) {
      const scored = outputs.filter((output) => output.score !== null).map(({ name }) => name);
      if (!scored.includes(score))
        problems.add(`${path}.score`, score, 'an output that has a score', nearestHint(score, scored));
    }
  }
  if (score !== null) return { operand: { kind: 'score', output: score }, op: comparison, value };
  return { operand: { kind: 'input', input: input ?? '', column }, op: comparison, value };
}
