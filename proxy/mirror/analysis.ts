/**
 * The analysis itself, without its thread: batches of pair records in, sums of what they show out.
 *
 * No batch can end it: a record that cannot be read ends its batch and is counted. Comparisons and cohorts are bounded;
 * when a comparison more is needed than are kept, the one that has been quiet longest is given up.
 */

import { CohortRows } from './cohort.ts';
import { ALL, CohortBudget, CohortTable } from './cohort-table.ts';
import { Comparator, type ComparisonRules, DEFAULT_RULES, formOf } from './comparator.ts';
import { Comparison } from './comparison.ts';
import { DEFAULT_EVIDENCE, EvidenceTest } from './evidence.ts';
import { addComparison, type CohortSums, type ComparisonSums, createCohortSums } from './figures.ts';
import { InputReader } from './input-columns.ts';
import type { AnalysisCounts, ComparisonPolicy } from './messages.ts';
import type { PairKeeper } from './pair-keeper.ts';
import { type PairRecord, readRecords } from './pair-record.ts';
import { SketchBook } from './sketch-book.ts';
import { Slices } from './slices.ts';

/** Model, primary and shadow cluster that are compared at a time. */
export const MAX_COMPARISONS = 64;
/** Cohorts of all comparisons together; with their sums about 2 KiB each. */
export const MAX_COHORTS = 8192;

/** Sketches cost some 300 us each to write down, so they are told with every twentieth report and when asked for. */
const SKETCH_EVERY = 20;

/** How a model's pairs are compared, ready for use. */
interface Judge {
  readonly policy: ComparisonPolicy;
  readonly rules: ComparisonRules;
  readonly test: EvidenceTest;
  readonly redact: ReadonlySet<string>;
  /** The cohort's source is redacted, and then its names are not stored either. */
  readonly hidesCohorts: boolean;
}

/** The running state of one comparison. */
class Entry {
  readonly sums: ComparisonSums;
  readonly table: CohortTable;
  readonly changed = new Set<number>();
  readonly slices = new Slices();
  lastBatch = 0;

  constructor(sums: ComparisonSums, table: CohortTable) {
    this.sums = sums;
    this.table = table;
  }
}

export class Analysis {
  private readonly comparator = new Comparator();
  private readonly comparison = new Comparison();
  private readonly noise = new Comparison();
  private readonly sketches = new SketchBook();
  private readonly rows = new CohortRows();
  private readonly inputs = new InputReader();
  private readonly budget = new CohortBudget(MAX_COHORTS);
  private readonly judges = new Map<string, Judge>();
  private readonly entries = new Map<string, Entry>();
  private readonly tally: { pairs: number; unknownModel: number; givenUp: number; unreadable: number };
  private batches = 0;
  private reports = 0;
  private changed = false;
  /** An entry was given up since the last report. */
  private forgot = false;

  private readonly keeper: PairKeeper | null;

  /** Goes on from `initial` and `counts`, which an earlier analysis had reported. Pairs are kept if there is a `keeper`. */
  constructor(
    policies: readonly ComparisonPolicy[],
    initial: readonly ComparisonSums[],
    counts: AnalysisCounts,
    keeper: PairKeeper | null = null,
  ) {
    this.keeper = keeper;
    this.setPolicies(policies);
    this.tally = { ...counts };
    for (const sums of initial) this.restore(sums);
  }

  get counts(): AnalysisCounts {
    return { ...this.tally };
  }

  /** Replaces all policies. Sums of models that have none any more are forgotten. */
  setPolicies(policies: readonly ComparisonPolicy[]): void {
    this.judges.clear();
    for (const policy of policies) {
      const rules = {
        labelOutput: policy.labelOutput ?? DEFAULT_RULES.labelOutput,
        absoluteTolerance: policy.absoluteTolerance ?? DEFAULT_RULES.absoluteTolerance,
        relativeTolerance: policy.relativeTolerance ?? DEFAULT_RULES.relativeTolerance,
        outputs: policy.outputs ?? DEFAULT_RULES.outputs,
      };
      const redact = new Set(policy.redact ?? []);
      const { source } = policy.cohort;
      const hidesCohorts = source.kind === 'input' && (redact.has('*') || redact.has(source.tensor));
      this.judges.set(policy.model, { policy, rules, test: evidenceTest(policy), redact, hidesCohorts });
    }
    for (const [key, entry] of this.entries) {
      const judge = this.judges.get(entry.sums.model);
      if (judge === undefined) this.forget(key, entry);
      else entry.table.apply(judge.policy.cohort);
    }
  }

  /** Compares the pairs in `buffer[0 .. length)`. */
  process(buffer: Buffer, length: number): void {
    this.batches++;
    this.changed = true;
    try {
      for (const pair of readRecords(buffer, length)) this.add(pair);
    } catch {
      this.tally.unreadable++;
    }
    this.keeper?.commit();
  }

  /** What changed since the last call (everything if `all`), or null where nothing did. */
  report(all: boolean): { complete: boolean; changed: ComparisonSums[] } | null {
    if (!all && !this.changed) return null;
    const complete = all || this.forgot;
    const withSketches = all || this.reports++ % SKETCH_EVERY === 0;
    const changed: ComparisonSums[] = [];
    for (const { sums, changed: places, slices } of this.entries.values()) {
      if (places.size > 0) refreshSlices(sums, slices);
      if (withSketches && places.size > 0) {
        this.sketches.write(sums.total);
        for (const place of places) this.sketches.write(sums.cohorts[place]!);
      }
      if (complete) changed.push(sums);
      else if (places.size > 0) changed.push({ ...sums, cohorts: [...places].map((place) => sums.cohorts[place]!) });
      places.clear();
    }
    this.changed = false;
    this.forgot = false;
    return { complete, changed };
  }

