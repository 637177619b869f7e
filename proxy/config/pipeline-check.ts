/**
 * Checks the document's pipelines: every name is known, no step waits for itself, every step is used, and what stands in
 * for a step's outputs can be made. Steps leave here in an order in which each comes after those it waits for.
 */
import { dtypeFromOip, dtypeToOip } from '../../proto/tensor/dtype.ts';
import type { Allocate } from './allocation.ts';
import { constantElements, zeroText } from './constant-elements.ts';
import type { ConfigDocument } from './document-fields.ts';
import { nearestHint } from './nearest-name.ts';
import { longestWays, stepOrder } from './pipeline-order.ts';
import type { DefaultOutput, PipelineSnapshot, PipelineStepSnapshot, TensorSource } from './pipeline-snapshot.ts';
import type { ProblemList } from './problem.ts';

type PipelineDocument = ConfigDocument['pipelines'][number];
type StepDocument = PipelineDocument['steps'][number];
type DefaultDocument = NonNullable<StepDocument['default']>[number];

export type PipelineDraft = Omit<PipelineSnapshot, 'statsBase' | 'steps'> & {
  readonly steps: readonly Omit<PipelineStepSnapshot, 'statsBase'>[];
};

/** What a step's source calls the pipeline's own inputs. */
export const REQUEST = 'request';
/** Most of the remaining deadline for a step with default outputs: they are of use only while the caller still waits. */
const BUDGET_BEFORE_DEFAULT = 0.8;
/** Elements of one row of a default output. */
const MAX_ROW_ELEMENTS = 1_048_576;

/** What is known of the configured models. */
export interface KnownModel {
  readonly name: string;
  readonly hasFallback: boolean;
  /** What it declares of its outputs. */
  readonly outputs: readonly { readonly name: string; readonly dtype: string | null }[];
}

/** Checks every pipeline. Mistakes go to `problems`; the drafts must not be used then. */
export function checkPipelines(
  document: ConfigDocument,
  models: readonly KnownModel[],
  problems: ProblemList,
): readonly PipelineDraft[] {
  const taken = new Map(models.map(({ name }) => [name, 'a configured model has it']));
  return document.pipelines.map((pipeline, i) => {
    const path = `pipelines[${i}]`;
    const clash = taken.get(pipeline.name);
    if (clash !== undefined && pipeline.name !== '') {
      problems.add(`${path}.name`, pipeline.name, 'a name no model and no other pipeline has', clash);
    }
    taken.set(pipeline.name, `${path} has it`);
    return new PipelineCheck(pipeline, path, models, problems).draft();
  });
}

/** Gives each pipeline and step its place in the statistics. */
export function placePipelines(drafts: readonly PipelineDraft[], allocate: Allocate): PipelineSnapshot[] {
  return drafts.map((draft) => ({
    ...draft,
    steps: draft.steps.map((step) => ({
      ...step,
      statsBase: allocate('step', `${draft.name}/${step.name}`, [draft.name, step.name]),
    })),
    statsBase: allocate('pipeline', draft.name, [draft.name]),
  }));
}

class PipelineCheck {
  private readonly pipeline: PipelineDocument;
  private readonly path: string;
  private readonly models: readonly KnownModel[];
  private readonly problems: ProblemList;

  constructor(pipeline: PipelineDocument, path: string, models: readonly KnownModel[], problems: ProblemList) {
    this.pipeline = pipeline;
    this.path = path;
    this.models = models;
    this.problems = problems;
  }

  draft(): PipelineDraft {
    const { pipeline, path } = this;
    for (const key of ['inputs', 'steps', 'outputs'] as const) {
      if (pipeline[key].length === 0 && !this.problems.covers(`${path}.${key}`)) {
        this.problems.add(`${path}.${key}`, undefined, 'at least one item');
      }
    }
    this.checkUnique(pipeline.inputs, 'inputs', 'an input name of its own');
    this.checkUnique(pipeline.outputs, 'outputs', 'an output name of its own');
    this.checkUnique(pipeline.steps, 'steps', 'a step name of its own');
    const steps = pipeline.steps.map((step, i) => this.checkStep(step, `${path}.steps[${i}]`));
    const outputs = pipeline.outputs.map(({ name, from, dtype, shape }, i) => ({
      name,
      dtype: dtypeFromOip(dtype),
      shape,
      from: this.source(from, `${path}.outputs[${i}].from`),
    }));
    for (const [i, { dtype, from }] of outputs.entries()) this.checkType(dtype, from, `${path}.outputs[${i}].dtype`);
    const order = this.checkOrder(steps, outputs);
    return {
      name: pipeline.name,
      version: pipeline.version,
      timeoutMs: pipeline.timeout,
      inputs: pipeline.inputs.map(({ name, dtype, shape }) => ({ name, dtype: dtypeFromOip(dtype), shape })),
      steps: order.map((i) => ({ ...steps[i]!, ...moved(steps[i]!, order) })),
      outputs: outputs.map((output) => ({ ...output, from: movedSource(output.from, order) })),
      maxConcurrent: pipeline.concurrentRequests,
      maxBytes: pipeline.maxSize,
    };
  }

