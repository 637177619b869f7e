/** Degradation in the document: its fields, the presets behind unset values, and the rules between them. */

import { list, type NodeValue, optionalObject, scalar } from './document-schema.ts';
import type { ProblemList } from './problem.ts';
import type { DegradationPolicy } from './snapshot.ts';

const ALL_HUNDREDTHS = 10_000;

export const DEGRADATION_PRESETS = ['mean', 'tail', 'both'] as const;
export type DegradationPreset = (typeof DEGRADATION_PRESETS)[number];

const MEAN = { meanOver: 500, p95Over: 0, outOfMemory: 0, memoryBelow: 0 };
const TAIL = { meanOver: 0, p95Over: 600, outOfMemory: 3, memoryBelow: 7000 };

/** What a preset says of the values that are left unset: milliseconds, answers, hundredths of a percent. */
const PRESETS: Readonly<Record<DegradationPreset, typeof MEAN>> = {
  mean: MEAN,
  tail: TAIL,
  both: { ...TAIL, meanOver: MEAN.meanOver },
};

/** Steps of the way back, hundredths of a percent. */
const LADDER: readonly number[] = [1000, 3000, 6000, 10_000];

export const degradationNode = optionalObject(
  'When the model is served by its fallback until the primary is well again, and how it comes back. Needs a fallback.',
  {
    preset: scalar({
      kind: 'choice',
      default: 'both',
      choices: DEGRADATION_PRESETS,
      reason:
        'Which triggers are on unless written: mean (meanOver 500ms), tail (p95Over 600ms, outOfMemory 3, memoryBelow 70%), or both.',
    }),
    meanOver: scalar({
      kind: 'duration',
      default: null,
      unset: 'as the preset says',
      min: 0,
      max: 3_600_000,
      reason: 'Degrades when the mean latency of the last answers is over this; 0s switches it off.',
    }),
    meanSamples: scalar({
      kind: 'integer',
      default: '10',
      min: 1,
      max: 1000,
      reason: 'How many answers the mean is of. It acts only once there are so many.',
    }),
    p95Over: scalar({
      kind: 'duration',
      default: null,
      unset: 'as the preset says',
      min: 0,
      max: 3_600_000,
      reason: 'Degrades when the 95th percentile of the latency has been over this for p95For; 0s switches it off.',
    }),
    p95For: scalar({
      kind: 'duration',
      default: '15s',
      min: 100,
      max: 3_600_000,
      reason: 'How long. The percentile is that of a rolling third of this time.',
    }),
    outOfMemory: scalar({
      kind: 'integer',
      default: null,
      unset: 'as the preset says',
      min: 0,
      max: 1_000_000,
      reason:
        'Degrades at so many out-of-memory answers in a row (RESOURCE_EXHAUSTED with x-understudy-reason device_out_of_memory); 0 switches it off.',
    }),
    returnBelow: scalar({
      kind: 'percent',
      default: '70%',
      min: 1,
      reason:
        'Share of the latency limits that the primary has to stay under to come back. The gap keeps it from going to and fro at the limit.',
    }),
    memoryBelow: scalar({
      kind: 'percent',
      default: null,
      unset: 'as the preset says',
      reason:
        "Comes back only when the primary's devices have had less of their memory in use for memoryFor; 0% switches it off. Dropped where the worker has no device.",
    }),
    memoryFor: scalar({ kind: 'duration', default: '1m', min: 0, max: 3_600_000, reason: 'How long.' }),
    probeInterval: scalar({
      kind: 'duration',
      default: '1s',
      min: 10,
      max: 3_600_000,
      reason:
        'While degraded, one request in this time is shown to the primary too, whose answer is only judged. Over all data threads.',
    }),
    probes: scalar({
      kind: 'integer',
      default: '10',
      min: 1,
      max: 1000,
      reason: 'Probes in a row that have to be good before the primary gets traffic again.',
    }),
    ladder: list(
      'Shares of the traffic the primary gets on its way back, ascending to 100%; 10%, 30%, 60% and 100% where none is written.',
      32,
      scalar({ kind: 'percent', default: null, required: true, min: 1, reason: 'One step.' }),
    ),
    stepAnswers: scalar({
      kind: 'integer',
      default: '20',
      min: 1,
      max: 1000,
      reason:
        'Answers of the primary that have to be good before a step is passed. A step that was taken back asks for twice as many.',
    }),
  },
);

export type DegradationDocument = NodeValue<typeof degradationNode>;

/** The policy of a model without its place; null without one. Mistakes go to `problems`. */
export function checkDegradation(
  document: DegradationDocument,
  hasFallback: boolean,
  at: (part: string) => string,
  problems: ProblemList,
): Omit<DegradationPolicy, 'place'> | null {
  if (document === null) return null;
  const preset = PRESETS[document.preset];
  const ladder = document.ladder.length === 0 ? LADDER : document.ladder;
  const policy = {
    meanSamples: document.meanSamples,
    meanOverMs: document.meanOver ?? preset.meanOver,
    p95OverMs: document.p95Over ?? preset.p95Over,
    p95ForMs: document.p95For,
    outOfMemory: document.outOfMemory ?? preset.outOfMemory,
    returnFraction: document.returnBelow / ALL_HUNDREDTHS,
    memoryBelowFraction: (document.memoryBelow ?? preset.memoryBelow) / ALL_HUNDREDTHS,
    memoryForMs: document.memoryFor,
    probeIntervalMs: document.probeInterval,
    probes: document.probes,
    ladderHundredths: ladder,
    stepAnswers: document.stepAnswers,
  };
  if (problems.covers(at('degradation'))) return policy;
  if (!hasFallback) problems.add(at('degradation'), undefined, 'a fallback, which serves the model meanwhile');
  if (policy.meanOverMs === 0 && policy.p95OverMs === 0 && policy.outOfMemory === 0) {
    problems.add(at('degradation'), undefined, 'at least one of meanOver, p95Over and outOfMemory');
  }
  const ascends = ladder.every((step, i) => i === 0 || step > ladder[i - 1]!);
  if (!ascends || ladder.at(-1) !== ALL_HUNDREDTHS) {
    const written = ladder.map((step) => `${step / 100}%`).join(', ');
    problems.add(at('degradation.ladder'), written, 'shares that ascend to 100%');
  }
  return policy;
}
