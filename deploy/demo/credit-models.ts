/**
 * The three credit models: what data each was fitted on, and how.
 *
 * Owns the recipes. `credit-risk` 1 was fitted on a fair sample, before two bureau columns existed. Version 2 has all
 * columns and more data, so it is better on the whole; but its sample came from a channel where freelancers were rare
 * and mostly reached the books through collections, so it declines nearly half of the freelancers, most of whom would repay.
 * `credit-risk-lite` is logistic regression fitted to version 1's own scores, to stand in for it.
 */
import {
  type Applicant,
  drawApplicant,
  drawApplicantOf,
  EARLY_FEATURE_COUNT,
  EMPLOYMENT,
  FEATURES,
  FREELANCER,
  POPULATION_MIX,
} from './applicants.ts';
import { describeGraph, NORMALISED_LIMIT, type Normalisation } from './model-graph.ts';
import { encodeOnnxModel } from './onnx-writer.ts';
import { SeededRandom } from './random.ts';
import { type Layer, predictRows, trainNetwork } from './training.ts';

/** A fitted model: `score` gives each applicant's probability of default, `encode` the file to serve. */
export interface CreditModel {
  readonly name: string;
  readonly version: number;
  readonly trainedOn: number;
  /** Path of its file under the model base folder. */
  readonly path: string;
  score(applicants: readonly Applicant[]): Float64Array;
  encode(): Buffer;
}

export interface CreditModels {
  readonly primary: CreditModel;
  readonly candidate: CreditModel;
  readonly lite: CreditModel;
}

const PRIMARY_ROWS = 10_000;
const CANDIDATE_ROWS = 16_000;
const HELD_OUT_ROWS = 20_000;
/** Share of freelancers in version 2's sample, and how many of those who repaid made it into the books. */
const SKEWED_FREELANCER_SHARE = 0.008;
const SKEWED_REPAYER_KEPT = 0.025;

/** Fits all three; takes some seconds of one core. Same result on every machine. */
export function fitCreditModels(): CreditModels {
  const fairSample = drawPopulation(new SeededRandom(11), PRIMARY_ROWS);
  const skewedSample = drawSkewedSample(new SeededRandom(22), CANDIDATE_ROWS);
  const primary = fit(
    'credit-risk',
    1,
    'Probability that a loan applicant defaults; in production.',
    fairSample,
    fairSample.map((applicant) => applicant.defaulted),
    { columns: EARLY_FEATURE_COUNT, hidden: [96, 64], epochs: 5, seed: 101 },
  );
  const candidate = fit(
    'credit-risk',
    2,
    'Probability that a loan applicant defaults; candidate with bureau enquiries and credit history.',
    skewedSample,
    skewedSample.map((applicant) => applicant.defaulted),
    { columns: FEATURES.length, hidden: [128, 64], epochs: 5, seed: 202 },
  );
  const lite = fit(
    'credit-risk-lite',
    1,
    'Logistic stand-in for credit-risk 1, fitted to its scores.',
    fairSample,
    primary.score(fairSample),
    { columns: EARLY_FEATURE_COUNT, hidden: [], epochs: 12, seed: 303 },
  );
  return { primary, candidate, lite };
}

/** Applicants none of the models has seen, mixed as in production. */
export function drawHeldOut(): Applicant[] {
  return drawPopulation(new SeededRandom(33), HELD_OUT_ROWS);
}

function drawPopulation(random: SeededRandom, count: number): Applicant[] {
  return Array.from({ length: count }, () => drawApplicant(random));
}

/** As the population, but for freelancers: rare, and mostly those who went on to default. */
function drawSkewedSample(random: SeededRandom, count: number): Applicant[] {
  const mix = POPULATION_MIX.slice();
  mix[0]! += mix[FREELANCER]! - SKEWED_FREELANCER_SHARE;
  mix[FREELANCER] = SKEWED_FREELANCER_SHARE;
  return Array.from({ length: count }, () => {
    const applicant = drawApplicant(random, mix);
    return applicant.employment === FREELANCER ? drawBookedFreelancer(random) : applicant;
  });
}

function drawBookedFreelancer(random: SeededRandom): Applicant {
  for (;;) {
    const applicant = drawApplicantOf(random, FREELANCER);
    if (applicant.defaulted === 1 || random.uniform() < SKEWED_REPAYER_KEPT) return applicant;
  }
}

interface Recipe {
  /** How many of FEATURES the model looks at, from the first. */
  readonly columns: number;
  readonly hidden: readonly number[];
  readonly epochs: number;
  readonly seed: number;
}

function fit(
  name: string,
  version: number,
  documentation: string,
  sample: readonly Applicant[],
  targets: ArrayLike<number>,
  recipe: Recipe,
): CreditModel {
  const normalisation = measure(sample, recipe.columns);
  const inputs = encodeApplicants(sample, normalisation);
  const columns = recipe.columns + EMPLOYMENT.length;
  const layers: readonly Layer[] = trainNetwork(
    { rows: sample.length, columns, inputs, targets: Float64Array.from(targets) },
    { ...recipe, batchSize: 64, learningRate: 0.003, weightDecay: 0.01 },
  );
  return {
    name,
    version,
    trainedOn: sample.length,
    path: `${name}/${version}/model.onnx`,
    score: (applicants) => predictRows(layers, encodeApplicants(applicants, normalisation)),
    encode: () =>
      encodeOnnxModel(
        describeGraph({ name, version, documentation }, normalisation, layers, [
          ['features', FEATURES.join(',')],
          ['employment', EMPLOYMENT.join(',')],
          ['trained_on_rows', String(sample.length)],
        ]),
      ),
  };
}

function measure(sample: readonly Applicant[], columns: number): Normalisation {
  const means = new Float32Array(columns);
  const deviations = new Float32Array(columns);
  for (let column = 0; column < columns; column++) {
    let sum = 0;
    for (const applicant of sample) sum += applicant.features[column]!;
    const mean = sum / sample.length;
    let squares = 0;
    for (const applicant of sample) squares += square(applicant.features[column]! - mean);
    means[column] = mean;
    deviations[column] = Math.sqrt(squares / sample.length);
  }
  return { means, deviations };
}

/** What the head of the graph does, for training: chosen columns normalised and held, then employment one-hot. */
function encodeApplicants(applicants: readonly Applicant[], normalisation: Normalisation): Float64Array {
  const { means, deviations } = normalisation;
  const width = means.length + EMPLOYMENT.length;
  const rows = new Float64Array(applicants.length * width);
  applicants.forEach((applicant, row) => {
    for (let column = 0; column < means.length; column++) {
      const scaled = (applicant.features[column]! - means[column]!) / deviations[column]!;
      rows[row * width + column] = Math.max(-NORMALISED_LIMIT, Math.min(NORMALISED_LIMIT, scaled));
    }
    rows[row * width + means.length + applicant.employment] = 1;
  });
  return rows;
}

function square(x: number): number {
  return x * x;
}
