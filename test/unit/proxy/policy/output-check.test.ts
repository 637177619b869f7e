import fc from 'fast-check';
import t from 'tap';
import { isBadPredictResponse } from '../../../../proxy/policy/output-check.ts';
import { runs } from '../../../support/fuzz-runs.ts';
import { encodeMessage } from '../../../support/proto-codecs.ts';

function encoded(message: object): Buffer {
  return encodeMessage('tensorflow.serving.PredictResponse', message);
}

function check(outputs: object): boolean {
  const answer = encoded({ outputs });
  return isBadPredictResponse(answer, 0, answer.length);
}

const shape = (size: number) => ({ dim: [{ size }] });

t.test('one NaN or infinity among the floats makes an answer bad, in either encoding', async (t) => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const values = [1, 2, bad, 4];
    t.ok(check({ s: { dtype: 1, tensor_shape: shape(4), float_val: values } }), `float_val ${bad}`);
    t.ok(check({ s: { dtype: 2, tensor_shape: shape(4), double_val: values } }), `double_val ${bad}`);
    const floats = Buffer.from(Float32Array.from(values).buffer);
    const doubles = Buffer.from(Float64Array.from(values).buffer);
    t.ok(check({ s: { dtype: 1, tensor_shape: shape(4), tensor_content: floats } }), `float content ${bad}`);
    t.ok(check({ s: { dtype: 2, tensor_shape: shape(4), tensor_content: doubles } }), `double content ${bad}`);
  }
});

t.test('finite numbers, integers and texts are good', async (t) => {
  t.notOk(check({ s: { dtype: 1, tensor_shape: shape(3), float_val: [0, -1.5e38, 3.4e38] } }));
  t.notOk(check({ s: { dtype: 9, tensor_shape: shape(1), int64_val: ['9223372036854775807'] } }));
  t.notOk(check({ s: { dtype: 7, tensor_shape: shape(1), string_val: [Buffer.from('NaN')] } }));
  t.notOk(check({}));
});

t.test('what cannot be read, or is cut, is bad', async (t) => {
  const answer = encoded({ outputs: { s: { dtype: 1, tensor_shape: shape(1), float_val: [1] } } });
  for (let cut = 1; cut < answer.length; cut++) t.ok(isBadPredictResponse(answer, 0, cut), `${cut} bytes`);
  t.ok(isBadPredictResponse(Buffer.from([0xff, 0xff]), 0, 2));
});

t.test('the verdict is what the numbers say, whatever they are', async () => {
  fc.assert(
    fc.property(fc.array(fc.float(), { minLength: 1, maxLength: 20 }), (values) => {
      const bad = values.some((value) => !Number.isFinite(value));
      const list = check({ s: { dtype: 1, tensor_shape: shape(values.length), float_val: values } });
      const content = Buffer.from(Float32Array.from(values).buffer);
      const raw = check({ s: { dtype: 1, tensor_shape: shape(values.length), tensor_content: content } });
      return list === bad && raw === bad;
    }),
  );
});

t.test('no bytes make it throw', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const buffer = Buffer.from(bytes);
      isBadPredictResponse(buffer, 0, buffer.length);
    }),
    { numRuns: runs(2000) },
  );
});
