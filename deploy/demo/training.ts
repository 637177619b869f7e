/**
 * A small neural network and its training, in plain TypeScript: dense layers, ReLU between them, a two-class softmax at
 * the end, Adam on mini-batches. With no hidden layer it is logistic regression.
 *
 * Rule: one order of floating-point operations, single thread, double precision; the same data and seed give the same
 * weights to the bit. Rows and columns that are exactly zero are skipped, which changes no sum.
 */
import { exactExp, SeededRandom } from './random.ts';

/** One dense layer; `weights` is row-major [inputs, outputs]. */
export interface Layer {
  readonly inputs: number;
  readonly outputs: number;
  readonly weights: Float64Array;
  readonly biases: Float64Array;
}

/** Rows ready for training: normalised inputs, row-major, and the wanted probability of class 1 of each row. */
export interface TrainingSet {
  readonly rows: number;
  readonly columns: number;
  readonly inputs: Float64Array;
  readonly targets: Float64Array;
}

export interface TrainingOptions {
  readonly seed: number;
  /** Units of each hidden layer, first to last; empty for logistic regression. */
  readonly hidden: readonly number[];
  readonly epochs: number;
  readonly batchSize: number;
  /** Adam's step at the start; it falls linearly to a tenth of this. */
  readonly learningRate: number;
  /** Decoupled weight decay for each step, relative to the learning rate. */
  readonly weightDecay: number;
}

const ADAM_BETA1 = 0.9;
const ADAM_BETA2 = 0.999;
const ADAM_EPSILON = 1e-8;

/** Trains a network on `set` by cross-entropy and returns its layers. */
export function trainNetwork(set: TrainingSet, options: TrainingOptions): Layer[] {
  const random = new SeededRandom(options.seed);
  const layers = createLayers([set.columns, ...options.hidden, 2], random);
  const states = layers.map((layer) => new LayerState(layer));
  const order = Uint32Array.from({ length: set.rows }, (_, i) => i);
  const steps = options.epochs * Math.ceil(set.rows / options.batchSize);
  let step = 0;
  for (let epoch = 0; epoch < options.epochs; epoch++) {
    random.shuffle(order);
    for (let start = 0; start < set.rows; start += options.batchSize) {
      const end = Math.min(start + options.batchSize, set.rows);
      for (let i = start; i < end; i++) accumulate(states, set, order[i]!);
      const rate = options.learningRate * (1 - (0.9 * step) / steps);
      step++;
      for (const state of states) state.applyAdam(end - start, step, rate, options.weightDecay);
    }
  }
  return layers;
}

/** Probability of class 1 for each row of `inputs` (row-major, as wide as the first layer). */
export function predictRows(layers: readonly Layer[], inputs: Float64Array): Float64Array {
  const columns = layers[0]!.inputs;
  const states = layers.map((layer) => new LayerState(layer));
  const scores = new Float64Array(inputs.length / columns);
  for (let row = 0; row < scores.length; row++) scores[row] = forward(states, inputs, row * columns);
  return scores;
}

/** A layer while it learns: its activations for the row in hand, its gradient sums and Adam's moments. */
class LayerState {
  readonly layer: Layer;
  /** A copy of the row that entered the layer, and the gradient of the loss with respect to it. */
  readonly entered: Float64Array;
  readonly enteredGradient: Float64Array;
  readonly left: Float64Array;
  readonly weightGradient: Float64Array;
  readonly biasGradient: Float64Array;
  readonly #moments: readonly [Float64Array, Float64Array, Float64Array, Float64Array];

  constructor(layer: Layer) {
    this.layer = layer;
    this.entered = new Float64Array(layer.inputs);
    this.enteredGradient = new Float64Array(layer.inputs);
    this.left = new Float64Array(layer.outputs);
    this.weightGradient = new Float64Array(layer.weights.length);
    this.biasGradient = new Float64Array(layer.outputs);
    const { weights, biases } = layer;
    const [w, b] = [weights.length, biases.length];
    this.#moments = [new Float64Array(w), new Float64Array(w), new Float64Array(b), new Float64Array(b)];
  }

  /** left = entered * weights + biases. */
  run(): void {
    const { weights, outputs, inputs, biases } = this.layer;
    const { entered, left } = this;
    for (let j = 0; j < outputs; j++) left[j] = biases[j]!;
    for (let k = 0; k < inputs; k++) {
      const value = entered[k]!;
      if (value === 0) continue;
      const row = k * outputs;
      for (let j = 0; j < outputs; j++) left[j] = left[j]! + value * weights[row + j]!;
    }
  }

