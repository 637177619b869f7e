/**
 * What the held-out applicants say about the three models: the figures printed by `make-models.ts` and held by a test.
 */
import { type Applicant, EMPLOYMENT } from './applicants.ts';
import type { CreditModels } from './credit-models.ts';
import { accuracy, agreement, areaUnderCurve, declineRate } from './metrics.ts';

/** Figures for one group of applicants; `agreement*` compare top classes with version 1's. */
export interface GroupReport {
  readonly group: string;
  readonly applicants: number;
  readonly defaultRate: number;
  readonly auc: { readonly primary: number; readonly candidate: number; readonly lite: number };
  readonly accuracy: { readonly primary: number; readonly candidate: number; readonly lite: number };
  readonly declined: { readonly primary: number; readonly candidate: number; readonly lite: number };
  readonly agreementCandidate: number;
  readonly agreementLite: number;
}

/** Reports on everybody (first, group `all`) and on each kind of employment. */
export function reportOn(models: CreditModels, heldOut: readonly Applicant[]): GroupReport[] {
  const groups = [reportOnGroup('all', models, heldOut)];
  EMPLOYMENT.forEach((name, employment) => {
    const group = heldOut.filter((applicant) => applicant.employment === employment);
    groups.push(reportOnGroup(name, models, group));
  });
  return groups;
}

function reportOnGroup(group: string, models: CreditModels, applicants: readonly Applicant[]): GroupReport {
  const outcomes = Uint8Array.from(applicants, (applicant) => applicant.defaulted);
  const primary = models.primary.score(applicants);
  const candidate = models.candidate.score(applicants);
  const lite = models.lite.score(applicants);
  const each = (measure: (scores: Float64Array) => number) => ({
    primary: measure(primary),
    candidate: measure(candidate),
    lite: measure(lite),
  });
  return {
    group,
    applicants: applicants.length,
    defaultRate: outcomes.reduce((sum, outcome) => sum + outcome, 0) / outcomes.length,
    auc: each((scores) => areaUnderCurve(scores, outcomes)),
    accuracy: each((scores) => accuracy(scores, outcomes)),
    declined: each(declineRate),
    agreementCandidate: agreement(primary, candidate),
    agreementLite: agreement(primary, lite),
  };
}

/** Renders the groups as a table of fixed-width columns. */
export function formatReport(groups: readonly GroupReport[]): string {
  const head =
    'held-out       number default |      AUC: 1      2   lite |  right: 1      2   lite | decline: 1      2   lite | as 1:     2   lite';
  const lines = groups.map((group) => {
    const three = (value: GroupReport['auc'], scale: (x: number) => string) =>
      `${scale(value.primary).padStart(11)} ${scale(value.candidate).padStart(6)} ${scale(value.lite).padStart(6)}`;
    return [
      `${group.group.padEnd(13)} ${String(group.applicants).padStart(7)} ${percent(group.defaultRate).padStart(7)}`,
      three(group.auc, (x) => x.toFixed(3)),
      three(group.accuracy, percent),
      three(group.declined, percent),
      `${percent(group.agreementCandidate).padStart(11)} ${percent(group.agreementLite).padStart(6)}`,
    ].join(' |');
  });
  return [head, ...lines].join('\n');
}

function percent(fraction: number): string {
  return `${(fraction * 100).toFixed(1)}%`;
}
