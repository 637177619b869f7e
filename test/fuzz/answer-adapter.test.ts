/** No answer whatever does worse to the adapter than to be refused, and what it makes of a good one is a good one. */
import fc from 'fast-check';
import t from 'tap';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { DataType } from '../../proto/tensor/dtype.ts';
import { AdaptError } from '../../proxy/adapt/adapt-error.ts';
import {
  adaptGrpc,
  adaptInferMessage,
  adaptJson,
  adaptRest,
  MAX_ADAPTED_BYTES,
} from '../../proxy/adapt/answer-adapter.ts';
import type { AnswerChange } from '../../proxy/adapt/output-mapping.ts';
import type { OutputRule } from '../../proxy/config/answer-policy.ts';
import { parseJsonPath } from '../../proxy/config/json-path.ts';
import { decodeMessage, encodeMessage } from '../support/proto-codecs.ts';

const RUNS = { numRuns: 3000, interruptAfterTimeLimit: 1500 };
const rule: Omit<OutputRule, 'name' | 'from'> = {
  dtype: 0,
  shape: null,
  rounding: 'nearest',
  overflow: 'saturate',
  fill: null,
};
const CHANGE: AnswerChange = {
  mapping: {
    outputs: [
      { ...rule, name: 'y', from: 'x', dtype: DataType.INT32, shape: [-1] },
      { ...rule, name: 'z', from: 'z', dtype: DataType.FLOAT, shape: [-1, 2], fill: ['1'] },
    ],
    keepsOthers: true,
    soleOutput: 'x',
  },
  soleOutput: 'x',
  specName: 'm',
  versionOutput: 'v',
  versionText: 'lite',
};
/** Nothing but the model's name. */
const RENAME: AnswerChange = { mapping: null, soleOutput: '', specName: 'm', versionOutput: '', versionText: '' };
const shape = (...sizes: number[]) => ({ tensor_shape: { dim: sizes.map((size) => ({ size })) } });
const WHOLE = [
  encodeMessage('tensorflow.serving.PredictResponse', {
    outputs: {
      x: { dtype: 1, ...shape(2, 2), float_val: [1, 2, 3, 4] },
      t: { dtype: 7, ...shape(1), string_val: [Buffer.from('a')] },
    },
    model_spec: { name: 'lite', version: { value: 1 } },
  }),
  encodeMessage('inference.ModelInferResponse', {
    model_name: 'lite',
    outputs: [{ name: 'x', datatype: 'FP32', shape: ['2'], contents: { fp32_contents: [1, 2] } }],
  }),
  encodeMessage('inference.ModelInferResponse', {
    outputs: [
      { name: 'x', datatype: 'INT64', shape: ['1'] },
      { name: 's', datatype: 'BYTES', shape: ['1'] },
    ],
    raw_output_contents: [Buffer.alloc(8, 1), Buffer.from([1, 0, 0, 0, 65])],
  }),
  Buffer.from('{"predictions":[{"x":[1.5,2],"t":"a"},{"x":[3,4],"t":"b"}]}'),
  Buffer.from('{"outputs":{"x":[[1,2],[3,4]]}}'),
  Buffer.from('{"outputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1,2]}]}'),
  Buffer.from('{"a":[{"b":1},{"b":null}]}'),
];

function framed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

const HEADS = [
  HeaderList.of([':status', '200']),
  HeaderList.of([':status', '200'], ['content-encoding', 'gzip']),
  HeaderList.of([':status', '200'], ['inference-header-content-length', '20']),
];
const PATHS = [{ path: parseJsonPath('a[].b')!, from: '', cast: 'integer', fill: '7', drop: false } as const];

/** Bytes of an answer with some of them changed, cut, or doubled; or any bytes. */
const bytes = fc.oneof(
  fc
    .tuple(fc.constantFrom(...WHOLE), fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { maxLength: 4 }), fc.nat(300))
    .map(([whole, changes, cut]) => {
      const copy = Buffer.from(whole);
      for (const [at, byte] of changes) copy[at % copy.length] = byte;
      return cut % 3 === 0 ? copy.subarray(0, cut % copy.length) : cut % 7 === 0 ? Buffer.concat([copy, copy]) : copy;
    }),
  fc.uint8Array({ maxLength: 300 }).map((any) => Buffer.from(any)),
);

/** Decodes what was made of an answer; what an independent codec cannot read it could not read before either. */
function check(type: string, adapted: Buffer, original: Buffer): void {
  try {
    decodeMessage(type, adapted);
  } catch (error) {
    try {
      decodeMessage(type, original);
    } catch {
      return;
    }
    throw error;
  }
}

t.test('whatever bytes an answer has, it is adapted or refused', async () => {
  fc.assert(
    fc.property(
      bytes,
      fc.nat(6),
      fc.constantFrom(...HEADS),
      fc.boolean(),
      fc.constantFrom(CHANGE, RENAME),
      (body, way, head, packed, change) => {
        try {
          const frame = framed(body);
          if (packed) frame[0] = 1;
          if (way === 0)
            check(
              'tensorflow.serving.PredictResponse',
              adaptGrpc('Predict', frame, frame.length, 'gzip', change).subarray(5),
              body,
            );
          if (way === 1)
            check(
              'inference.ModelInferResponse',
              adaptGrpc('ModelInfer', frame, frame.length, 'deflate', change).subarray(5),
              body,
            );
          if (way === 2) adaptGrpc(packed ? 'MultiInference' : 'Classify', frame, frame.length, undefined, change);
          if (way === 3) check('inference.ModelInferResponse', adaptInferMessage(body, 0, body.length, change), body);
          if (way === 4) adaptRest('Predict', head, body, body.length, change);
          if (way === 5) adaptRest('infer', head, body, body.length, change);
          if (way === 6) JSON.parse(adaptJson(head, body, body.length, PATHS, 'v', 'lite').body.toString());
          return true;
        } catch (error) {
          if (error instanceof AdaptError) return true;
          throw error;
        }
      },
    ),
    RUNS,
  );
});

t.test('an answer of more bytes than are adapted is refused unread', async (test) => {
  const large = Buffer.alloc(MAX_ADAPTED_BYTES + 6);
  large.writeUInt32BE(large.length - 5, 1);
  for (const adapt of [
    () => adaptGrpc('Predict', large, large.length, undefined, CHANGE),
    () => adaptRest('Predict', HEADS[0]!, large, large.length, CHANGE),
    () => adaptInferMessage(large, 0, large.length, CHANGE),
  ]) {
    try {
      adapt();
      test.fail('it was adapted');
    } catch (error) {
      test.equal((error as AdaptError).reason, 'too_large');
    }
  }
});
