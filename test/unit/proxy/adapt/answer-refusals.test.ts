/** Answers that are not adapted: those that do not fit their mapping, and those that claim more than is read. */
import t from 'tap';
import { DataType } from '../../../../proto/tensor/dtype.ts';
import { AdaptError } from '../../../../proxy/adapt/adapt-error.ts';
import { adaptGrpc, adaptRest } from '../../../../proxy/adapt/answer-adapter.ts';
import type { OutputRule } from '../../../../proxy/config/answer-policy.ts';
import { encodeMessage } from '../../../support/proto-codecs.ts';
import { changeOf, ONE, RENAME } from './answer-forms.ts';
import { HEAD } from './answer-json.ts';
import { framed, predictOf } from './answer-tensors.ts';

t.test('what does not fit the mapping is refused', async (test) => {
  const predict = framed(predictOf([ONE], false));
  const adapt = (rule: Partial<OutputRule>) => () =>
    adaptGrpc(
      'Predict',
      predict,
      predict.length,
      undefined,
      changeOf({ ...RENAME, outputs: [{ ...RENAME.outputs[0]!, ...rule }] }),
    );
  test.throws(adapt({ from: 'missing' }), AdaptError);
  test.throws(adapt({ shape: [3, -1] }), AdaptError);
  test.throws(adapt({ shape: [1, 1] }), AdaptError);
  test.throws(adapt({ dtype: DataType.STRING }), AdaptError);
  test.throws(() => adaptGrpc('Predict', predict, predict.length - 1, undefined, changeOf(RENAME)), AdaptError);
  const packed = Buffer.from(predict);
  packed[0] = 1;
  test.throws(() => adaptGrpc('Predict', packed, packed.length, 'zstd', changeOf(RENAME)), AdaptError);
  const nulls = Buffer.from('{"outputs": [null]}');
  test.throws(() => adaptRest('Predict', HEAD, nulls, nulls.length, changeOf(RENAME)), AdaptError);
});

t.test('a shape that claims more than is read is too large, and costs nothing', async (test) => {
  const huge = encodeMessage('tensorflow.serving.PredictResponse', {
    outputs: { score: { dtype: 1, tensor_shape: { dim: [{ size: 2_000_000_000 }] }, float_val: [1] } },
  });
  const mapping = { ...RENAME, outputs: [{ ...RENAME.outputs[0]!, dtype: DataType.DOUBLE }] };
  const answer = framed(huge);
  try {
    adaptGrpc('Predict', answer, answer.length, undefined, changeOf(mapping));
    test.fail('it was adapted');
  } catch (error) {
    test.equal((error as AdaptError).reason, 'too_large');
  }
});

t.test('an answer that claims many rows gets no text for each of them', async (test) => {
  const rows = encodeMessage('tensorflow.serving.PredictResponse', {
    outputs: { score: { dtype: 1, tensor_shape: { dim: [{ size: 3_000_000 }] }, float_val: [1] } },
  });
  const answer = framed(rows);
  try {
    adaptGrpc('Predict', answer, answer.length, undefined, changeOf(null, { versionOutput: 'v', versionText: 'lite' }));
    test.fail('it was adapted');
  } catch (error) {
    test.equal((error as AdaptError).reason, 'too_large');
  }
});
