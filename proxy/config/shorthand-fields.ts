/**
 * The per-model shorthand of the environment: the settings that make a model without a document. Like the process's own
 * they hold for as long as it runs.
 */
import { DEGRADATION_PRESETS } from './degradation-fields.ts';
import type { Field, FieldValue } from './field.ts';

export interface ShorthandField extends Field {
  /** Last part of the environment name, after `UNDERSTUDY_MODEL_<NAME>_`. */
  readonly suffix: string;
}

/** The per-model shorthand: `UNDERSTUDY_MODEL_<NAME>_<SUFFIX>`. NAME only groups; clients ask for the model of PRIMARY. */
export const SHORTHAND_FIELDS = {
  primary: {
    suffix: 'PRIMARY',
    kind: 'target',
    default: null,
    required: true,
    reason: 'The version in production. Its model is the name clients ask for.',
    reloadable: false,
  },
  canary: {
    suffix: 'CANARY',
    kind: 'weightedTargets',
    default: null,
    unset: 'no canary',
    reason:
      'Versions that answer a share of the traffic; the primary keeps the rest, so the shares may sum to 100% at most.',
    reloadable: false,
  },
  shadow: {
    suffix: 'SHADOW',
    kind: 'weightedTargets',
    default: null,
    unset: 'no shadow',
    reason:
      'Versions that are shown a copy of a share of the traffic and whose answers are only compared. A share that is not written is 100%.',
    reloadable: false,
  },
  fallback: {
    suffix: 'FALLBACK',
    kind: 'targets',
    default: null,
    unset: 'no fallback',
    reason:
      'Who answers in the same request when the primary fails, in order. Without an address it is served by UNDERSTUDY_OUTBOUND_FALLBACK_WORKER_ADDRESS.',
    reloadable: false,
  },
  cohort: {
    suffix: 'COHORT',
    kind: 'cohort',
    default: null,
    unset: 'all requests in one cohort',
    reason:
      'What divides requests for the comparison figures: a request header, or the first element of an input tensor, in buckets if borders are given.',
    reloadable: false,
  },
  degradation: {
    suffix: 'DEGRADATION',
    kind: 'choice',
    choices: DEGRADATION_PRESETS,
    default: null,
    unset: 'never degraded',
    reason:
      'Serves the model by its fallback while the primary is too slow (mean), too slow at its tail or out of memory (tail), or either (both), and brings it back step by step.',
    reloadable: false,
  },
  stickyHeader: {
    suffix: 'STICKY_HEADER',
    kind: 'headerName',
    default: null,
    unset: 'each request is split by itself',
    reason: 'The request header whose value keeps a caller on one version.',
    reloadable: false,
  },
} as const satisfies Record<string, ShorthandField>;

export type ShorthandValues = {
  readonly [K in keyof typeof SHORTHAND_FIELDS]: FieldValue<(typeof SHORTHAND_FIELDS)[K]>;
};

/** First letters of a model's shorthand. */
export const MODEL_PREFIX = 'UNDERSTUDY_MODEL_';
