/**
 * The figures of one run, as `--json` prints them.
 */
import type { DegradationFigures } from './degradation-act.ts';
import type { FailoverReport } from './failover-watch.ts';
import type { SidecarView } from './sidecar-admin.ts';
import type { Tally } from './tally.ts';

/** What `--json` prints. */
export interface RunFigures {
  readonly requests: number;
  readonly failed: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly answeredBy: Readonly<Record<string, number>>;
  readonly shadow: {
    readonly pairs: number;
    readonly dropped: number;
    readonly agreement: number | null;
    readonly byCohort: Readonly<Record<string, { readonly pairs: number; readonly agreement: number | null }>>;
  };
  readonly kill: { readonly failed: number; readonly fallbackMs: number | null; readonly recoveredMs: number | null };
  /** Of runs that are long enough for the second act. */
  readonly degradation?: DegradationFigures;
  /** The sidecar's verdicts on the shadow by cohort, of the same runs. */
  readonly verdicts?: SidecarView['verdicts'];
}

/** Gathers the figures of a run that took `elapsedMs`; `degradation` is null where the second act was not played. */
export function figuresOf(
  tally: Tally,
  elapsedMs: number,
  sidecar: SidecarView,
  failover: FailoverReport,
  degradation: DegradationFigures | null = null,
): RunFigures {
  const { p50Ms, p99Ms } = tally.summary(elapsedMs);
  const { pairs, dropped, agreement } = sidecar.shadow;
  const byCohort = sidecar.cohorts.map((cohort) => [
    cohort.name,
    { pairs: cohort.pairs, agreement: rounded(cohort.agreement) },
  ]);
  return {
    requests: tally.requests,
    failed: tally.failed,
    p50Ms: rounded(p50Ms),
    p99Ms: rounded(p99Ms),
    answeredBy: Object.fromEntries(tally.answeredBy),
    shadow: { pairs, dropped, agreement: rounded(agreement), byCohort: Object.fromEntries(byCohort) },
    kill: {
      failed: failover.failed,
      fallbackMs: rounded(failover.fallbackMs),
      recoveredMs: rounded(failover.recoveredMs),
    },
    ...(degradation === null ? {} : { degradation, verdicts: sidecar.verdicts }),
  };
}

/** Three decimals; null for what was never measured. */
function rounded(value: number | null): number | null {
  return value === null || Number.isNaN(value) ? null : Math.round(value * 1000) / 1000;
}
