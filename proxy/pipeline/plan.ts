/** A pipeline made ready to run: who waits for whom, and everything that is the same for each of its requests. */
import { modelSpecField, tensorKey } from '../../proto/tensor/tensor-writer.ts';
import type { PipelineSnapshot, PipelineStepSnapshot, PipelineTensor } from '../config/pipeline-snapshot.ts';
import { DefaultOutputs } from './default-outputs.ts';

/** The one signature a pipeline has. */
export const SIGNATURE_NAME = 'serving_default';

/** Where a tensor is while a request runs: `step` -1 is the request; `index` counts its inputs or the step's outputs. */
export interface TensorPlace {
  readonly step: number;
  readonly index: number;
}

export class StepPlan {
  readonly config: PipelineStepSnapshot;
  readonly index: number;
  /** The `model_spec` field and the key fields of the inputs of its requests. */
  readonly specField: Buffer;
  readonly inputKeys: readonly Buffer[];
  readonly inputs: readonly TensorPlace[];
  /** Steps it waits for, and steps that wait for it, each once. */
  readonly waitsFor: readonly number[];
  readonly dependents: readonly number[];
  /** Bit n: step n must run for this one to have run, itself included. */
  readonly needs: number;
  /** Null where the pipeline fails with the step. */
  readonly defaults: DefaultOutputs | null;

  constructor(config: PipelineStepSnapshot, index: number, inputs: readonly TensorPlace[], steps: readonly StepPlan[]) {
    this.config = config;
    this.index = index;
    this.specField = modelSpecField(1, config.model, null, '');
    this.inputKeys = config.inputs.map(({ name }) => tensorKey(name));
    this.inputs = inputs;
    this.waitsFor = [...new Set(inputs.map(({ step }) => step).filter((step) => step >= 0))];
    this.dependents = [];
    this.needs = this.waitsFor.reduce((bits, step) => bits | steps[step]!.needs, 1 << index);
    this.defaults = config.defaults === null ? null : new DefaultOutputs(config.outputs, config.defaults);
  }
}

export class PipelinePlan {
  readonly config: PipelineSnapshot;
  /** Each after those it waits for. */
  readonly steps: readonly StepPlan[];
  readonly inputs: readonly PipelineTensor[];
  readonly outputs: readonly PipelineTensor[];
  readonly outputPlaces: readonly TensorPlace[];
  /** Every position in `outputs`: what a request gets that names none. */
  readonly allOutputs: readonly number[];
  /** Constant bytes of Predict's answers. */
  readonly answerSpecField: Buffer;
  readonly outputKeys: readonly Buffer[];

  constructor(config: PipelineSnapshot) {
    this.config = config;
    this.inputs = config.inputs;
    this.outputs = config.outputs;
    const placeOf = ({ step, name }: { readonly step: number; readonly name: string }): TensorPlace => {
      const names = step < 0 ? config.inputs.map((input) => input.name) : config.steps[step]!.outputs;
      return { step, index: names.indexOf(name) };
    };
    const steps: StepPlan[] = [];
    for (const [i, step] of config.steps.entries()) {
      const inputs = step.inputs.map(({ from }) => placeOf(from));
      const plan = new StepPlan(step, i, inputs, steps);
      for (const earlier of plan.waitsFor) (steps[earlier]!.dependents as number[]).push(i);
      steps.push(plan);
    }
    this.steps = steps;
    this.outputPlaces = config.outputs.map(({ from }) => placeOf(from));
    this.allOutputs = config.outputs.map((_, i) => i);
    this.answerSpecField = modelSpecField(2, config.name, BigInt(config.version), SIGNATURE_NAME);
    this.outputKeys = config.outputs.map(({ name }) => tensorKey(name));
  }

  /** Bits of the steps that must run for these outputs. */
  neededFor(outputs: readonly number[]): number {
    let needed = 0;
    for (const output of outputs) {
      const { step } = this.outputPlaces[output]!;
      if (step >= 0) needed |= this.steps[step]!.needs;
    }
    return needed;
  }
}