  /** Whether a tensor may be of this type, as far as it is known what it is made of. */
  private checkType(dtype: number, { step, name }: TensorSource, path: string): void {
    const { inputs, steps } = this.pipeline;
    const from = (what: string, tensors: readonly { readonly name: string; readonly dtype: string | null }[]): void => {
      const source = tensors.find((tensor) => tensor.name === name)?.dtype ?? null;
      if (source === null || dtypeFromOip(source) === dtype || this.problems.covers(path)) return;
      this.problems.add(path, dtypeToOip(dtype), `${source}, as ${what}`);
    };
    if (step < 0) {
      from('the input', inputs);
      return;
    }
    const { model, default: defaults } = steps[step]!;
    from(`the default of step ${steps[step]!.name}`, defaults ?? []);
    from(`model ${model} declares`, this.models.find((known) => known.name === model)?.outputs ?? []);
  }

  private checkUnique(items: readonly { readonly name: string }[], key: string, expectation: string): void {
    const names = new Set<string>();
    for (const [i, { name }] of items.entries()) {
      const path = `${this.path}.${key}[${i}].name`;
      if (names.has(name) && name !== '') this.problems.add(path, name, expectation);
      if (name.length > 128) this.problems.add(path, name, 'a name of at most 128 characters');
      names.add(name);
    }
  }

  private checkStep(step: StepDocument, path: string): Omit<PipelineStepSnapshot, 'statsBase'> {
    const { problems } = this;
    if (step.name === REQUEST || step.name.includes('.')) {
      problems.add(`${path}.name`, step.name, `a name without a dot, other than ${REQUEST}`);
    }
    const known = this.models.some(({ name }) => name === step.model);
    if (!known && step.model !== '') {
      const hint = nearestHint(
        step.model,
        this.models.map(({ name }) => name),
      );
      problems.add(`${path}.model`, step.model, 'the name of a configured model', hint);
    }
    if (Object.keys(step.inputs).length === 0 && !problems.covers(`${path}.inputs`)) {
      problems.add(`${path}.inputs`, undefined, 'at least one input');
    }
    if (step.outputs.length === 0 && !problems.covers(`${path}.outputs`)) {
      problems.add(`${path}.outputs`, undefined, 'at least one output');
    }
    if (new Set(step.outputs).size < step.outputs.length) {
      problems.add(`${path}.outputs`, step.outputs.join(', '), 'each output once');
    }
    return {
      name: step.name,
      model: step.model,
      protocol: step.protocol,
      inputs: Object.entries(step.inputs).map(([name, from]) => ({
        name,
        from: this.source(from, `${path}.inputs.${name}`),
      })),
      outputs: step.outputs,
      budgetFraction: (step.budget ?? 10_000) / 10_000,
      defaults: this.checkDefaults(step, path),
    };
  }

  /** `request.INPUT` or `STEP.OUTPUT`, by the document's order of steps. */
  private source(text: string, path: string): TensorSource {
    const dot = text.indexOf('.');
    const owner = dot < 0 ? '' : text.slice(0, dot);
    const name = text.slice(dot + 1);
    const { inputs, steps } = this.pipeline;
    const nowhere = { step: -1, name };
    if (text === '') return nowhere;
    if (owner === '' || name === '') {
      this.problems.add(path, text, `${REQUEST}.INPUT or STEP.OUTPUT`);
      return nowhere;
    }
    const step = owner === REQUEST ? -1 : steps.findIndex((candidate) => candidate.name === owner);
    if (owner !== REQUEST && step < 0) {
      const hint = nearestHint(owner, [REQUEST, ...steps.map((candidate) => candidate.name)]);
      this.problems.add(path, text, 'a step of this pipeline, or request', hint);
      return nowhere;
    }
    const names = step < 0 ? inputs.map((input) => input.name) : steps[step]!.outputs;
    if (!names.includes(name)) {
      const expectation = step < 0 ? "one of the pipeline's inputs" : `one of the outputs listed for step ${owner}`;
      this.problems.add(path, text, expectation, nearestHint(name, names));
    }
    return { step, name };
  }

