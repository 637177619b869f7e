/** Fields of the document's `pipelines`: models made of several models, each step with its own way out. */
import { list, map, object, optionalList, scalar } from './document-schema.ts';
import { ELEMENT_TYPES } from './element-types.ts';

/** Pipelines in one document, and steps of one pipeline. */
export const MAX_PIPELINES = 16;
export const MAX_STEPS = 24;

const tensorName = scalar({ kind: 'text', default: null, required: true, reason: "The tensor's name." });
const dtype = scalar({
  kind: 'choice',
  choices: ELEMENT_TYPES,
  default: null,
  required: true,
  reason: 'Element type, as the Open Inference Protocol names it.',
});
const shape = list(
  'Dimensions, outermost first; -1 is any size. Not written: a scalar.',
  16,
  scalar({ kind: 'integer', default: null, required: true, min: -1, max: 2_147_483_647, reason: 'A size, or -1.' }),
);

const defaultOutput = object('One output of a step that is skipped.', {
  name: tensorName,
  dtype,
  shape: list(
    "Dimensions, outermost first. A first one of -1 is the batch's: the first dimension of the step's first input.",
    16,
    scalar({ kind: 'integer', default: null, required: true, min: -1, max: 1_048_576, reason: 'A size, or -1.' }),
  ),
  values: list(
    'The elements: one that fills the tensor, or all of one row, repeated for each row of the batch. Not written: zeros, or empty texts.',
    4096,
    scalar({ kind: 'text', default: null, required: true, reason: 'An element; base64 is not understood.' }),
  ),
});

const step = object('One step: a call of a configured model.', {
  name: scalar({
    kind: 'name',
    default: null,
    required: true,
    reason:
      'Name for references, headers, metrics and logs, without a dot; `request` is taken. Unique in the pipeline.',
  }),
  model: scalar({
    kind: 'name',
    default: null,
    required: true,
    reason: "The name of a model of this configuration: its split, fallbacks, breakers and checks are the step's.",
  }),
  protocol: scalar({
    kind: 'choice',
    choices: ['tensorflow-serving', 'open-inference'],
    default: 'tensorflow-serving',
    reason:
      'The API its model is called in, over gRPC: Predict, which passes tensors on as they are, or ModelInfer, for servers that have no other.',
  }),
  inputs: map('Inputs of the model, and where each comes from: request.INPUT or STEP.OUTPUT.', 64),
  outputs: list('Outputs of the model that other steps or the answer use.', 64, tensorName),
  budget: scalar({
    kind: 'percent',
    default: null,
    unset:
      'an equal part for each step that is left on the longest way to the end, at most 80% before default outputs; all of it where nobody can answer instead',
    min: 1,
    reason: 'Share of the remaining deadline this step may use, its fallbacks included.',
  }),
  default: optionalList(
    'Outputs that stand in when neither the model nor its fallbacks answer: the step is skipped. Without it the pipeline fails with the step.',
    64,
    defaultOutput,
  ),
});

export const PIPELINES_NODE = list(
  'Models made of steps: offered under one name in every protocol, each step replaced on its own when it fails.',
  MAX_PIPELINES,
  object('One pipeline. Steps that do not wait for each other run side by side.', {
    name: scalar({
      kind: 'name',
      default: null,
      required: true,
      reason: 'The name clients ask for; no configured model has it. Unique.',
    }),
    version: scalar({ kind: 'version', default: '1', reason: 'The version that status and metadata calls tell.' }),
    timeout: scalar({
      kind: 'duration',
      default: '60s',
      min: 0,
      max: 86_400_000,
      reason: 'Longest time of a request whose caller sent no deadline; 0s is unlimited. As timeouts.request.',
    }),
    inputs: list('What callers send.', 64, object('One input.', { name: tensorName, dtype, shape })),
    steps: list('The steps, in any order.', MAX_STEPS, step),
    outputs: list(
      'What callers get.',
      64,
      object('One output.', {
        name: tensorName,
        from: scalar({ kind: 'text', default: null, required: true, reason: 'STEP.OUTPUT or request.INPUT.' }),
        dtype,
        shape,
      }),
    ),
    concurrentRequests: scalar({
      kind: 'integer',
      default: '256',
      min: 1,
      max: 100_000,
      reason:
        'Requests under way per data thread; above it requests are refused at once. Each holds its tensors until it ends.',
    }),
    maxSize: scalar({
      kind: 'size',
      default: '32MiB',
      min: 1024,
      max: 2_147_483_648,
      reason:
        'Bytes one request may hold: what its caller sent and what its steps answered. Above it the request is refused. Holds a batch of eight 1024x1024 images of bytes.',
    }),
  }),
);
