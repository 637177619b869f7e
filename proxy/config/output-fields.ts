/** Fields of a model's `outputs`: what its answers have to hold, for the check of outputs. */

import { dtypeFromOip } from '../../proto/tensor/dtype.ts';
import { list, object, optionalList, scalar } from './document-schema.ts';
import { ELEMENT_TYPES } from './element-types.ts';
import type { ModelEntry } from './model-entry.ts';
import type { ProblemList } from './problem.ts';
import type { OutputSnapshot } from './snapshot.ts';

/** Types without an order of numbers. */
const UNORDERED: ReadonlySet<string> = new Set(['BOOL', 'BYTES']);

export const OUTPUTS_NODE = list(
  "What the model's answers hold; an answer that contradicts it is a bad output, as NaN and Inf are, and a fault of a shadow. Costs one decoding of each answer.",
  64,
  object(
    'One output tensor. REST of TensorFlow Serving leaves the name of a single output out; it is taken for the declared one.',
    {
      name: scalar({ kind: 'text', default: null, required: true, reason: 'Name of the output. Unique.' }),
      dtype: scalar({
        kind: 'choice',
        default: null,
        unset: 'any',
        choices: ELEMENT_TYPES,
        reason:
          'Element type. Where JSON says none, only texts, truth values, whole numbers and numbers are told apart.',
      }),
      shape: optionalList(
        'Dimensions, outermost first; any where it is absent, [] for a scalar.',
        32,
        scalar({
          kind: 'integer',
          default: null,
          required: true,
          min: -1,
          max: 2_147_483_647,
          reason: 'A size, or -1 for any.',
        }),
      ),
      min: scalar({ kind: 'number', default: null, unset: 'no bound', reason: 'Smallest value an element may have.' }),
      max: scalar({ kind: 'number', default: null, unset: 'no bound', reason: 'Largest value an element may have.' }),
      required: scalar({
        kind: 'boolean',
        default: 'false',
        reason: 'Whether every answer must hold it. Not by default, because callers may ask for some outputs only.',
      }),
    },
  ),
);

/** What the outputs of a model have to be; what cannot be is a problem. */
export function checkDeclaredOutputs({ model, at }: ModelEntry, problems: ProblemList): OutputSnapshot[] {
  return model.outputs.map((output, i) => {
    const path = at(`outputs[${i}]`);
    const { name, dtype, shape, min, max, required } = output;
    if (model.outputs.findIndex((other) => other.name === name) < i && !problems.covers(path)) {
      problems.add(`${path}.name`, name, 'each output once');
    }
    if (min !== null && max !== null && min > max) problems.add(`${path}.max`, String(max), `at least min, ${min}`);
    if (dtype !== null && UNORDERED.has(dtype) && (min !== null || max !== null)) {
      problems.add(path, dtype, 'a type of numbers, since it has min or max');
    }
    return { name, dtype: dtype === null ? 0 : dtypeFromOip(dtype), shape, min, max, required };
  });
}
