/**
 * Models from both places they can be written, in one form.
 *
 * A model's shorthand becomes the same value a document would give, so that there is one compiler. An entry keeps the
 * way back: `at` turns a path inside the model into the name its writer used.
 */

import { readNode } from './document.ts';
import { DOCUMENT_SCHEMA, type ModelDocument } from './document-fields.ts';
import { type ModelShorthand, shorthandName } from './env.ts';
import type { ModelTarget } from './model-target.ts';
import { ProblemList } from './problem.ts';
import type { ShorthandValues } from './shorthand-fields.ts';
import type { CohortSource } from './snapshot.ts';

export interface ModelEntry {
  readonly model: ModelDocument;
  /** Where the model as a whole is written. */
  readonly path: string;
  /** Where a part of it is written: `at('fallback[0]')`. */
  readonly at: (part: string) => string;
}

/** A model written in the document, as item `i` of `models`. */
export function documentEntry(model: ModelDocument, i: number): ModelEntry {
  return { model, path: `models[${i}]`, at: (part) => `models[${i}].${part}` };
}

/** A model written in the environment; whatever it cannot say has the document's defaults. */
export function shorthandEntry(shorthand: ModelShorthand): ModelEntry {
  const { group, values } = shorthand;
  const { primary, canary, shadow, fallback, cohort, degradation, stickyHeader } = values;
  const blank = readNode(DOCUMENT_SCHEMA.fields.models.item, new Map([['name', primary.model]]), '', new ProblemList());
  const model: ModelDocument = {
    ...blank,
    split: [
      { ...toTarget(primary), weight: null },
      ...(canary ?? []).map((share) => ({ ...toTarget(share), weight: share.percentHundredths })),
    ],
    shadows: (shadow ?? []).map((target) => ({
      ...readNode(DOCUMENT_SCHEMA.fields.models.item.fields.shadows.item, new Map(), '', new ProblemList()),
      ...toTarget(target),
      ...(target.percentHundredths === null ? {} : { percent: target.percentHundredths }),
    })),
    fallback: (fallback ?? []).map((target) => ({ ...blankFallback(), ...toTarget(target) })),
    cohort: cohort === null ? null : { ...blankCohort(), ...cohortKeys(cohort) },
    degradation: degradation === null ? null : { ...blankDegradation(), preset: degradation },
    sticky: stickyHeader === null ? null : { header: stickyHeader, input: null, salt: null },
  };
  const nameOf = (key: keyof ShorthandValues) => shorthandName(group, key);
  return { model, path: nameOf('primary'), at: (part) => nameOf(keyOf(part)) };
}

/** Which variable a part of a model comes from. */
function keyOf(part: string): keyof ShorthandValues {
  if (part.startsWith('split') && !part.startsWith('split[0]')) return 'canary';
  if (part.startsWith('shadows')) return 'shadow';
  if (part.startsWith('fallback')) return 'fallback';
  if (part.startsWith('cohort')) return 'cohort';
  if (part.startsWith('degradation')) return 'degradation';
  return part.startsWith('sticky') ? 'stickyHeader' : 'primary';
}

function toTarget(model: ModelTarget): { cluster: null; model: ModelTarget } {
  return { cluster: null, model };
}

function cohortKeys(source: CohortSource): { header?: string; input?: string; buckets?: readonly number[] } {
  if (source.kind === 'header') return { header: source.name };
  return source.kind === 'input' ? { input: source.tensor, buckets: source.buckets } : {};
}

function blankFallback(): ModelDocument['fallback'][number] {
  return readNode(DOCUMENT_SCHEMA.fields.models.item.fields.fallback.item, new Map(), '', new ProblemList());
}

function blankDegradation(): NonNullable<ModelDocument['degradation']> {
  return readNode(DOCUMENT_SCHEMA.fields.models.item.fields.degradation, new Map(), '', new ProblemList())!;
}

function blankCohort(): NonNullable<ModelDocument['cohort']> {
  return readNode(DOCUMENT_SCHEMA.fields.models.item.fields.cohort, new Map(), '', new ProblemList())!;
}
