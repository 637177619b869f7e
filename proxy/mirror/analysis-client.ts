/**
 * The control thread's end of the analysis: keeps one analysis thread running, and its latest figures.
 *
 *   running --(thread died)--> waiting --(backoff)--> running        either --(stop)--> stopped
 *
 * A thread that replaces another goes on from the last report, so a death costs the pairs of a quarter of a second and
 * those under way. Ports die with the thread: `onRestart` says that data threads need new ones.
 */
import { type MessagePort, Worker } from 'node:worker_threads';
import type { Logger } from '../../base/logger.ts';
import { evidenceTest } from './analysis.ts';
import { type ComparisonSums, comparisonFigures } from './figures.ts';
import type {
  AnalysisCounts,
  AnalysisWorkerData,
  ComparisonFigures,
  ComparisonPolicy,
  FromAnalysis,
  ToAnalysis,
} from './messages.ts';
import { NO_STORE_COUNTS, type PairStoreOptions, type StoreCounts } from './store-counts.ts';

export interface AnalysisClientOptions {
  readonly policies: readonly ComparisonPolicy[];
  readonly log: Logger;
  /** Where the thread keeps pairs; none unless told. */
  readonly store?: PairStoreOptions | null;
  /** A new thread runs in the place of one that died and has no ports yet. */
  readonly onRestart: () => void;
  /** Milliseconds between reports; 250 unless told. */
  readonly reportEveryMs?: number;
  /** First wait after a death; each further one within a minute doubles it, up to ten seconds. 100 unless told. */
  readonly backoffMs?: number;
}

const REPORT_EVERY_MS = 250;
const BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 10_000;
/** A thread that lived this long begins the backoff anew. */
const SETTLED_MS = 60_000;
/** `refresh` does not wait longer. */
const REFRESH_TIMEOUT_MS = 1000;
/** `stop` ends a thread that has not ended by itself by then; it holds no native session, so that is safe. */
const STOP_TIMEOUT_MS = 2000;
/** Heap of the thread: 8192 cohorts of about 2 KiB and what a batch needs, with room. Typed arrays are not in it. */
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 96, maxYoungGenerationSizeMb: 16, stackSizeMb: 2 };
const NO_COUNTS: AnalysisCounts = { pairs: 0, unknownModel: 0, givenUp: 0, unreadable: 0 };

export class AnalysisClient {
  /** Deaths since start. */
  restarts = 0;
  private readonly options: AnalysisClientOptions;
  private policies: readonly ComparisonPolicy[];
  private readonly comparisons = new Map<string, ComparisonSums>();
  private latestCounts: AnalysisCounts = NO_COUNTS;
  private latestStore: StoreCounts = NO_STORE_COUNTS;
  private cache: readonly ComparisonFigures[] | null = null;
  private worker: Worker | null = null;
  private startedMs = 0;
  private failures = 0;
  private timer: NodeJS.Timeout | null = null;
  private stopped = false;
  private nextRequest = 0;
  private readonly waiting = new Map<number, () => void>();

  constructor(options: AnalysisClientOptions) {
    this.options = options;
    this.policies = options.policies;
    // Without shadows no analysis thread runs: it would cost 12 MiB for nothing.
    if (this.policies.length > 0) this.spawn();
  }

  /** Hands the thread's end of a channel over; a data thread holds the other. Closed at once where no thread runs. */
  addPort(port: MessagePort): void {
    if (this.worker === null) port.close();
    else this.worker.postMessage({ type: 'port', port } satisfies ToAnalysis, [port]);
  }

  /** Puts new policies in force. Figures of models without a policy are forgotten. */
  setPolicies(policies: readonly ComparisonPolicy[]): void {
    this.policies = policies;
    const models = new Set(policies.map(({ model }) => model));
    for (const [key, sums] of this.comparisons) if (!models.has(sums.model)) this.comparisons.delete(key);
    this.cache = null;
    if (this.worker === null) this.spawnLate();
    this.tell({ type: 'policies', policies });
  }

  /** Figures as of the last report, at most `reportEveryMs` old; one object until the next report. */
  figures(): readonly ComparisonFigures[] {
    if (this.cache !== null) return this.cache;
    const tests = new Map(this.policies.map((policy) => [policy.model, evidenceTest(policy)]));
    const figures: ComparisonFigures[] = [];
    for (const sums of this.comparisons.values()) {
      const test = tests.get(sums.model);
      if (test !== undefined) figures.push(comparisonFigures(sums, test));
    }
    this.cache = figures;
    return figures;
  }

