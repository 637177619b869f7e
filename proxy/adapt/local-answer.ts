/**
 * Answers that come from no model: constants, and rules computed from the inputs. The language is total: a rule is a sum
 * of weighted numbers and a list of comparisons, evaluated once for each row, so its work is known before it begins and is
 * refused above `MAX_LOCAL_WORK` steps.
 *
 * All numbers are doubles. A missing input, a column beyond its row or text where a number is needed is a misfit: no
 * answer is made up from half of what a rule asks for.
 */
import { DataType, type ElementArray } from '../../proto/tensor/dtype.ts';
import { asDoubles, castElements } from '../../proto/tensor/element-cast.ts';
import { elementsOfText } from '../../proto/tensor/element-text.ts';
import type { JsonOutput } from '../../proto/tensor/json-tensor-writer.ts';
import type { TensorData } from '../../proto/tensor/tensor-writer.ts';
import type { Comparison, LocalAnswerPolicy, LocalCondition, LocalOutput } from '../config/answer-policy.ts';
import { AdaptError } from './adapt-error.ts';
import type { LocalRequest } from './local-request.ts';
import { repeatedData } from './output-mapping.ts';

/** Comparisons, products and output elements of one answer. */
export const MAX_LOCAL_WORK: number = 1024 * 1024;

const SCORE_CAST = { rounding: 'nearest', overflow: 'saturate' } as const;

/** A number for each row; null for text. */
interface Operand {
  readonly numbers: Float64Array | null;
  readonly texts: readonly string[] | null;
  readonly width: number;
  readonly offset: number;
}

interface Condition {
  readonly source: LocalCondition['operand'];
  readonly op: Comparison;
  readonly text: string;
  readonly number: number;
}

interface Case {
  readonly conditions: readonly Condition[];
  /** Output's place, and its values. */
  readonly sets: readonly { readonly output: number; readonly values: TensorData }[];
}

export class LocalAnswer {
  readonly policy: LocalAnswerPolicy;
  /** Names of the inputs that are looked at. */
  readonly wanted: ReadonlySet<string>;
  private readonly defaults: readonly TensorData[];
  private readonly widths: readonly number[];
  private readonly cases: readonly Case[];
  private readonly stepsPerRow: number;

  constructor(policy: LocalAnswerPolicy) {
    this.policy = policy;
    const { outputs, cases } = policy;
    this.defaults = outputs.map(({ dtype, values, score }) => constants(dtype, score === null ? values : ['0']));
    this.widths = outputs.map(({ shape }) => shape.reduce((product, size) => product * (size < 0 ? 1 : size), 1));
    this.cases = cases.map(({ conditions, outputs: sets }) => ({
      conditions: conditions.map(({ operand, op, value }) => ({
        source: operand,
        op,
        text: value,
        number: Number(value),
      })),
      sets: sets.map(({ name, values }) => {
        const output = outputs.findIndex((one) => one.name === name);
        return { output, values: constants(outputs[output]!.dtype, values) };
      }),
    }));
    const wanted = new Set<string>();
    for (const { score } of outputs) for (const { input } of score?.terms ?? []) wanted.add(input);
    let steps = this.widths.reduce((sum, width) => sum + width, 0) + wanted.size;
    for (const { conditions } of this.cases) {
      steps += conditions.length + 1;
      for (const { source } of conditions) if (source.kind === 'input') wanted.add(source.input);
    }
    for (const { score } of outputs) steps += score?.terms.length ?? 0;
    this.wanted = wanted;
    this.stepsPerRow = steps;
  }

  /** The outputs for a request, those it asked for. @throws AdaptError, CastError */
  compute(request: LocalRequest): JsonOutput[] {
    const { rows } = request;
    if (rows * this.stepsPerRow > MAX_LOCAL_WORK) {
      throw new AdaptError('too_large', `${rows} rows of ${this.stepsPerRow} steps`);
    }
    const { outputs } = this.policy;
    const scores = new Map<string, Float64Array>();
    const made = outputs.map((output, i) => {
      const isBatched = output.shape[0] === -1;
      const count = this.widths[i]! * (isBatched ? rows : 1);
      const dims = output.shape.map((size) => (size === -1 ? rows : size));
      const data =
        output.score === null ? repeatedData(this.defaults[i]!, count) : this.score(output, i, request, scores);
      return { name: output.name, dtype: output.dtype, dims, data, from: 0, count };
    });
    this.applyCases(request, made, scores);
    const { asked } = request;
    const wanted = asked.length === 0 ? made : made.filter(({ name }) => asked.includes(name));
    if (wanted.length === 0) throw new AdaptError('misfit', 'none of the outputs asked for');
    return wanted;
  }

