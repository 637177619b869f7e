/** The figures of a comparison as the admin API tells them: plain JSON, nothing that is not a number. */
import type { EvidenceFigures } from './evidence.ts';
import type { OutputFigures } from './output-figures.ts';
import type { QuantileFigures, SketchName } from './quantile-figures.ts';
import type { DriftFigures } from './score-histogram.ts';

/** Faults of answers by kind: see fault-kinds.ts. Kinds that did not occur are left out. */
export type FaultCounts = Readonly<Record<string, number>>;

/** Figures of all pairs of a comparison, or of one cohort of it, for the admin API. Fractions are 0..1, null without data. */
export interface CohortFigures {
  /** Requests whose two answers were looked at; one with rows of several cohorts counts in each. */
  readonly pairs: number;
  /** Rows whose class, label or value was compared. */
  readonly rows: number;
  /** Share of `rows` that agree, by the comparison's `rule`. */
  readonly agreement: number | null;
  /** Largest and mean |shadow - primary| over the elements of float outputs that are finite on both sides. */
  readonly maxAbsDifference: number;
  readonly meanAbsDifference: number | null;
  /** Faults of the shadow's answers, and of the primary's own. */
  readonly faults: FaultCounts;
  readonly primaryFaults: FaultCounts;
  /** Pairs of which one side answered and the other failed. */
  readonly statusDifferences: number;
  /** Mean of shadow minus primary latency, milliseconds, over pairs in which both sides answered. */
  readonly latencyDifferenceMs: number | null;
  /** Mean distance 0..1 over pairs whose primary answered: disagreement, and 1 for a failed or faulty shadow. */
  readonly divergence: number | null;
  /** Mean distance of the primary from itself, over pairs in which it was asked twice; null without. */
  readonly noiseFloor: number | null;
  /** Mean Jensen-Shannon divergence of the rows' class vectors, natural logarithm. */
  readonly vectorJsDivergence: number | null;
  /** How the two sides' scores are distributed and how far apart; null for models without scores. */
  readonly scores: DriftFigures | null;
  /** Quantiles of scores and latencies of both sides, by name; see quantile-figures.ts. */
  readonly quantiles: Readonly<Partial<Record<SketchName, QuantileFigures>>>;
  /** Each output by itself, with the distance that fits what it holds. */
  readonly outputs: Readonly<Record<string, OutputFigures>>;
  /** Evidence about `divergence` that holds however often one looks. */
  readonly evidence: EvidenceFigures;
}

/** A part of the inputs, named by nobody, in which the shadow diverges more than elsewhere; see slice-finder.ts. */
export interface SliceFigures {
  /** All of these hold inside: a range of numbers (null: open), or one string. */
  readonly where: readonly {
    readonly input: string;
    readonly from?: number | null;
    readonly to?: number | null;
    readonly equals?: string;
  }[];
  /** Share of the latest rows inside, and mean distances there and elsewhere. */
  readonly share: number;
  readonly divergenceInside: number;
  readonly divergenceOutside: number;
  /** Rows looked at until it was found. */
  readonly foundAtRows: number;
}

/** Figures of one model's shadow against one of its primary clusters. */
export interface ComparisonFigures extends CohortFigures {
  readonly model: string;
  /** Cluster names, for example `credit-risk@1` and `credit-risk@2`. */
  readonly primary: string;
  readonly shadow: string;
  /** What agreement means here: `labels`, `top_class`, `threshold`, `tolerance`, or `none` before the first answer. */
  readonly rule: string;
  /** Slices found by themselves, the one that explains most first; needs the requests along with the answers. */
  readonly slices: readonly SliceFigures[];
  readonly byCohort: Readonly<Record<string, CohortFigures>>;
}
