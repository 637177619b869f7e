/** Checks a model's comparison, stickiness and pins. */

import { formatPercent } from '../../base/units.ts';
import type { ClusterDraft, ClusterSet } from './cluster-set.ts';
import type { ModelEntry } from './model-entry.ts';
import type { ProblemList } from './problem.ts';
import type { ComparisonSnapshot, EndpointAddress, PinSnapshot } from './snapshot.ts';

/** A pin whose cluster has no index yet. */
export type PinDraft = Omit<PinSnapshot, 'cluster'> & { readonly cluster: ClusterDraft };

/** The comparison's rules; a safety limit below the harm limit could never be told from it. */
export function checkComparison({ model, at }: ModelEntry, problems: ProblemList): ComparisonSnapshot {
  const { comparison } = model;
  if (comparison.safetyLimit <= comparison.harmLimit && !problems.covers(at('comparison'))) {
    const shown = formatPercent(comparison.safetyLimit);
    problems.add(
      at('comparison.safetyLimit'),
      shown,
      `more than the harm limit, ${formatPercent(comparison.harmLimit)}`,
    );
  }
  return {
    labelOutput: comparison.labelOutput ?? '',
    absoluteTolerance: comparison.absoluteTolerance,
    relativeTolerance: comparison.relativeTolerance,
    harmLimit: comparison.harmLimit / 10_000,
    safetyLimit: comparison.safetyLimit / 10_000,
    alpha: comparison.alpha / 10_000,
    noiseFloorHundredths: comparison.noiseFloor,
    redact: comparison.redact,
  };
}

/** What a caller is kept on its version by. */
export function checkSticky({ model, at }: ModelEntry, problems: ProblemList): { header: string; input: string } {
  const { sticky } = model;
  if (sticky === null) return { header: '', input: '' };
  if ((sticky.header === null) === (sticky.input === null) && !problems.covers(at('sticky'))) {
    problems.add(at('sticky'), undefined, 'exactly one of the keys header and input');
  }
  return { header: sticky.header ?? '', input: sticky.input ?? '' };
}

export function checkPins({ model, at }: ModelEntry, clusters: ClusterSet, worker: EndpointAddress): PinDraft[] {
  const pins: PinDraft[] = [];
  for (const [i, pin] of model.pins.entries()) {
    const cluster = clusters.resolve(pin, at(`pins[${i}]`), worker, model);
    if (cluster !== null) pins.push({ header: pin.header, value: pin.value ?? '', cluster });
  }
  return pins;
}
