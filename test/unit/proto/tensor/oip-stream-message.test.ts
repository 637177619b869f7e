/** Messages of ModelStreamInfer, written and read against the independent codec. */
import fc from 'fast-check';
import t from 'tap';
import {
  StreamAnswerView,
  streamErrorAnswer,
  streamRequestId,
  withAnswerParameters,
} from '../../../../proto/tensor/oip-stream-message.ts';
import { WireError } from '../../../../proto/tensor/wire-error.ts';
import { runs } from '../../../support/fuzz-runs.ts';
import { decodeMessage, encodeMessage } from '../../../support/proto-codecs.ts';

const ANSWER = 'inference.ModelStreamInferResponse';
const view = new StreamAnswerView();
const text = fc.string({ maxLength: 300 });

t.test('the id of a request is found wherever it stands, and nothing else is taken for it', async (test) => {
  fc.assert(
    fc.property(text, text, (id, name) => {
      const bytes = encodeMessage('inference.ModelInferRequest', {
        model_name: name,
        id,
        inputs: [{ name: 'x', datatype: 'FP32', shape: [1], contents: { fp32_contents: [1] } }],
        raw_input_contents: [Buffer.from('\x1a\x03abc')],
      });
      return streamRequestId(bytes, 0, bytes.length) === id;
    }),
    { numRuns: runs(100) },
  );
  const cut = encodeMessage('inference.ModelInferRequest', { id: 'abc' }).subarray(0, 3);
  test.equal(streamRequestId(cut, 0, cut.length), '');
});

t.test('an error of ours is read by others, with its id and parameters', async (test) => {
  fc.assert(
    fc.property(text, text, (message, id) => {
      const framed = streamErrorAnswer(message, id, ['grpc_status', 'x-understudy-reason'], ['14', 'why']);
      const answer = decodeMessage(ANSWER, framed.subarray(5));
      view.read(framed, 5, framed.length);
      const { parameters } = answer.infer_response;
      return (
        framed.readUInt32BE(1) === framed.length - 5 &&
        answer.error_message === message &&
        answer.infer_response.id === id &&
        parameters['grpc_status'].string_param === '14' &&
        view.errorMessage === message &&
        view.id === id &&
        view.status === 14 &&
        view.reason === 'why'
      );
    }),
    { numRuns: runs(100) },
  );
  test.same(decodeMessage(ANSWER, streamErrorAnswer('m', '', [], []).subarray(5)).infer_response, null);
});

t.test('parameters are added to an answer, and everything else of it stays', async (test) => {
  const response = {
    model_name: 'm',
    model_version: '3',
    id: 'one',
    parameters: { kept: { int64_param: '7' } },
    outputs: [{ name: 'y', datatype: 'FP32', shape: ['1', '300'] }],
    raw_output_contents: [Buffer.alloc(1200, 1)],
  };
  for (const before of [{ infer_response: response }, {}, { error_message: 'no' }]) {
    const bytes = Buffer.concat([Buffer.from('xx'), encodeMessage(ANSWER, before)]);
    view.read(bytes, 2, bytes.length);
    const framed = withAnswerParameters(bytes, 2, bytes.length, view, ['a', 'b'], ['1', 'two']);
    const after = decodeMessage(ANSWER, framed.subarray(5));
    const plain = decodeMessage(ANSWER, encodeMessage(ANSWER, before));
    test.match(after.infer_response.parameters, { a: { string_param: '1' }, b: { string_param: 'two' } });
    delete after.infer_response.parameters['a'];
    delete after.infer_response.parameters['b'];
    if (plain.infer_response === null) test.equal(after.error_message, plain.error_message);
    else test.strictSame(after, plain);
  }
});

t.test('any bytes are read or refused, never more', async (test) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        view.read(Buffer.from(bytes), 0, bytes.length);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
      }
      return view.responseStart <= view.responseEnd && view.responseEnd <= bytes.length;
    }),
    { numRuns: runs(500) },
  );
  test.pass();
});
