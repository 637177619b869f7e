/**
 * What the threads around the shadow comparison say to each other.
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
import type { CohortPolicy, OutputSnapshot } from '../config/snapshot.ts';
import type { ComparisonSums } from './figures.ts';
import type { PairStoreOptions, StoreCounts } from './store-counts.ts';

export type { CohortFigures, ComparisonFigures, FaultCounts } from './comparison-figures.ts';

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
  /** What the model's outputs have to be. */
  readonly outputs?: readonly OutputSnapshot[];
  /** Limits and error rate of the statistical evidence; left out, the defaults of evidence.ts hold. */
  readonly harmLimit?: number;
  readonly safetyLimit?: number;
  readonly alpha?: number;
  /** Cohorts that share alpha; left out, as many as there may be. */
  readonly streams?: number;
  /** Share of pairs whose request the primary gets twice, hundredths of a percent; above 0 evidence is noise-corrected. */
  readonly noiseFloorHundredths?: number;
  /** Inputs and outputs that are never stored; `*` for all. */
  readonly redact?: readonly string[];
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
  readonly store: StoreCounts;
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
  /** Where pairs are kept; null for nowhere. */
  readonly store: PairStoreOptions | null;
  /** Milliseconds between two unasked reports. */
  readonly reportEveryMs: number;
}
