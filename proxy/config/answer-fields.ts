/** Fields of the document that say how a fallback's answers are adapted, and what answers without a model. */

import { list, object, optionalList, optionalObject, scalar } from './document-schema.ts';
import { ELEMENT_TYPES } from './element-types.ts';

const dimension = scalar({
  kind: 'integer',
  default: null,
  required: true,
  min: -1,
  max: 2_147_483_647,
  reason: 'A size, or -1.',
});
const value = scalar({
  kind: 'text',
  default: null,
  required: true,
  reason: 'A number, true or false, or text, as the type wants it.',
});
const MAX_VALUES = 4096;

/** What a fallback says of its own outputs. */
export const SIGNATURE_NODE = list(
  "The fallback's own outputs. With them, and with the model's outputs, a mapping that cannot work is found here and not when it is needed.",
  64,
  object('One output of the fallback.', {
    name: scalar({ kind: 'text', default: null, required: true, reason: 'Its name. Unique.' }),
    dtype: scalar({
      kind: 'choice',
      choices: ELEMENT_TYPES,
      default: null,
      unset: 'not known',
      reason: 'Its element type.',
    }),
    shape: optionalList('Its dimensions, -1 for any size; not known where it is absent.', 32, dimension),
  }),
);

/** How tensors are adapted. */
export const ADAPT_NODE = optionalObject(
  "How the fallback's output tensors become the primary's. An answer that does not fit, of more than 16 MiB or with more than 2 MiB of JSON, counts as a bad output.",
  {
    inputs: list(
      'Inputs that the fallback calls otherwise; the others keep their names.',
      64,
      object('One input.', {
        name: scalar({ kind: 'text', default: null, required: true, reason: "The fallback's name for it. Unique." }),
        from: scalar({ kind: 'text', default: null, required: true, reason: 'What callers call it. Unique.' }),
      }),
    ),
    outputs: list(
      'Outputs of the adapted answer, in this order. Callers who list the outputs they want get all of these.',
      64,
      object('One output.', {
        name: scalar({ kind: 'text', default: null, required: true, reason: 'What the caller knows it by. Unique.' }),
        from: scalar({
          kind: 'text',
          default: null,
          unset: 'the same name',
          reason: "The fallback's output that it is made of: a rename.",
        }),
        dtype: scalar({
          kind: 'choice',
          choices: ELEMENT_TYPES,
          default: null,
          unset: 'as it is',
          reason:
            'The type its elements are cast to. Floats become the nearest, ties to even; strings are cast to nothing else.',
        }),
        shape: optionalList(
          'Its shape, of as many elements as before; one dimension may be -1. Of a fill, -1 in front is the rows of the answer.',
          32,
          dimension,
        ),
        rounding: scalar({
          kind: 'choice',
          choices: ['nearest', 'truncate'],
          default: 'nearest',
          reason: 'How fractions become integers: to the nearest, ties to even, or towards zero.',
        }),
        overflow: scalar({
          kind: 'choice',
          choices: ['refuse', 'saturate'],
          default: 'refuse',
          reason:
            'What becomes of a value the type cannot hold: the answer does not fit, or the nearest value it can hold. A NaN fits no integer either way.',
        }),
        fill: optionalList(
          'What stands there when the fallback has no such output: one value, or those of a row, repeated. Needs dtype and shape.',
          MAX_VALUES,
          value,
        ),
      }),
    ),
    others: scalar({
      kind: 'choice',
      choices: ['keep', 'drop'],
      default: 'drop',
      reason:
        'What becomes of outputs that no entry takes. Dropped, because callers of the primary have never seen them.',
    }),
  },
);

const column = scalar({
  kind: 'integer',
  default: '0',
  min: 0,
  max: 1_048_575,
  reason: 'Which element of its row, counted from 0.',
});
const outputBase = {
  name: scalar({ kind: 'text', default: null, required: true, reason: 'Its name. Unique.' }),
  dtype: scalar({ kind: 'choice', choices: ELEMENT_TYPES, default: null, required: true, reason: 'Its element type.' }),
  shape: list('Its dimensions; -1 in front is the rows of the request.', 32, dimension),
};

