/** Fields of a model's `comparison`, `pins` and `sticky`: how its shadows are judged, and who gets which version. */

import { list, object, optionalObject, scalar } from './document-schema.ts';

/** How a shadow's answers are held against the primary's. */
export const COMPARISON_NODE = object("How shadows' answers are compared, and what counts as harm.", {
  labelOutput: scalar({
    kind: 'text',
    default: null,
    unset: 'chosen by name and type: labels, else class scores, else numbers within the tolerance',
    reason: 'The output that holds the decision.',
  }),
  absoluteTolerance: scalar({
    kind: 'number',
    default: '0.000001',
    min: 0,
    reason: 'Numbers agree within this, plus the relative part of the next field.',
  }),
  relativeTolerance: scalar({
    kind: 'number',
    default: '0.0001',
    min: 0,
    max: 1,
    reason:
      "Share of the primary's number by which the shadow's may differ. Single precision and reordered sums explain it.",
  }),
  harmLimit: scalar({
    kind: 'percent',
    default: '5%',
    min: 1,
    max: 9998,
    reason: 'Divergence that must not be exceeded: the verdict is harm once more is shown.',
  }),
  safetyLimit: scalar({
    kind: 'percent',
    default: '10%',
    min: 2,
    max: 9999,
    reason: 'Divergence that must be ruled out before the verdict is safe; above harmLimit.',
  }),
  alpha: scalar({
    kind: 'percent',
    default: '5%',
    min: 1,
    max: 5000,
    reason: 'Chance of a false verdict, however often one looks; for harm it is shared by all cohorts.',
  }),
  noiseFloor: scalar({
    kind: 'percent',
    default: '0%',
    reason:
      'Share of the mirrored requests sent to the primary a second time, so that what it disagrees with itself is taken off. The evidence then rests on these requests alone. Off, because it costs the primary as many calls.',
  }),
  redact: list(
    'Inputs and outputs whose values are never stored with a pair; * is all of them.',
    64,
    scalar({ kind: 'text', default: null, required: true, reason: 'The name of a tensor or a feature.' }),
  ),
});

/** Internal traffic that says where it wants to go. */
export const PINS_NODE = list(
  'Requests with a header are answered by a chosen cluster instead of the split, as internal testers want. The first that matches.',
  16,
  object('One pin.', {
    header: scalar({ kind: 'headerName', default: null, required: true, reason: 'The request header.' }),
    value: scalar({ kind: 'text', default: null, unset: 'any value', reason: 'Its whole value.' }),
    cluster: scalar({
      kind: 'clusterName',
      default: null,
      unset: 'the model key is used',
      reason: 'A cluster declared under clusters.',
    }),
    model: scalar({
      kind: 'target',
      default: null,
      unset: 'the cluster key is used',
      reason: 'MODEL[@VERSION][ via ADDRESS]; the cluster of a share or shadow is named alike.',
    }),
  }),
);

export const STICKY_NODE = optionalObject('Keeps a caller on one version: exactly one of header and input.', {
  header: scalar({
    kind: 'headerName',
    default: null,
    unset: 'input is used',
    reason: 'The request header whose value is hashed.',
  }),
  input: scalar({
    kind: 'text',
    default: null,
    unset: 'header is used',
    reason:
      'The input tensor whose first element is hashed, in gRPC and REST of both APIs. Requests without it, and those longer than 64 KiB, are split one by one.',
  }),
  salt: scalar({
    kind: 'text',
    default: null,
    unset: 'the model name',
    reason: 'Mixed into the hash, so that two models split the same callers differently.',
  }),
});