  private add(pair: PairRecord): void {
    const judge = this.judges.get(pair.model);
    if (judge === undefined) {
      this.tally.unknownModel++;
      return;
    }
    this.tally.pairs++;
    const entry = this.entryOf(pair, judge);
    const { comparison, rows } = this;
    this.comparator.compare(pair, judge.rules, comparison);
    const noise = this.noiseOf(pair, judge);
    rows.resolve(pair, judge.policy.cohort, comparison.rows, entry.table);
    if (comparison.rule !== 'none') entry.sums.rule = comparison.rule;
    addComparison(entry.sums.total, comparison, rows.order, 0, comparison.rows, judge.test, noise);
    this.sketches.add(entry.sums.total, pair, comparison, rows.order, 0, comparison.rows);
    for (let part = 0; part < rows.cohorts.length; part++) {
      const place = rows.cohorts[part]!;
      const cohort = cohortAt(entry, place, judge);
      this.sketches.add(cohort, pair, comparison, rows.order, rows.starts[part]!, rows.starts[part + 1]!);
      addComparison(cohort, comparison, rows.order, rows.starts[part]!, rows.starts[part + 1]!, judge.test, noise);
      entry.changed.add(place);
    }
    if (this.keeper !== null) {
      const names = judge.hidesCohorts ? [] : rows.cohorts.map((place) => entry.table.names[place]!);
      this.keeper.take(pair, comparison, names, judge.redact);
    }
    if (pair.request.length > 0) entry.slices.add(this.inputs, pair.request, formOf(pair), comparison);
  }

  /** The primary held against itself; null where it was not asked twice. */
  private noiseOf(pair: PairRecord, judge: Judge): Comparison | null {
    const { secondaryStatus = -1, secondaryBody } = pair;
    if (secondaryStatus < 0 || secondaryBody === undefined) return null;
    const again = { ...pair, shadowStatus: secondaryStatus, shadowBody: secondaryBody };
    this.comparator.compare(again, judge.rules, this.noise);
    return this.noise;
  }

  private entryOf(pair: PairRecord, judge: Judge): Entry {
    const key = `${pair.model}\n${pair.primary}\n${pair.shadow}`;
    let entry = this.entries.get(key);
    if (entry === undefined) {
      if (this.entries.size >= MAX_COMPARISONS) this.giveUpQuietest();
      const { model, primary, shadow } = pair;
      const total = createCohortSums(ALL, judge.test.createSums());
      entry = new Entry(
        { model, primary, shadow, rule: 'none', total, cohorts: [], slices: [] },
        new CohortTable(this.budget),
      );
      entry.table.apply(judge.policy.cohort);
      this.entries.set(key, entry);
    }
    entry.lastBatch = this.batches;
    return entry;
  }

  private restore(sums: ComparisonSums): void {
    const judge = this.judges.get(sums.model);
    if (judge === undefined || this.entries.size >= MAX_COMPARISONS) return;
    const table = new CohortTable(this.budget);
    table.apply({ ...judge.policy.cohort, maxCohorts: sums.cohorts.length + judge.policy.cohort.maxCohorts });
    for (const cohort of sums.cohorts) table.indexOf(cohort.name);
    table.apply(judge.policy.cohort);
    // Sums and table must stay in step; more cohorts than there is room for means starting anew.
    if (table.names.length !== sums.cohorts.length) {
      table.release();
      return;
    }
    this.entries.set(`${sums.model}\n${sums.primary}\n${sums.shadow}`, new Entry(sums, table));
  }

  private giveUpQuietest(): void {
    let quietest = '';
    let lastBatch = Number.POSITIVE_INFINITY;
    for (const [key, entry] of this.entries) {
      if (entry.lastBatch >= lastBatch) continue;
      quietest = key;
      lastBatch = entry.lastBatch;
    }
    this.tally.givenUp++;
    this.forget(quietest, this.entries.get(quietest)!);
  }

  private forget(key: string, entry: Entry): void {
    entry.table.release();
    this.sketches.forget(entry.sums.total);
    for (const cohort of entry.sums.cohorts) this.sketches.forget(cohort);
    this.entries.delete(key);
    this.forgot = true;
    this.changed = true;
  }
}

/** What an earlier thread had found stays until this one finds something itself. */
function refreshSlices(sums: ComparisonSums, slices: Slices): void {
  const found = slices.figures();
  if (found.length > 0) sums.slices = found;
}

/** Cohorts and the table fill in step, so a new place is always the next one. */
function cohortAt(entry: Entry, place: number, judge: Judge): CohortSums {
  const { cohorts } = entry.sums;
  for (let next = cohorts.length; next <= place; next++) {
    cohorts.push(createCohortSums(entry.table.names[next]!, judge.test.createSums()));
  }
  return cohorts[place]!;
}

/** The test of a policy; unless it says otherwise, alpha is shared by all cohorts there may be and their total. */
export function evidenceTest(policy: ComparisonPolicy): EvidenceTest {
  return new EvidenceTest({
    harmLimit: policy.harmLimit ?? DEFAULT_EVIDENCE.harmLimit,
    safetyLimit: policy.safetyLimit ?? DEFAULT_EVIDENCE.safetyLimit,
    alpha: policy.alpha ?? DEFAULT_EVIDENCE.alpha,
    streams: policy.streams ?? streamsOf(policy),
    noiseCorrected: (policy.noiseFloorHundredths ?? 0) > 0,
  });
}

function streamsOf({ cohort }: ComparisonPolicy): number {
  if (cohort.source.kind === 'none') return 1;
  // Beside the cohorts kept: `other`, `unknown`, and all pairs together.
  return Math.max(cohort.maxCohorts, new Set(Object.values(cohort.names)).size) + 3;
}