/** A constant answer. */
export const STATIC_NODE = optionalObject(
  'A constant answer, made here: no network, no model. Answers Predict and infer calls in whichever protocol they come.',
  {
    outputs: list(
      'Its outputs.',
      64,
      object('One output.', {
        ...outputBase,
        values: list('One value for all elements, or the values of a row.', MAX_VALUES, value),
      }),
    ),
  },
);

const score = optionalObject('The output is computed: bias + sum of weight * input, for each row.', {
  bias: scalar({ kind: 'number', default: '0', reason: 'What the sum begins with.' }),
  terms: list(
    'What is added.',
    1024,
    object('One term.', {
      input: scalar({ kind: 'text', default: null, required: true, reason: 'Name of an input tensor of numbers.' }),
      column,
      weight: scalar({ kind: 'number', default: null, required: true, reason: 'What the number is multiplied by.' }),
    }),
  ),
  transform: scalar({
    kind: 'choice',
    choices: ['none', 'sigmoid'],
    default: 'none',
    reason: 'sigmoid makes a probability of the sum: 1 / (1 + e^-sum).',
  }),
  min: scalar({ kind: 'number', default: null, unset: 'no bound', reason: 'The score is at least this.' }),
  max: scalar({ kind: 'number', default: null, unset: 'no bound', reason: 'The score is at most this.' }),
});

/** An answer computed from the inputs. */
export const RULE_NODE = optionalObject(
  'An answer computed here from the inputs of the request, row by row. Needs the whole request (maxReplaySize); requests of more than 65536 rows, 1048576 steps of work or 1 MiB of JSON are left to the next step.',
  {
    outputs: list(
      'Its outputs.',
      64,
      object('One output.', {
        ...outputBase,
        values: list('Where no case says otherwise: one value, or the values of a row.', MAX_VALUES, value),
        score,
      }),
    ),
    cases: list(
      'Exceptions, in their order: the first of which all conditions hold sets the values of a row.',
      256,
      object('One case.', {
        when: list(
          'Conditions, all of them.',
          32,
          object('One condition: of exactly one of input and score.', {
            input: scalar({ kind: 'text', default: null, unset: 'score is used', reason: 'Name of an input tensor.' }),
            column,
            score: scalar({
              kind: 'text',
              default: null,
              unset: 'input is used',
              reason: 'Name of an output that has a score.',
            }),
            op: scalar({
              kind: 'choice',
              choices: ['<', '<=', '>', '>=', '=', '!='],
              default: null,
              required: true,
              reason: 'Numbers compare as doubles; texts only with = and !=.',
            }),
            value: scalar({ kind: 'text', default: null, required: true, reason: 'What it is compared with.' }),
          }),
        ),
        set: list(
          'What the row gets.',
          64,
          object('One output.', {
            output: scalar({ kind: 'text', default: null, required: true, reason: 'Name of an output.' }),
            values: list('One value, or the values of a row.', MAX_VALUES, value),
          }),
        ),
      }),
    ),
  },
);

/** How JSON answers of a route's fallback are adapted. */
export const ADAPT_JSON_NODE = list(
  "How the fallback's JSON becomes the primary's, in this order. An answer that does not fit, or of more than 2 MiB, is no answer.",
  64,
  object('One value, or one in each element of a list.', {
    path: scalar({
      kind: 'text',
      default: null,
      required: true,
      reason:
        'Where it is: keys with dots between them, [] behind a key for each element of its list, such as results[].text.',
    }),
    from: scalar({
      kind: 'text',
      default: null,
      unset: 'the same key',
      reason: "Key beside the path's last under which the fallback has it: a rename.",
    }),
    cast: scalar({
      kind: 'choice',
      choices: ['none', 'string', 'number', 'integer', 'boolean'],
      default: 'none',
      reason: 'What the value becomes. Numbers become integers to the nearest, ties to even.',
    }),
    fill: scalar({
      kind: 'text',
      default: null,
      unset: 'the answer does not fit',
      reason: 'What stands there where there is nothing, or null: JSON, or a text that is none.',
    }),
    drop: scalar({ kind: 'boolean', default: 'false', reason: 'Takes the value away.' }),
  }),
);
