/** The forms that an answer travels in, and what is to be changed about it. */
import { adaptGrpc, adaptInferMessage, adaptRest } from '../../../../proxy/adapt/answer-adapter.ts';
import type { AnswerChange } from '../../../../proxy/adapt/output-mapping.ts';
import type { OutputMapping, OutputRule } from '../../../../proxy/config/answer-policy.ts';
import { columnsOf, HEAD, inferJsonOf, ofColumns, ofInferJson, ofRows, rowsOf } from './answer-json.ts';
import { framed, inferOf, type Output, ofInfer, ofPredict, predictOf } from './answer-tensors.ts';

/** A form that an answer travels in. */
export interface Form {
  readonly name: string;
  /** Whether the form says the type of its elements. */
  readonly typed: boolean;
  readonly adapt: (outputs: readonly Output[], change: AnswerChange) => Output[];
}

function overGrpc(
  name: string,
  method: string,
  encode: (outputs: readonly Output[]) => Buffer,
  decode: (bytes: Buffer) => Output[],
): Form {
  return {
    name,
    typed: true,
    adapt: (outputs, change) => {
      const answer = framed(encode(outputs));
      return decode(adaptGrpc(method, answer, answer.length, undefined, change).subarray(5));
    },
  };
}

function overRest(
  name: string,
  encode: (outputs: readonly Output[]) => Buffer,
  decode: (bytes: Buffer) => Output[],
): Form {
  return {
    name,
    typed: false,
    adapt: (outputs, change) => {
      const body = encode(outputs);
      return decode(adaptRest('Predict', HEAD, body, body.length, change).body);
    },
  };
}

export const FORMS: readonly Form[] = [
  overGrpc('Predict, values', 'Predict', (outputs) => predictOf(outputs, false), ofPredict),
  overGrpc('Predict, content', 'Predict', (outputs) => predictOf(outputs, true), ofPredict),
  overGrpc('ModelInfer, typed', 'ModelInfer', (outputs) => inferOf(outputs, false), ofInfer),
  overGrpc('ModelInfer, raw', 'ModelInfer', (outputs) => inferOf(outputs, true), ofInfer),
  overRest('REST rows', rowsOf, ofRows),
  overRest('REST columns', columnsOf, ofColumns),
  ...[false, true].map(
    (binary): Form => ({
      name: binary ? 'REST infer, binary' : 'REST infer',
      typed: true,
      adapt: (outputs, change) => {
        const [body, head] = inferJsonOf(outputs, binary);
        const adapted = adaptRest('infer', head, body, body.length, change);
        return ofInferJson(adapted.head, adapted.body);
      },
    }),
  ),
  {
    name: 'a message of a stream',
    typed: true,
    adapt: (outputs, change) => {
      const message = inferOf(outputs, true);
      return ofInfer(adaptInferMessage(message, 0, message.length, change));
    },
  },
];

/** A rule that changes nothing but what is said beside it. */
export const KEEP: Omit<OutputRule, 'name' | 'from'> = {
  dtype: 0,
  shape: null,
  rounding: 'nearest',
  overflow: 'saturate',
  fill: null,
};

/** What to change: the mapping alone, unless `more` says more. */
export function changeOf(mapping: OutputMapping | null, more: Partial<AnswerChange> = {}): AnswerChange {
  return { mapping, soleOutput: mapping?.soleOutput ?? '', specName: '', versionOutput: '', versionText: '', ...more };
}

/** The answer of one small output. */
export const ONE: Output = { name: 'score', type: 'FP32', dims: [2, 1], values: [0.25, 0.5] };

/** Gives that output another name. */
export const RENAME: OutputMapping = {
  inputs: [],
  outputs: [{ ...KEEP, name: 'risk', from: 'score' }],
  keepsOthers: false,
  soleOutput: 'score',
};