  private checkDefaults(step: StepDocument, path: string): readonly DefaultOutput[] | null {
    if (step.default === null) return null;
    const { problems } = this;
    const given = new Set<string>();
    const defaults = step.default.map((output, i) => {
      const at = `${path}.default[${i}]`;
      const checked = this.checkDefault(output, at);
      if (!step.outputs.includes(output.name) && output.name !== '') {
        const hint = nearestHint(output.name, step.outputs);
        problems.add(`${at}.name`, output.name, "one of the step's outputs", hint);
      }
      if (given.has(output.name)) problems.add(`${at}.name`, output.name, 'each output once');
      given.add(output.name);
      return checked;
    });
    const missing = step.outputs.filter((name) => !given.has(name));
    if (missing.length > 0 && !problems.covers(`${path}.default`)) {
      problems.add(`${path}.default`, undefined, `a default for every output, ${missing.join(', ')} too`);
    }
    return defaults;
  }

  private checkDefault(output: DefaultDocument, at: string): DefaultOutput {
    const { problems } = this;
    const { name, shape, values } = output;
    const dtype = dtypeFromOip(output.dtype);
    const result = { name, dtype, shape, values: values.length === 0 ? [zeroText(dtype)] : values };
    if (problems.covers(at)) return result;
    if (shape.slice(1).includes(-1)) problems.add(`${at}.shape`, shape.join(','), '-1 in the first place only');
    const row = shape.reduce((count, dim) => count * Math.max(1, dim), 1);
    if (row > MAX_ROW_ELEMENTS) {
      problems.add(`${at}.shape`, shape.join(','), `at most ${MAX_ROW_ELEMENTS} elements, for a batch of one`);
    }
    if (values.length > 1 && values.length !== row) {
      problems.add(`${at}.values`, String(values.length), `one element, or the ${row} of a row`);
    }
    if (constantElements(dtype, result.values) === null) {
      problems.add(`${at}.values`, values.join(','), `elements of the type ${output.dtype}`);
    }
    return result;
  }

  /** The order to run in; reports circles and steps that nobody needs. Fills in budgets that are not written. */
  private checkOrder(
    steps: Omit<PipelineStepSnapshot, 'statsBase'>[],
    outputs: readonly { readonly from: TensorSource }[],
  ): readonly number[] {
    const waitsFor = steps.map(({ inputs }) => [
      ...new Set(inputs.map(({ from }) => from.step).filter((step) => step >= 0)),
    ]);
    const { order, circle } = stepOrder(waitsFor);
    if (circle.length > 0) {
      const names = [...circle, circle[0]!].map((i) => steps[i]!.name).join(' -> ');
      this.problems.add(`${this.path}.steps[${circle[0]}].inputs`, names, 'steps that do not wait for each other');
      return steps.map((_, i) => i);
    }
    const needed = new Set(outputs.map(({ from }) => from.step));
    for (const i of [...order].reverse()) if (needed.has(i)) for (const earlier of waitsFor[i]!) needed.add(earlier);
    for (const [i, step] of steps.entries()) {
      if (needed.has(i) || this.problems.covers(this.path)) continue;
      const expectation = 'a step whose outputs another step or the answer uses';
      this.problems.add(`${this.path}.steps[${i}]`, step.name, expectation);
    }
    const ways = longestWays(waitsFor, order);
    for (const [i, step] of steps.entries()) {
      const replaceable =
        step.defaults !== null || this.models.some(({ name, hasFallback }) => name === step.model && hasFallback);
      if (this.pipeline.steps[i]!.budget === null && replaceable) {
        const most = step.defaults === null ? 1 : BUDGET_BEFORE_DEFAULT;
        steps[i] = { ...step, budgetFraction: Math.min(most, 1 / ways[i]!) };
      }
    }
    return order;
  }
}

function moved({ inputs }: Pick<PipelineStepSnapshot, 'inputs'>, order: readonly number[]) {
  return { inputs: inputs.map(({ name, from }) => ({ name, from: movedSource(from, order) })) };
}

function movedSource(from: TensorSource, order: readonly number[]): TensorSource {
  return from.step < 0 ? from : { ...from, step: order.indexOf(from.step) };
}
