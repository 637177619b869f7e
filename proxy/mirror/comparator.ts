/**
 * Holds a shadow's answer against the primary's: faults, numeric differences, and whether they decided the same.
 *
 * Pure: bytes and statuses in, a `Comparison` out. Whatever the bytes are, the verdict is a fault and never an error.
 * The primary's answer is the measure: outputs that only the shadow has are not looked at.
 */
import type { TensorView } from '../../proto/tensor/tensor-view.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import type { OutputSnapshot } from '../config/snapshot.ts';
import { type BodyForm, BodyTensors } from './body-tensors.ts';
import { ClassVectors, topClass } from './class-vector.ts';
import { type Comparison, MAX_ROWS } from './comparison.ts';
import { declaredFault, NO_FAULT } from './declared-outputs.ts';
import { ElementReader, type Floats, isFloat, MAX_READ_ELEMENTS } from './element-reader.ts';
import { Fault } from './fault-kinds.ts';
import { isClassScores, LabelChoice } from './label-rule.ts';
import { faultOf } from './message-bytes.ts';
import type { OutputRows } from './output-rows.ts';
import { hasElementTypes } from './pair-protocol.ts';
import type { PairRecord } from './pair-record.ts';

/** What the comparison needs of the policy. */
export interface ComparisonRules {
  /** '' lets label-rule.ts choose. */
  readonly labelOutput: string;
  readonly absoluteTolerance: number;
  readonly relativeTolerance: number;
  /** What the model's outputs have to be; a shadow's that are not are at fault, whatever the primary's are. */
  readonly outputs: readonly OutputSnapshot[];
}

/** A ten-thousandth relative is what single precision and reordered sums explain; more is a difference. */
export const DEFAULT_RULES: ComparisonRules = {
  labelOutput: '',
  absoluteTolerance: 1e-6,
  relativeTolerance: 1e-4,
  outputs: [],
};

/** The fault that a contradiction to what is declared (`BadOutput`) is. */
const DECLARED_FAULTS: readonly number[] = [
  Fault.NAN,
  Fault.RANGE,
  Fault.SHAPE,
  Fault.DTYPE,
  Fault.MISSING_OUTPUT,
  Fault.MALFORMED,
];

/** Elements of one answer that are compared at most, over all outputs. */
export const MAX_ANSWER_ELEMENTS = 4 * MAX_READ_ELEMENTS;
const OK = 0;

/** One side's answer, parsed. Used again for every pair. */
class Answer {
  readonly tensors = new BodyTensors();
  readonly elements = new ElementReader();
}

/** How the bodies of a pair are written. */
export function formOf(pair: PairRecord): BodyForm {
  return { protocol: pair.protocol, method: pair.method };
}

/** Compares pairs one after the other; not reentrant. */
export class Comparator {
  private readonly primary = new Answer();
  private readonly shadow = new Answer();
  private readonly choice = new LabelChoice();
  private readonly vectors = new ClassVectors();
  private rules: ComparisonRules = DEFAULT_RULES;
  private elements = 0;

  /** Fills `out` with what this pair shows. */
  compare(pair: PairRecord, rules: ComparisonRules, out: Comparison): void {
    this.rules = rules;
    this.elements = 0;
    out.reset();
    const primaryFailed = pair.primaryStatus !== OK;
    out.shadowFailed = pair.shadowStatus !== OK;
    out.statusDiffers = primaryFailed !== out.shadowFailed;
    if (!primaryFailed && !out.shadowFailed) out.latencyDifferenceMs = pair.shadowLatencyMs - pair.primaryLatencyMs;
    const form = formOf(pair);
    if (!primaryFailed) out.primaryFaults = this.primary.tensors.openAnswer(pair.primaryBody, form);
    if (!out.shadowFailed) out.shadowFaults = this.shadow.tensors.openAnswer(pair.shadowBody, form);
    const isReadable = !out.shadowFailed && out.shadowFaults === Fault.NONE;
    out.primaryUsable = !primaryFailed && out.primaryFaults === Fault.NONE;
    if (out.primaryUsable) this.compareOutputs(out);
    if (isReadable && rules.outputs.length > 0) {
      const fault = declaredFault(rules.outputs, this.shadow.tensors, hasElementTypes(form));
      if (fault !== NO_FAULT) out.shadowFaults |= DECLARED_FAULTS[fault]!;
    }
    this.primary.tensors.release();
    this.shadow.tensors.release();
  }