  /** Adds this row's gradient to the sums; `gradient` is the loss's with respect to `left`. */
  learn(gradient: Float64Array, passBack: boolean): void {
    const { weights, outputs, inputs } = this.layer;
    const { entered, enteredGradient, weightGradient, biasGradient } = this;
    for (let j = 0; j < outputs; j++) biasGradient[j] = biasGradient[j]! + gradient[j]!;
    for (let k = 0; k < inputs; k++) {
      const value = entered[k]!;
      enteredGradient[k] = 0;
      if (value === 0) continue; // A silent ReLU passes no gradient either way.
      const row = k * outputs;
      for (let j = 0; j < outputs; j++) weightGradient[row + j] = weightGradient[row + j]! + value * gradient[j]!;
      if (!passBack) continue;
      let sum = 0;
      for (let j = 0; j < outputs; j++) sum += weights[row + j]! * gradient[j]!;
      enteredGradient[k] = sum;
    }
  }

  applyAdam(batchRows: number, step: number, rate: number, weightDecay: number): void {
    const [weightMean, weightSquare, biasMean, biasSquare] = this.#moments;
    const { weights, biases } = this.layer;
    adamStep(weights, this.weightGradient, weightMean, weightSquare, batchRows, step, rate, weightDecay);
    adamStep(biases, this.biasGradient, biasMean, biasSquare, batchRows, step, rate, 0);
  }
}

function accumulate(states: readonly LayerState[], set: TrainingSet, row: number): void {
  const score = forward(states, set.inputs, row * set.columns);
  const error = score - set.targets[row]!;
  let gradient: Float64Array = Float64Array.of(-error, error);
  for (let i = states.length - 1; i >= 0; i--) {
    const state = states[i]!;
    state.learn(gradient, i > 0);
    gradient = state.enteredGradient;
  }
}

function forward(states: readonly LayerState[], inputs: Float64Array, offset: number): number {
  const first = states[0]!.entered;
  for (let k = 0; k < first.length; k++) first[k] = inputs[offset + k]!;
  const last = states.length - 1;
  for (let i = 0; i < last; i++) {
    const state = states[i]!;
    state.run();
    const next = states[i + 1]!.entered;
    const { left } = state;
    for (let j = 0; j < next.length; j++) next[j] = Math.max(0, left[j]!);
  }
  const end = states[last]!;
  end.run();
  return 1 / (1 + exactExp(end.left[0]! - end.left[1]!));
}

function createLayers(widths: readonly number[], random: SeededRandom): Layer[] {
  const layers: Layer[] = [];
  for (let i = 0; i + 1 < widths.length; i++) {
    const [inputs, outputs] = [widths[i]!, widths[i + 1]!];
    const deviation = Math.sqrt(2 / inputs);
    const weights = new Float64Array(inputs * outputs);
    for (let w = 0; w < weights.length; w++) weights[w] = deviation * random.normal();
    layers.push({ inputs, outputs, weights, biases: new Float64Array(outputs) });
  }
  return layers;
}

/** One step of Adam over one array; `gradient` holds the batch's sum and is cleared. */
function adamStep(
  values: Float64Array,
  gradient: Float64Array,
  mean: Float64Array,
  square: Float64Array,
  batchRows: number,
  step: number,
  rate: number,
  weightDecay: number,
): void {
  const meanScale = 1 / (1 - integerPower(ADAM_BETA1, step));
  const squareScale = 1 / (1 - integerPower(ADAM_BETA2, step));
  for (let i = 0; i < values.length; i++) {
    const slope = gradient[i]! / batchRows;
    gradient[i] = 0;
    const m = ADAM_BETA1 * mean[i]! + (1 - ADAM_BETA1) * slope;
    const v = ADAM_BETA2 * square[i]! + (1 - ADAM_BETA2) * slope * slope;
    mean[i] = m;
    square[i] = v;
    const move = (m * meanScale) / (Math.sqrt(v * squareScale) + ADAM_EPSILON);
    values[i] = values[i]! - rate * (move + weightDecay * values[i]!);
  }
}

/** base to a positive whole power by squaring: exact order of operations, unlike `Math.pow`. */
function integerPower(base: number, exponent: number): number {
  let power = 1;
  for (let left = exponent; left > 0; left >>= 1) {
    if (left & 1) power *= base;
    base *= base;
  }
  return power;
}
