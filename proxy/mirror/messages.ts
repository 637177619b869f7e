/**
 * What the threads around the shadow comparison say to each other, and the figures that come out of it.
 *
 *   control thread --- ToAnalysis ---> analysis thread --- FromAnalysis ---> control thread
 *   data thread    --- PairBatch ----> analysis thread --- FreeBuffer -----> data thread      (a MessagePort each)
 *
 * A batch's buffer is transferred, never copied, and comes back for reuse once its records are read. A data thread bounds
 * the buffers it has under way: with none left it drops the pair and counts it, so a slow analysis costs no memory. If the
 * analysis thread dies, buffers under way are lost with it and the data thread is given another port: it closes the one
 * it had, forgets the buffers that were under way there, and allocates new ones.
 */
import type { MessagePort } from 'node:worker_threads';
import type { CohortPolicy } from '../config/snapshot.ts';
import type { EvidenceFigures, EvidencePolicy } from './evidence.ts';
import type { ComparisonSums } from './figures.ts';
import type { DriftFigures } from './score-histogram.ts';

/** Data thread to analysis thread, with `buffer` in the transfer list. `length` bytes of it are pair records. */
export interface PairBatch {
  readonly type: 'pairs';
  readonly buffer: ArrayBuffer;
  readonly length: number;
}

/** Analysis thread to data thread, with `buffer` in the transfer list: it may be written again. */
export interface FreeBuffer {
  readonly type: 'free';
  readonly buffer: ArrayBuffer;
}

/** How the answers of one model are compared. Only `model` and `cohort` have no sensible default. */
export interface ComparisonPolicy {
  /** The model's name in the snapshot, as pair records carry it. */
  readonly model: string;
  readonly cohort: CohortPolicy;
  /** Output that holds the class (labels, or class scores along its last axis); '' chooses by rule, see comparator.ts. */
  readonly labelOutput?: string;
  /** A model without classes agrees while |shadow - primary| <= absoluteTolerance + relativeTolerance * |primary|. */
  readonly absoluteTolerance?: number;
  readonly relativeTolerance?: number;
  /** Limits and error rate of the statistical evidence; left out, the defaults of evidence.ts hold. */
  readonly evidence?: EvidencePolicy;
}

/** Control thread to analysis thread. Policies replace all earlier ones; figures already gathered stay. */
export type ToAnalysis =
  | { readonly type: 'policies'; readonly policies: readonly ComparisonPolicy[] }
  | { readonly type: 'port'; readonly port: MessagePort }
  | { readonly type: 'figures'; readonly request: number }
  | { readonly type: 'stop' };

/**
 * Analysis thread to control thread: the sums of the comparisons that changed since the last message (of all, where
 * `request` answers a question), each with those of its cohorts that changed. They replace what was sent before.
 */
export interface FromAnalysis {
  readonly type: 'figures';
  /** The question answered, or -1 for an unasked report. */
  readonly request: number;
  /** `changed` is all there is: what is not in it was given up. */
  readonly complete: boolean;
  readonly changed: readonly ComparisonSums[];
  readonly counts: AnalysisCounts;
}

/** What became of the pairs that reached the analysis thread. */
export interface AnalysisCounts {
  /** Pairs compared, faulty ones included. */
  readonly pairs: number;
  /** Pairs that name a model without a policy: the configuration changed while they were under way. */
  readonly unknownModel: number;
  /** Comparisons forgotten because more were needed than are kept. */
  readonly givenUp: number;
  /** Batches whose records could not be read to the end; the rest of such a batch is lost. */
  readonly unreadable: number;
}

/** What the worker thread is started with. */
export interface AnalysisWorkerData {
  readonly policies: readonly ComparisonPolicy[];
  /** Where to go on from: what the thread before this one had last reported. */
  readonly initial: readonly ComparisonSums[];
  readonly counts: AnalysisCounts;
  /** Milliseconds between two unasked reports. */
  readonly reportEveryMs: number;
}

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
  /** Mean Jensen-Shannon divergence of the rows' class vectors, natural logarithm. */
  readonly vectorJsDivergence: number | null;
  /** How the two sides' scores are distributed and how far apart; null for models without scores. */
  readonly scores: DriftFigures | null;
  /** Evidence about `divergence` that holds however often one looks. */
  readonly evidence: EvidenceFigures;
}

/** Figures of one model's shadow against one of its primary clusters. */
export interface ComparisonFigures extends CohortFigures {
  readonly model: string;
  /** Cluster names, for example `credit-risk@1` and `credit-risk@2`. */
  readonly primary: string;
  readonly shadow: string;
  /** What agreement means here: `labels`, `top_class`, `threshold`, `tolerance`, or `none` before the first answer. */
  readonly rule: string;
  readonly byCohort: Readonly<Record<string, CohortFigures>>;
}