  private compareOutputs(out: Comparison): void {
    const { buffer, list } = this.primary.tensors;
    try {
      const answered = !out.shadowFailed && out.shadowFaults === Fault.NONE;
      if (answered) this.alignNumbers();
      this.choice.choose(buffer, list, this.rules.labelOutput);
      out.rule = this.choice.rule;
      out.setRows(this.rowCount());
      if (!answered) return;
      for (let i = 0; i < list.count; i++) this.compareOutput(out, i);
    } catch (error) {
      // What can fail here is a name or a tensor of the primary's that is not what it claims to be.
      out.primaryFaults |= faultOf(error);
      out.primaryUsable = false;
    }
  }

  /** Text does not say its type: where one side wrote whole numbers and the other did not, both are numbers. */
  private alignNumbers(): void {
    const { buffer, list } = this.primary.tensors;
    for (let i = 0; i < list.count; i++) {
      const tensor = list.tensors[i]!;
      const other = this.shadow.tensors.list.find(this.shadow.tensors.buffer, list.nameAt(buffer, i));
      if (other === null || other.dtype === tensor.dtype) continue;
      if (isFloat(other.dtype)) this.primary.tensors.widen(tensor);
      if (isFloat(tensor.dtype)) this.shadow.tensors.widen(other);
    }
  }

  /** The first dimension of the output that decides, or the one that all float outputs share. */
  private rowCount(): number {
    const outputs = this.primary.tensors.list;
    if (this.choice.labelIndex >= 0) {
      const label = outputs.tensors[this.choice.labelIndex]!;
      return label.rank === 0 ? 1 : label.dims[0]!;
    }
    let rows = 0;
    for (let i = 0; i < outputs.count; i++) {
      const tensor = outputs.tensors[i]!;
      if (!isFloat(tensor.dtype)) continue;
      if (tensor.rank === 0 || (rows > 0 && tensor.dims[0] !== rows)) return 1;
      rows = tensor.dims[0]!;
    }
    return rows;
  }

  private compareOutput(out: Comparison, index: number): void {
    const outputs = this.primary.tensors.list;
    const tensor = outputs.tensors[index]!;
    const decides = index === this.choice.labelIndex || (out.rule === 'tolerance' && isFloat(tensor.dtype));
    const name = outputs.nameAt(this.primary.tensors.buffer, index);
    const other = this.shadow.tensors.list.find(this.shadow.tensors.buffer, name);
    const kind = !isFloat(tensor.dtype) ? 'labels' : this.isVectors(index, tensor) ? 'class_scores' : 'numbers';
    const rows = out.beginOutput(name, kind);
    const fault = this.mismatch(tensor, other);
    if (fault !== Fault.NONE || other === null) {
      out.shadowFaults |= fault;
      if (rows !== null) rows.mismatched = true;
      if (decides) out.rowAgreement.fill(0, 0, out.rows);
      return;
    }
    if (isFloat(tensor.dtype)) this.compareFloats(out, rows, index, tensor, other);
    else this.compareLabels(out, rows, decides, tensor, other);
  }

  /** The output whose distribution is followed is one of class vectors if its shape is; other such shapes may be boxes. */
  private isVectors(index: number, tensor: TensorView): boolean {
    return index === this.choice.scoreIndex && isClassScores(tensor);
  }