  /** What became of the pairs, as of the last report. */
  counts(): AnalysisCounts {
    return this.latestCounts;
  }

  /** What became of the pairs to be kept, as of the last report, since the thread that runs began. */
  storeCounts(): StoreCounts {
    return this.latestStore;
  }

  /** Mergeable sums as of the last report, for whoever adds up several sidecars. */
  sums(): readonly ComparisonSums[] {
    return [...this.comparisons.values()];
  }

  /** Asks for figures of now and resolves when they are here, after a second at the latest, or when the thread dies. */
  refresh(): Promise<void> {
    if (this.worker === null) return Promise.resolve();
    const request = this.nextRequest++;
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.waiting.delete(request);
        resolve();
      };
      const timer = setTimeout(done, REFRESH_TIMEOUT_MS);
      this.waiting.set(request, done);
      this.tell({ type: 'figures', request });
    });
  }

  /** Ends the thread after its last report. Resolves when it is gone. */
  async stop(): Promise<void> {
    this.stopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    const { worker } = this;
    if (worker === null) return;
    const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    this.tell({ type: 'stop' });
    const timer = setTimeout(() => void worker.terminate(), STOP_TIMEOUT_MS);
    await gone;
    clearTimeout(timer);
  }

  /** The first policies came with a reload. */
  private spawnLate(): void {
    if (this.policies.length === 0 || this.stopped || this.timer !== null) return;
    this.spawn();
    this.options.onRestart();
  }

  private spawn(): void {
    const { reportEveryMs = REPORT_EVERY_MS } = this.options;
    const data: AnalysisWorkerData = {
      policies: this.policies,
      initial: [...this.comparisons.values()],
      counts: this.latestCounts,
      store: this.options.store ?? null,
      reportEveryMs,
    };
    const entry = new URL('./analysis-thread.ts', import.meta.url);
    const worker = new Worker(entry, {
      workerData: data,
      resourceLimits: RESOURCE_LIMITS,
      execArgv: [],
      name: 'analysis',
    });
    let cause: unknown = null;
    worker.on('message', (message: FromAnalysis) => this.onReport(message));
    worker.on('error', (error) => {
      cause = error;
    });
    worker.on('exit', () => this.onExit(worker, cause));
    this.worker = worker;
    this.startedMs = performance.now();
  }

  private onReport(report: FromAnalysis): void {
    if (report.complete) this.comparisons.clear();
    for (const sums of report.changed) {
      const key = `${sums.model}\n${sums.primary}\n${sums.shadow}`;
      const known = this.comparisons.get(key);
      if (known !== undefined) sums.cohorts = withChanged(known, sums);
      this.comparisons.set(key, sums);
    }
    this.latestCounts = report.counts;
    this.latestStore = report.store;
    this.cache = null;
    this.waiting.get(report.request)?.();
  }

  private onExit(worker: Worker, cause: unknown): void {
    if (this.worker !== worker) return;
    this.worker = null;
    for (const done of [...this.waiting.values()]) done();
    if (this.stopped) return;
    if (performance.now() - this.startedMs > SETTLED_MS) this.failures = 0;
    const { backoffMs = BACKOFF_MS } = this.options;
    const waitMs = Math.min(MAX_BACKOFF_MS, backoffMs * 2 ** this.failures);
    this.failures = Math.min(this.failures + 1, 16);
    this.restarts++;
    this.options.log.error('analysis_thread_died', { error: cause, restartInMs: waitMs });
    this.timer = setTimeout(() => {
      this.spawn();
      this.options.onRestart();
    }, waitMs);
    this.timer.unref();
  }

  private tell(message: ToAnalysis): void {
    this.worker?.postMessage(message);
  }
}

/** Cohorts keep their places, so those that changed replace what is known and new ones follow. */
function withChanged(known: ComparisonSums, changed: ComparisonSums): ComparisonSums['cohorts'] {
  const byName = new Map(known.cohorts.map((cohort) => [cohort.name, cohort]));
  for (const cohort of changed.cohorts) byName.set(cohort.name, cohort);
  return [...byName.values()];
}
