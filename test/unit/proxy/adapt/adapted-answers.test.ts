/** What an adapted answer says besides its numbers: model spec, forms of tensors, encodings, and names where it gave none. */
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { DataType } from '../../../../proto/tensor/dtype.ts';
import { adaptGrpc, adaptRest, changes } from '../../../../proxy/adapt/answer-adapter.ts';
import { decodeMessage, encodeMessage } from '../../../support/proto-codecs.ts';
import { changeOf, KEEP, ONE, RENAME } from './answer-forms.ts';
import { columnsOf, HEAD, inferJsonOf, parse } from './answer-json.ts';
import { framed, inferOf, ofPredict, predictOf } from './answer-tensors.ts';

t.test('the model spec keeps the name that was asked for, and has no version of another model', async (test) => {
  const change = changeOf(null, { specName: 'credit-risk' });
  const predict = framed(predictOf([ONE], false));
  const spec = decodeMessage(
    'tensorflow.serving.PredictResponse',
    adaptGrpc('Predict', predict, predict.length, undefined, change).subarray(5),
  );
  test.match(spec.model_spec, { name: 'credit-risk', version: null, signature_name: 'sig' });
  const infer = framed(inferOf([ONE], true));
  const message = decodeMessage(
    'inference.ModelInferResponse',
    adaptGrpc('ModelInfer', infer, infer.length, undefined, change).subarray(5),
  );
  test.match(message, { model_name: 'credit-risk', model_version: '', id: 'request-1' });
  test.equal(message.parameters.hint.string_param, 'kept');
  test.equal(message.outputs[0].parameters.of.string_param, 'score');
  const [body, head] = inferJsonOf([ONE], false);
  const rest = parse(adaptRest('infer', head, body, body.length, change).body);
  test.match(rest, { model_name: 'credit-risk', id: 'request-1' });
  test.equal(rest.model_version, undefined);
  const classify = encodeMessage('tensorflow.serving.ClassificationResponse', {
    result: { classifications: [{ classes: [{ label: 'a', score: 1 }] }] },
    model_spec: { name: 'lite', version: { value: 7 } },
  });
  test.ok(changes('Classify', false, change));
  const scored = adaptGrpc('Classify', framed(classify), classify.length + 5, undefined, change).subarray(5);
  const { model_spec, result } = decodeMessage('tensorflow.serving.ClassificationResponse', scored);
  test.match(model_spec, { name: 'credit-risk', version: null });
  test.equal(result.classifications[0].classes[0].label, 'a');
  const multi = encodeMessage('tensorflow.serving.MultiInferenceResponse', {
    results: [
      {
        model_spec: { name: 'lite', version: { value: 7 }, signature_name: 'a' },
        regression_result: { regressions: [{ value: 2 }] },
      },
      { model_spec: { name: 'lite', version: { value: 7 }, signature_name: 'b' } },
    ],
  });
  test.ok(changes('MultiInference', false, change));
  const renamed = adaptGrpc('MultiInference', framed(multi), multi.length + 5, undefined, change).subarray(5);
  const { results } = decodeMessage('tensorflow.serving.MultiInferenceResponse', renamed);
  test.match(results, [
    {
      model_spec: { name: 'credit-risk', version: null, signature_name: 'a' },
      regression_result: { regressions: [{ value: 2 }] },
    },
    { model_spec: { name: 'credit-risk', version: null, signature_name: 'b' } },
  ]);
});

t.test('a cast to 16-bit floats makes the whole answer raw, since they have no typed contents', async (test) => {
  const mapping = {
    inputs: [],
    outputs: [{ ...KEEP, name: 'score', from: 'score', dtype: DataType.HALF }],
    keepsOthers: true,
    soleOutput: '',
  };
  const infer = framed(inferOf([ONE, { ...ONE, name: 'other' }], false));
  const message = decodeMessage(
    'inference.ModelInferResponse',
    adaptGrpc('ModelInfer', infer, infer.length, undefined, changeOf(mapping)).subarray(5),
  );
  test.strictSame(Array.from(new Float16Array(new Uint8Array(message.raw_output_contents[0]).buffer)), [0.25, 0.5]);
  test.strictSame(Array.from(new Float32Array(new Uint8Array(message.raw_output_contents[1]).buffer)), [0.25, 0.5]);
});

t.test('compressed answers are inflated, and go on uncompressed', async (test) => {
  const message = predictOf([ONE], false);
  const packed = framed(gzipSync(message));
  packed[0] = 1;
  const out = adaptGrpc('Predict', packed, packed.length, 'gzip', changeOf(RENAME));
  test.equal(out[0], 0);
  test.equal(ofPredict(out.subarray(5))[0]!.name, 'risk');
  const head = HeaderList.of(
    [':status', '200'],
    ['content-encoding', 'gzip'],
    ['content-length', '1'],
    ['x-other', 'kept'],
    ['etag', '"a"'],
  );
  const body = gzipSync(columnsOf([ONE, { ...ONE, name: 'b' }]));
  const rest = adaptRest('Predict', head, body, body.length, changeOf({ ...RENAME, keepsOthers: true }));
  test.strictSame(parse(rest.body), { outputs: { risk: [[0.25], [0.5]], b: [[0.25], [0.5]] } });
  test.strictSame(rest.head.names, [':status', 'x-other', 'content-length']);
  test.equal(rest.head.get('content-length'), String(rest.body.length));
});

t.test('an output without a name is the one the mapping is about', async (test) => {
  const body = Buffer.from('{"predictions": [[0.25], [0.5]]}');
  const fill = { ...KEEP, name: 'label', from: 'label', dtype: DataType.STRING, shape: [-1], fill: ['review'] };
  const rest = adaptRest(
    'Predict',
    HEAD,
    body,
    body.length,
    changeOf({ ...RENAME, outputs: [...RENAME.outputs, fill] }),
  );
  test.strictSame(parse(rest.body).predictions, [
    { risk: [0.25], label: 'review' },
    { risk: [0.5], label: 'review' },
  ]);
  const alone = adaptRest('Predict', HEAD, body, body.length, changeOf(RENAME));
  test.strictSame(parse(alone.body).predictions, [[0.25], [0.5]], 'and still needs none where it stays alone');
});