  private mismatch(tensor: TensorView, other: TensorView | null): number {
    if (other === null) return Fault.MISSING_OUTPUT;
    if (other.problem !== '' && tensor.problem === '') return Fault.MALFORMED;
    if (other.dtype !== tensor.dtype) return Fault.DTYPE;
    if (other.rank !== tensor.rank) return Fault.SHAPE;
    for (let i = 0; i < tensor.rank; i++) if (other.dims[i] !== tensor.dims[i]) return Fault.SHAPE;
    this.elements += tensor.elementCount;
    if (this.elements <= MAX_ANSWER_ELEMENTS) return Fault.NONE;
    // Both answers are as large, so this is not held against the shadow: the pair is not judged.
    throw new WireError('too_large', 'PredictResponse', `more than ${MAX_ANSWER_ELEMENTS} elements`);
  }

  private compareLabels(
    out: Comparison,
    rows: OutputRows | null,
    decides: boolean,
    tensor: TensorView,
    other: TensorView,
  ): void {
    const count = tensor.elementCount;
    if (!decides && rows === null) return;
    const expected = this.primary.elements.values(this.primary.tensors.buffer, tensor, count);
    const found = this.readShadow(out, () => this.shadow.elements.values(this.shadow.tensors.buffer, other, count));
    if (found === null) {
      if (decides) out.rowAgreement.fill(0, 0, out.rows);
      return;
    }
    const width = tensor.rank === 0 ? 1 : count / tensor.dims[0]!;
    for (let row = 0; row < out.rows && (row + 1) * width <= count; row++) {
      let equal = 0;
      for (let i = row * width; i < (row + 1) * width; i++) if (expected[i] === found[i]) equal++;
      if (width === 0) continue;
      if (decides) out.rowAgreement[row] = equal / width;
      if (rows !== null && row < rows.rows) rows.distance[row] = 1 - equal / width;
    }
  }

  private compareFloats(
    out: Comparison,
    output: OutputRows | null,
    index: number,
    tensor: TensorView,
    other: TensorView,
  ): void {
    const count = tensor.elementCount;
    const expected = this.primary.elements.floats(this.primary.tensors.buffer, tensor, count);
    const found = this.readShadow(out, () => this.shadow.elements.floats(this.shadow.tensors.buffer, other, count));
    if (found === null) {
      if (index === this.choice.labelIndex || out.rule === 'tolerance') out.rowAgreement.fill(0, 0, out.rows);
      return;
    }
    if (count === 0) return;
    // Outputs without the common first dimension count for the first row.
    const aligned = tensor.rank >= 1 && Math.min(tensor.dims[0]!, MAX_ROWS) === out.rows;
    const rows = aligned ? tensor.dims[0]! : 1;
    const width = count / rows;
    for (let row = 0; row < rows; row++) {
      const slot = Math.min(row, MAX_ROWS - 1);
      const own = output !== null && row < output.rows ? output : null;
      this.compareNumbers(out, own, slot, expected, found, row * width, width);
      if (row !== slot) continue;
      if (index === this.choice.scoreIndex) {
        this.compareScores(out, own, row, tensor, expected, found, row * width, width);
      }
      if (index === this.choice.labelIndex) this.judge(out, row, tensor, expected, found, row * width, width);
    }
  }

  /** Differences and faults of `count` elements; under the tolerance rule, agreement too. */
  private compareNumbers(
    out: Comparison,
    output: OutputRows | null,
    row: number,
    expected: Floats,
    found: Floats,
    from: number,
    count: number,
  ): void {
    const { absoluteTolerance, relativeTolerance } = this.rules;
    let outside = 0;
    for (let i = from; i < from + count; i++) {
      const p = expected[i]!;
      const s = found[i]!;
      const difference = Math.abs(s - p);
      if (difference < Number.POSITIVE_INFINITY) {
        if (output !== null) addDifference(output, row, difference, Math.abs(p));
        if (difference > out.rowMaxAbs[row]!) out.rowMaxAbs[row] = difference;
        out.rowAbsSum[row]! += difference;
        out.rowAbsElements[row]!++;
        if (difference > absoluteTolerance + relativeTolerance * Math.abs(p)) outside++;
      } else {
        out.rowPrimaryFaults[row]! |= numberFault(p);
        out.rowShadowFaults[row]! |= numberFault(s);
        if (!Object.is(p, s)) outside++;
      }
    }
    if (output !== null && output.kind === 'numbers' && count > 0) output.distance[row] = outside / count;
    if (out.rule !== 'tolerance') return;
    if (outside > 0) out.rowAgreement[row] = 0;
    else if (out.rowAgreement[row]! < 0) out.rowAgreement[row] = 1;
  }

