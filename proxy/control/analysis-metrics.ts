/** What the analysis shows in the metrics: comparisons by cohort, and the pair store. */
import type { MeshSnapshot } from '../config/snapshot.ts';
import type { AnalysisClient } from '../mirror/analysis-client.ts';
import type { CohortFigures, ComparisonFigures } from '../mirror/messages.ts';
import type { MetricsExposition } from '../stats/exposition.ts';

/** Registers the readers of all metrics that come from the analysis; `mesh` is asked at each scrape. */
export function observeAnalysis(
  exposition: MetricsExposition,
  analysis: AnalysisClient,
  mesh: () => MeshSnapshot,
): void {
  const rows = (read: (figures: CohortFigures) => number | null) => comparisonRows(analysis, mesh(), read);
  exposition.observe('pairStoreHeld', () => [{ labels: [], value: analysis.storeCounts().pairs }]);
  exposition.observe('pairStoreWrites', () => {
    const { written, full, locked, corrupt, failed } = analysis.storeCounts();
    const results = Object.entries({ written, full, locked, corrupt, failed });
    return results.map(([result, value]) => ({ labels: [result], value }));
  });
  exposition.observe('comparisonPairs', () => rows((figures) => figures.pairs));
  exposition.observe('comparisonAgreement', () => rows((figures) => figures.agreement));
  exposition.observe('comparisonDivergence', () => rows((figures) => figures.divergence));
  exposition.observe('comparisonNoiseFloor', () => rows((figures) => figures.noiseFloor));
  exposition.observe('comparisonPsi', () => rows((figures) => figures.scores?.psi ?? null));
  exposition.observe('comparisonHarm', () => rows((figures) => (figures.evidence.harm ? 1 : 0)));
  exposition.observe('comparisonSafe', () => rows((figures) => (figures.evidence.verdict === 'safe' ? 1 : 0)));
  exposition.observe('comparisonDifference', () => rows((figures) => figures.maxAbsDifference));
  exposition.observe('comparisonFaults', () =>
    rows((figures) => Object.values(figures.faults).reduce<number>((sum, count) => sum + count, 0)),
  );
}

/** One row for each cohort of each comparison; rows without a value are left out. */
function comparisonRows(
  analysis: AnalysisClient,
  mesh: MeshSnapshot,
  read: (figures: CohortFigures) => number | null,
): { labels: string[]; value: number }[] {
  const rows: { labels: string[]; value: number }[] = [];
  for (const figures of main(analysis.figures())) {
    const cluster = mesh.clusters.find((candidate) => candidate.name === figures.shadow);
    const version = cluster?.version ?? '';
    for (const [cohort, cohortFigures] of Object.entries(figures.byCohort)) {
      const value = read(cohortFigures);
      if (value !== null) rows.push({ labels: [figures.model, figures.shadow, version, cohort], value });
    }
  }
  return rows;
}

/** With a canary there is a comparison for each primary version, under the same labels: the one with most pairs is shown. */
function main(all: readonly ComparisonFigures[]): Iterable<ComparisonFigures> {
  const byShadow = new Map<string, ComparisonFigures>();
  for (const figures of all) {
    const key = `${figures.model}\n${figures.shadow}`;
    const known = byShadow.get(key);
    if (known === undefined || known.pairs < figures.pairs) byShadow.set(key, figures);
  }
  return byShadow.values();
}
