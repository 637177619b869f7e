/**
 * Which output says what the model decided, and what it means for two answers to agree. Chosen from the primary's outputs:
 *
 *   1. the output named by the policy, if the answer has it;
 *   2. labels (integers, strings, booleans) in an output whose name contains `label` or `class`;
 *   3. class scores: floats whose last axis has two entries or more, one for each class;
 *   4. any other labels;
 *   5. none of these: the numbers themselves, which agree within the policy's tolerance.
 *
 * Where several outputs qualify, names that say what they hold go first (`prob`, `score`, `logit`), then alphabetical
 * order decides, never the order on the wire. Labels agree when equal (`labels`), class scores when their largest entry,
 * the first of equals, is in the same place (`top_class`), a single score that the policy names as the class when it lies
 * on the same side of a half (`threshold`). Boxes and embeddings look like class scores: such a model names its output.
 */
import type { TensorList, TensorView } from '../../proto/tensor/tensor-view.ts';
import type { AgreementRule } from './comparison.ts';
import { isFloat, isLabel } from './element-reader.ts';

/** The choice for one answer; used again for the next. Indices are places in the list, -1 for none. */
export class LabelChoice {
  rule: AgreementRule = 'none';
  labelIndex = -1;
  /** Output whose distribution is followed: class scores if there are any, else a single score. */
  scoreIndex = -1;

  choose(buf: Buffer, outputs: TensorList, named: string): void {
    this.rule = 'none';
    this.labelIndex = -1;
    this.scoreIndex = best(buf, outputs, isClassScores);
    const vector = this.scoreIndex;
    if (vector < 0) this.scoreIndex = best(buf, outputs, isSingleScore);
    if (named !== '' && this.chooseNamed(buf, outputs, named)) return;
    const labels = best(buf, outputs, isLabels);
    if (labels >= 0 && rank(outputs.nameAt(buf, labels)) === NAMED_LABEL) this.take('labels', labels);
    else if (vector >= 0) this.take('top_class', vector);
    else if (labels >= 0) this.take('labels', labels);
    else if (best(buf, outputs, isNumbers) >= 0) this.rule = 'tolerance';
  }

  private chooseNamed(buf: Buffer, outputs: TensorList, named: string): boolean {
    for (let i = 0; i < outputs.count; i++) {
      if (outputs.nameAt(buf, i) !== named) continue;
      const tensor = outputs.tensors[i]!;
      if (isLabels(tensor)) this.take('labels', i);
      else if (isClassScores(tensor)) this.take('top_class', i);
      else if (isSingleScore(tensor)) this.take('threshold', i);
      else return false;
      if (this.rule !== 'labels') this.scoreIndex = i;
      return true;
    }
    return false;
  }

  private take(rule: AgreementRule, index: number): void {
    this.rule = rule;
    this.labelIndex = index;
  }
}

function isLabels(tensor: TensorView): boolean {
  return isLabel(tensor.dtype);
}

function isNumbers(tensor: TensorView): boolean {
  return isFloat(tensor.dtype);
}

/** [rows, ..., classes] with two classes or more. */
export function isClassScores(tensor: TensorView): boolean {
  return isFloat(tensor.dtype) && tensor.rank >= 2 && tensor.dims[tensor.rank - 1]! >= 2;
}

/** A scalar, [rows] or [rows, 1]. */
function isSingleScore(tensor: TensorView): boolean {
  return isFloat(tensor.dtype) && (tensor.rank <= 1 || (tensor.rank === 2 && tensor.dims[1] === 1));
}

const NAMED_LABEL = 0;
const NAMED_SCORE = 1;
const UNNAMED = 2;

function rank(name: string): number {
  const lower = name.toLowerCase();
  if (lower.includes('label') || lower.includes('class')) return NAMED_LABEL;
  if (lower.includes('prob') || lower.includes('score') || lower.includes('logit')) return NAMED_SCORE;
  return UNNAMED;
}

/** Place of the qualifying output whose name ranks first, -1 for none. */
function best(buf: Buffer, outputs: TensorList, qualifies: (tensor: TensorView) => boolean): number {
  let found = -1;
  let foundName = '';
  for (let i = 0; i < outputs.count; i++) {
    if (!qualifies(outputs.tensors[i]!)) continue;
    const name = outputs.nameAt(buf, i);
    const order = found < 0 ? -1 : rank(name) - rank(foundName);
    if (order < 0 || (order === 0 && name < foundName)) {
      found = i;
      foundName = name;
    }
  }
  return found;
}