  /** Distribution figures of a row; a row of many class vectors gives their mean divergence and its first one's score. */
  private compareScores(
    out: Comparison,
    output: OutputRows | null,
    row: number,
    tensor: TensorView,
    expected: Floats,
    found: Floats,
    from: number,
    count: number,
  ): void {
    out.hasScores = true;
    out.rowPrimaryScore[row] = expected[from]!;
    out.rowShadowScore[row] = found[from]!;
    if (!isClassScores(tensor)) return;
    const classes = tensor.dims[tensor.rank - 1]!;
    let sum = 0;
    let kl = 0;
    let flips = 0;
    let vectors = 0;
    for (let at = from; at < from + count; at += classes) {
      const divergence = this.vectors.divergence(expected, found, at, classes);
      if (at === from) {
        out.rowPrimaryScore[row] = this.vectors.primaryScore;
        out.rowShadowScore[row] = this.vectors.shadowScore;
      }
      if (divergence < 0) continue;
      sum += divergence;
      kl += this.vectors.kl;
      if (topClass(expected, at, classes) !== topClass(found, at, classes)) flips++;
      vectors++;
    }
    if (vectors === 0) return;
    out.rowVectorJs[row] = sum / vectors;
    if (output === null) return;
    output.js[row] = sum / vectors;
    output.kl[row] = kl / vectors;
    output.flips[row] = flips / vectors;
    output.distance[row] = sum / vectors / Math.LN2;
  }

  /** Whether the row decided the same: a row of many class vectors agrees by their share. */
  private judge(
    out: Comparison,
    row: number,
    tensor: TensorView,
    expected: Floats,
    found: Floats,
    from: number,
    count: number,
  ): void {
    const classes = out.rule === 'top_class' ? tensor.dims[tensor.rank - 1]! : 1;
    let judged = 0;
    let equal = 0;
    for (let at = from; at < from + count; at += classes) {
      const p = out.rule === 'top_class' ? topClass(expected, at, classes) : side(expected[at]!);
      const s = out.rule === 'top_class' ? topClass(found, at, classes) : side(found[at]!);
      if (p < 0) continue;
      judged++;
      if (p === s) equal++;
    }
    if (judged > 0) out.rowAgreement[row] = equal / judged;
  }

  /** Reads the shadow's elements; null, and a fault, where they contradict their tensor. */
  private readShadow<T>(out: Comparison, read: () => T): T | null {
    try {
      return read();
    } catch (error) {
      out.shadowFaults |= faultOf(error);
      return null;
    }
  }
}

function addDifference(output: OutputRows, row: number, difference: number, size: number): void {
  output.absSum[row]! += difference;
  output.elements[row]!++;
  if (difference > output.absMax[row]!) output.absMax[row] = difference;
  if (size === 0) return;
  output.relativeSum[row]! += difference / size;
  output.relativeElements[row]!++;
}

function numberFault(value: number): number {
  if (Number.isNaN(value)) return Fault.NAN;
  return Number.isFinite(value) ? Fault.NONE : Fault.INF;
}

/** Which side of a half a single score lies on; -1 for NaN. */
function side(score: number): number {
  if (Number.isNaN(score)) return -1;
  return score >= 0.5 ? 1 : 0;
}