  /** A score for each row, as all elements of the row. */
  private score(
    output: LocalOutput,
    index: number,
    request: LocalRequest,
    scores: Map<string, Float64Array>,
  ): TensorData {
    const { bias, terms, sigmoid, min, max } = output.score!;
    const sums = new Float64Array(request.rows).fill(bias);
    for (const { input, column, weight } of terms) {
      const { numbers, width, offset } = operandOf(request, input, column);
      if (numbers === null) throw new AdaptError('misfit', `${input} holds text`);
      for (let row = 0; row < sums.length; row++) sums[row]! += weight * numbers[row * width + offset]!;
    }
    for (let row = 0; row < sums.length; row++) {
      const sum = sigmoid ? 1 / (1 + Math.exp(-sums[row]!)) : sums[row]!;
      sums[row] = Math.min(max, Math.max(min, sum));
    }
    scores.set(output.name, sums);
    const width = this.widths[index]!;
    const wide = new Float64Array(sums.length * width);
    for (let i = 0; i < wide.length; i++) wide[i] = sums[Math.floor(i / width)]!;
    return castElements(wide, wide.length, DataType.DOUBLE, output.dtype, SCORE_CAST);
  }

  private applyCases(
    request: LocalRequest,
    made: readonly JsonOutput[],
    scores: ReadonlyMap<string, Float64Array>,
  ): void {
    const tests = this.cases.map(({ conditions }) => conditions.map((one) => tester(one, request, scores)));
    for (let row = 0; row < request.rows && tests.length > 0; row++) {
      const hit = tests.findIndex((conditions) => conditions.every((holds) => holds(row)));
      if (hit < 0) continue;
      for (const { output, values } of this.cases[hit]!.sets) {
        put(made[output]!.data, row * this.widths[output]!, this.widths[output]!, values);
      }
    }
  }
}

function constants(dtype: number, texts: readonly string[]): TensorData {
  const values = elementsOfText(dtype, texts);
  if (values === null) throw new AdaptError('misfit', 'a constant does not fit its type');
  return values;
}

function put(data: TensorData, from: number, width: number, values: TensorData): void {
  const target = data as ElementArray | string[];
  for (let i = 0; i < width; i++) target[from + i] = values[i % values.length] as never;
}

function operandOf(request: LocalRequest, input: string, column: number): Operand {
  const { rows } = request;
  // A request may leave out the name of its only tensor.
  const only = request.inputs.length === 1 && request.inputs[0]!.name === '' ? request.inputs[0] : undefined;
  const tensor = request.inputs.find(({ name }) => name === input) ?? only;
  if (tensor === undefined) throw new AdaptError('misfit', `the request has no input ${input}`);
  const { dims, count, dtype, data } = tensor;
  const isShared = dims.length === 0;
  if (!isShared && dims[0] !== rows) throw new AdaptError('misfit', `${input} has ${dims[0]} rows of ${rows}`);
  const width = isShared || rows === 0 ? 1 : count / rows;
  if (column >= width) throw new AdaptError('misfit', `${input} has no column ${column}`);
  const shape = { width: isShared ? 0 : width, offset: column };
  if (dtype === DataType.STRING) return { numbers: null, texts: data as readonly string[], ...shape };
  return { numbers: asDoubles(data as ElementArray, count, dtype), texts: null, ...shape };
}

function tester(
  { source, op, text, number }: Condition,
  request: LocalRequest,
  scores: ReadonlyMap<string, Float64Array>,
): (row: number) => boolean {
  if (source.kind === 'score') {
    const values = scores.get(source.output)!;
    return (row) => compares(values[row]!, op, number);
  }
  const { numbers, texts, width, offset } = operandOf(request, source.input, source.column);
  if (numbers !== null) {
    if (Number.isNaN(number)) throw new AdaptError('misfit', `${source.input} holds numbers, not ${text}`);
    return (row) => compares(numbers[row * width + offset]!, op, number);
  }
  if (op !== '=' && op !== '!=') throw new AdaptError('misfit', `${source.input} holds text`);
  return (row) => (texts![row * width + offset] === text) === (op === '=');
}

/** As doubles compare: nothing but `!=` holds of a NaN. */
function compares(a: number, op: Comparison, b: number): boolean {
  switch (op) {
    case '<':
      return a < b;
    case '<=':
      return a <= b;
    case '>':
      return a > b;
    case '>=':
      return a >= b;
    case '=':
      return a === b;
    default:
      return a !== b;
  }
}
