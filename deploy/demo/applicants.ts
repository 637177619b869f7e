/**
 * The synthetic world of the demo: loan applicants, what a lender sees of them, and how likely each is to default.
 *
 * Owns the order of the feature columns and of the employment cohorts; models, client and tests take both from here.
 * The truth is nonlinear on purpose (thresholds, saturation, interactions with the kind of work), so that a small
 * network beats a linear model and a model that lacks columns falls measurably behind. No real person is in it.
 */
import { exactExp, logistic, type SeededRandom } from './random.ts';

/** Kinds of employment; the index is the value of the `employment` input, the text is the cohort's name. */
export const EMPLOYMENT = ['salaried', 'self-employed', 'freelancer', 'retired', 'student'] as const;
export type Employment = (typeof EMPLOYMENT)[number];

export const SALARIED = 0;
export const SELF_EMPLOYED = 1;
export const FREELANCER = 2;
export const RETIRED = 3;
export const STUDENT = 4;

/** Columns of the `features` input, in order. Money in thousands, ratios as fractions. */
export const FEATURES = [
  'age_years',
  'income_thousands',
  'years_in_work',
  'debt_ratio',
  'credit_utilisation',
  'delinquencies_24_months',
  'loan_thousands',
  'term_months',
  'housing_rented',
  'housing_mortgaged',
  'enquiries_6_months',
  'credit_history_years',
] as const;

/** The columns that existed when version 1 was fitted: the credit bureau's enquiries and history came later. */
export const EARLY_FEATURE_COUNT = 10;

/** One application: what the model is shown, and what became of it. */
export interface Applicant {
  /** Index into EMPLOYMENT. */
  readonly employment: number;
  /** One number for each of FEATURES. */
  readonly features: Float32Array;
  /** Probability of default under the ground truth. */
  readonly risk: number;
  /** 1 if this applicant defaulted, drawn with probability `risk`. */
  readonly defaulted: 0 | 1;
}

/** Share of each employment among applicants, in the order of EMPLOYMENT; sums to 1. */
export const POPULATION_MIX: readonly number[] = [0.6, 0.15, 0.05, 0.12, 0.08];

interface CohortShape {
  readonly age: readonly [mean: number, deviation: number, least: number, most: number];
  /** Median income in thousands, and the deviation of its logarithm (ln of the median is spelled out). */
  readonly income: readonly [logMedian: number, logDeviation: number];
  /** Share of adult life spent in the present work, at most. */
  readonly tenureShare: number;
  /** Added to the log-odds of default: what the kind of work means by itself. */
  readonly offset: number;
  /** How much a fresh job raises the log-odds; a freelancer's projects are always fresh and mean nothing. */
  readonly freshJobWeight: number;
}

const SHAPES: readonly CohortShape[] = [
  { age: [41, 11, 20, 66], income: [3.74, 0.36], tenureShare: 1, offset: 0, freshJobWeight: 1.2 },
  { age: [45, 10, 22, 72], income: [3.83, 0.55], tenureShare: 0.8, offset: 0.1, freshJobWeight: 0.5 },
  { age: [36, 9, 19, 66], income: [3.71, 0.5], tenureShare: 0.3, offset: -0.35, freshJobWeight: 0 },
  { age: [69, 6, 58, 90], income: [3.26, 0.34], tenureShare: 0.4, offset: -0.5, freshJobWeight: 0 },
  { age: [23, 3, 18, 34], income: [2.4, 0.42], tenureShare: 0.4, offset: -1.1, freshJobWeight: 0.3 },
];

const TERMS_MONTHS = [12, 24, 36, 48, 60, 72, 84] as const;

/** Draws one applicant of the given mix. */
export function drawApplicant(random: SeededRandom, mix: readonly number[] = POPULATION_MIX): Applicant {
  return drawApplicantOf(random, drawEmployment(random, mix));
}

