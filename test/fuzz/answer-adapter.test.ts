/** No answer whatever does worse to the adapter than to be refused, and what it makes of a good one is a good one. */
import fc from 'fast-check';
import t from 'tap';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { DataType } from '../../proto/tensor/dtype.ts';
import { checkDocument, JsonScanner } from '../../proto/tensor/json-scanner.ts';
import { OipInferRequest, parseInferRequest, parseInferResponse } from '../../proto/tensor/oip-infer-request.ts';
import {
  PredictRequestView,
  PredictResponseView,
  parsePredictRequest,
  parsePredictResponse,
} from '../../proto/tensor/tensor-view.ts';
import { AdaptError } from '../../proxy/adapt/adapt-error.ts';
import {
  adaptGrpc,
  adaptInferMessage,
  adaptJson,
  adaptRest,
  MAX_ADAPTED_BYTES,
} from '../../proxy/adapt/answer-adapter.ts';
import type { AnswerChange } from '../../proxy/adapt/output-mapping.ts';
import { editGrpc, editRest } from '../../proxy/adapt/request-edit.ts';
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
    inputs: [],
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

const predict = new PredictRequestView();
const infer = new OipInferRequest();
const response = new PredictResponseView();

/** What could be read before can be read afterwards; protobufjs minds wire types too little to say so of spoilt bytes. */
function checkParsed(parse: (bytes: Buffer) => void, edited: Buffer, original: Buffer): void {
  try {
    parse(original);
  } catch {
    return;
  }
  parse(edited);
}

/** By message type. */
const PARSERS: Record<string, (bytes: Buffer) => void> = {
  PredictResponse: (bytes) => parsePredictResponse(response, bytes, 0, bytes.length),
  ModelInferResponse: (bytes) => parseInferResponse(infer, bytes, 0, bytes.length),
};

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
            checkParsed(
              PARSERS['PredictResponse']!,
              adaptGrpc('Predict', frame, frame.length, 'gzip', change).subarray(5),
              body,
            );
          if (way === 1)
            checkParsed(
              PARSERS['ModelInferResponse']!,
              adaptGrpc('ModelInfer', frame, frame.length, 'deflate', change).subarray(5),
              body,
            );
          if (way === 2) adaptGrpc(packed ? 'MultiInference' : 'Classify', frame, frame.length, undefined, change);
          if (way === 3)
            checkParsed(PARSERS['ModelInferResponse']!, adaptInferMessage(body, 0, body.length, change), body);
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

const EDIT = { inputs: [{ name: 'features', from: 'x' }], model: 'lite', version: '7' };
const REQUESTS = [
  encodeMessage('tensorflow.serving.PredictRequest', {
    model_spec: { name: 'm', version: { value: 3 }, signature_name: 's' },
    inputs: { x: { dtype: 1, ...shape(1), float_val: [1] }, z: { dtype: 1, ...shape(1), float_val: [2] } },
    output_filter: ['y'],
  }),
  encodeMessage('inference.ModelInferRequest', {
    model_name: 'm',
    id: 'q',
    inputs: [{ name: 'x', datatype: 'FP32', shape: ['1'] }],
    outputs: [{ name: 'y' }],
    raw_input_contents: [Buffer.alloc(4)],
  }),
  Buffer.from('{"signature_name":"s","instances":[{"x":[1],"z":2},3]}'),
  Buffer.from('{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}],"outputs":[{"name":"y"}]}'),
];
const requests = fc.oneof(
  fc
    .tuple(fc.constantFrom(...REQUESTS), fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { maxLength: 3 }))
    .map(([whole, changes]) => {
      const copy = Buffer.from(whole);
      for (const [at, byte] of changes) copy[at % copy.length] = byte;
      return copy;
    }),
  fc.uint8Array({ maxLength: 200 }).map((any) => Buffer.from(any)),
);

t.test('whatever bytes a request has, it is edited, left alone or refused', async () => {
  fc.assert(
    fc.property(requests, fc.nat(3), fc.constantFrom(...HEADS), (body, way, head) => {
      const frame = framed(body);
      try {
        if (way === 0) {
          const edited = editGrpc('Predict', frame, frame.length, '', EDIT);
          if (edited !== null)
            checkParsed((bytes) => parsePredictRequest(predict, bytes, 0, bytes.length), edited.subarray(5), body);
        } else if (way === 1) {
          const edited = editGrpc('ModelInfer', frame, frame.length, '', EDIT);
          if (edited !== null)
            checkParsed((bytes) => parseInferRequest(infer, bytes, 0, bytes.length), edited.subarray(5), body);
        } else {
          const edited = editRest(way === 2 ? 'Predict' : 'infer', head, body, body.length, EDIT);
          if (edited !== null) checkDocument(new JsonScanner(), edited.body, 0, edited.jsonBytes);
        }
        return true;
      } catch (error) {
        if (error instanceof AdaptError) return true;
        throw error;
      }
    }),
    RUNS,
  );
});

t.test('an edited request differs by what was asked for and nothing else', async (test) => {
  const edit = (method: string, bytes: Buffer) =>
    editGrpc(method, framed(bytes), bytes.length + 5, '', EDIT)!.subarray(5);
  test.match(decodeMessage('tensorflow.serving.PredictRequest', edit('Predict', REQUESTS[0]!)), {
    model_spec: { name: 'lite', version: { value: '7' }, signature_name: 's' },
    inputs: { features: { dtype: 1, float_val: [1] }, z: { float_val: [2] } },
    output_filter: [],
  });
  const infer = decodeMessage('inference.ModelInferRequest', edit('ModelInfer', REQUESTS[1]!));
  test.match(infer, {
    model_name: 'lite',
    model_version: '7',
    id: 'q',
    outputs: [],
    inputs: [{ name: 'features', datatype: 'FP32' }],
  });
  test.equal(infer.raw_input_contents.length, 1);
  const rest = (method: string, bytes: Buffer) =>
    editRest(method, HEADS[0]!, bytes, bytes.length, EDIT)!.body.toString();
  test.equal(rest('Predict', REQUESTS[2]!), '{"signature_name":"s","instances":[{"features":[1],"z":2},3]}');
  test.equal(rest('infer', REQUESTS[3]!), '{"inputs":[{"name":"features","datatype":"FP32","shape":[1],"data":[1]}]}');
  const plain = Buffer.from('{"instances":[{"z":1.0}]}');
  test.equal(editRest('Predict', HEADS[0]!, plain, plain.length, EDIT), null, 'what has no such input goes as it came');
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