/** Draws one applicant of one kind of employment (an index into EMPLOYMENT). */
export function drawApplicantOf(random: SeededRandom, employment: number): Applicant {
  const shape = SHAPES[employment]!;
  const age = Math.floor(within(shape.age[0] + shape.age[1] * random.normal(), shape.age[2], shape.age[3]));
  const income = exactExp(shape.income[0] + shape.income[1] * random.normal());
  const adultYears = age - 17;
  const tenureDraw = random.uniform();
  const yearsInWork = adultYears * shape.tenureShare * tenureDraw * tenureDraw;
  // Hardship is what nobody records: it shows only through the four columns drawn from it.
  const hardshipDraw = random.uniform();
  const hardship = hardshipDraw * hardshipDraw * hardshipDraw;
  const debtRatio = within(0.26 + 0.12 * random.normal() + 0.15 * hardship, 0, 1.2);
  const utilisation = within(0.32 + 0.22 * random.normal() + 0.35 * hardship, 0, 1.3);
  const delinquencies = random.poisson(0.15 + 1.3 * hardship, 8);
  const enquiries = random.poisson(0.7 + 2 * hardship, 12);
  const loan = within(income * (0.08 + 0.7 * random.uniform()), 0.5, 90);
  const termMonths = TERMS_MONTHS[random.below(TERMS_MONTHS.length)]!;
  const housing = drawHousing(random, age, income);
  const historyYears = adultYears * random.uniform();

  const features = Float32Array.of(
    age,
    income,
    yearsInWork,
    debtRatio,
    utilisation,
    delinquencies,
    loan,
    termMonths,
    housing === 'rented' ? 1 : 0,
    housing === 'mortgaged' ? 1 : 0,
    enquiries,
    historyYears,
  );
  const risk = logistic(logOddsOfDefault(employment, features));
  return { employment, features, risk, defaulted: random.uniform() < risk ? 1 : 0 };
}

/** The ground truth: log-odds of default. No model sees it. */
function logOddsOfDefault(employment: number, features: Float32Array): number {
  const [
    age,
    income,
    yearsInWork,
    debtRatio,
    utilisation,
    delinquencies,
    loan,
    termMonths,
    rented,
    ,
    enquiries,
    history,
  ] = features as unknown as readonly number[];
  const shape = SHAPES[employment]!;
  const yearlyBurden = loan! / (termMonths! / 12) / income!;
  const strain = Math.max(0, debtRatio! + yearlyBurden - 0.42);
  const fromMiddleAge = (age! - 46) / 22;
  const thinFile = Math.max(0, 1 - history! / 5);
  let logOdds = -6.2 + shape.offset;
  logOdds += 4.2 * Math.min(strain, 0.6);
  logOdds += 2.2 * utilisation! * utilisation!;
  logOdds += 0.85 * Math.min(delinquencies!, 4) * (0.6 + 0.8 * utilisation!);
  logOdds += 0.85 * Math.min(enquiries!, 6) * (0.6 + 0.9 * thinFile);
  logOdds += 0.7 * thinFile;
  logOdds += 0.3 * fromMiddleAge * fromMiddleAge;
  logOdds += 0.4 * rented!;
  logOdds += shape.freshJobWeight * Math.max(0, 1 - yearsInWork! / 3);
  return logOdds;
}

function drawEmployment(random: SeededRandom, mix: readonly number[]): number {
  let left = random.uniform();
  for (let i = 0; i < mix.length - 1; i++) {
    left -= mix[i]!;
    if (left < 0) return i;
  }
  return mix.length - 1;
}

function drawHousing(random: SeededRandom, age: number, income: number): 'owned' | 'mortgaged' | 'rented' {
  const draw = random.uniform();
  const owned = within((age - 40) / 60, 0.03, 0.55);
  if (draw < owned) return 'owned';
  const mortgaged = age < 62 ? within(income / 160, 0.03, 0.4) : 0.05;
  return draw < owned + mortgaged ? 'mortgaged' : 'rented';
}

function within(value: number, least: number, most: number): number {
  return Math.max(least, Math.min(most, value));
}
