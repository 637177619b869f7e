/** Classify, Regress and MultiInference through grpc-js, a signature file and onnxruntime. */
import { writeFileSync } from 'node:fs';
import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { ModelFolder } from '../../../support/model-folder.ts';
import { OnnxModel } from '../../../support/onnx-writer.ts';
import { configured, type RepositoryFront, serveRepository } from '../../../support/repository-front.ts';
import { type Message, modelSpec } from '../../../support/tfs-client.ts';

const PREDICTION = 'tensorflow.serving.PredictionService';
const CLASSIFY = 'tensorflow/serving/classify';
const REGRESS = 'tensorflow/serving/regress';

/** scores = x doubled [batch, 2]; total = their sum [batch, 1]; kinds = k as it came [batch, 2]. */
function model(): Buffer {
  return new OnnxModel('heads')
    .input('x', 'float32', ['batch', 2])
    .input('k', 'string', ['batch', 2])
    .output('y', 'float32', ['batch', 2])
    .output('total', 'float32', ['batch', 1])
    .output('kinds', 'string', ['batch', 2])
    .initializer('one', 'int64', [1], [1])
    .node('Add', ['x', 'x'], ['y'])
    .node('ReduceSum', ['y', 'one'], ['total'], { keepdims: 1 })
    .node('Identity', ['k'], ['kinds'])
    .build();
}

const SIGNATURES = `
signatures:
  flowers:
    method: classify
    outputs: { scores: y }
    features: { x: [length, width], k: kind }
    defaults: { x: [7, 8], k: [a, b] }
    labels: [rose, lily]
  kinds:
    method: ${CLASSIFY}
    outputs: { scores: y, classes: kinds }
    features: { x: [length, width], k: kind }
    defaults: { x: [7, 8], k: [a, b] }
  price:
    method: regress
    outputs: { outputs: total }
    features: { x: [length, width], k: kind }
    defaults: { x: [7, 8], k: [a, b] }
  other_inputs:
    method: regress
    outputs: { outputs: total }
    features: { x: both }
  renamed:
    inputs: { features: x, words: k }
    outputs: { sum: total, double: y }
`;

async function serve(t: Test, signatures = SIGNATURES): Promise<RepositoryFront> {
  const folder = new ModelFolder();
  folder.put('m', 1, model());
  folder.put('plain', 1, model());
  if (signatures !== '') writeFileSync(folder.at('m', '1', 'signatures.yaml'), signatures);
  return await serveRepository(t, folder, [configured(folder, 'm'), configured(folder, 'plain')]);
}

const floats = (...value: number[]) => ({ float_list: { value } });
const words = (...value: string[]) => ({ bytes_list: { value: value.map((text) => Buffer.from(text)) } });
const example = (feature: object) => ({ features: { feature } });
const flower = (length: number, width: number) =>
  example({ length: floats(length), width: floats(width), kind: words('p', 'q') });
const list = (...examples: object[]) => ({ example_list: { examples } });
const spec = (signature_name: string) => ({ name: 'm', signature_name });

t.test('Classify answers each example with its classes, from labels or from an output', async (t) => {
  const { client } = await serve(t);
  const input = list(flower(1, 2), flower(3, 4));
  const reply = await client.unary(PREDICTION, 'Classify', { model_spec: spec('flowers'), input });
  t.same(
    reply.result.classifications.map(({ classes }: Message) => classes),
    [
      [
        { label: 'rose', score: 2 },
        { label: 'lily', score: 4 },
      ],
      [
        { label: 'rose', score: 6 },
        { label: 'lily', score: 8 },
      ],
    ],
  );
  t.match(reply.model_spec, { name: 'm', version: { value: '1' }, signature_name: 'flowers' });
  const kinds = await client.unary(PREDICTION, 'Classify', { model_spec: spec('kinds'), input: list(flower(1, 2)) });
  t.same(kinds.result.classifications[0].classes, [
    { label: 'p', score: 2 },
    { label: 'q', score: 4 },
  ]);
});

t.test('Regress answers each example with its value', async (t) => {
  const { client } = await serve(t);
  const input = list(flower(1, 2), flower(3, 4.5));
  const reply = await client.unary(PREDICTION, 'Regress', { model_spec: spec('price'), input });
  t.same(reply.result.regressions, [{ value: 6 }, { value: 15 }]);
});

t.test('MultiInference answers every task from one run', async (t) => {
  const { client } = await serve(t);
  const tasks = [
    { model_spec: spec('price'), method_name: REGRESS },
    { model_spec: spec('flowers'), method_name: CLASSIFY },
  ];
  const { results } = await client.unary(PREDICTION, 'MultiInference', { tasks, input: list(flower(1, 2)) });
  t.same(results[0].regression_result.regressions, [{ value: 6 }]);
  t.same(
    results[1].classification_result.classifications[0].classes.map(({ label }: Message) => label),
    ['rose', 'lily'],
  );
  t.match(results[1].model_spec, { name: 'm', version: { value: '1' }, signature_name: 'flowers' });
});

t.test('a context fills in what examples lack, defaults what both lack, integers pass as floats', async (t) => {
  const { client } = await serve(t);
  const ask = async (input: object) =>
    (await client.unary(PREDICTION, 'Regress', { model_spec: spec('price'), input })).result.regressions[0].value;
  const context = example({ length: floats(10), width: floats(20) });
  const withContext = { example_list_with_context: { context, examples: [example({ width: floats(1) })] } };
  t.equal(await ask(withContext), 22);
  t.equal(await ask(list(example({}))), 30, 'the default row');
  t.equal(await ask(list(example({ length: floats(1) }))), 18, 'the default of one feature');
  t.equal(await ask(list(example({ length: { int64_list: { value: [1] } }, width: floats(0) }))), 2);
});

t.test('a signature renames inputs and picks outputs for Predict', async (t) => {
  const { client } = await serve(t);
  const shape = { dim: [{ size: 1 }, { size: 2 }] };
  const inputs = {
    words: { dtype: 7, tensor_shape: shape, string_val: [Buffer.from('w')] },
    features: { dtype: 1, tensor_shape: shape, float_val: [1, 2] },
  };
  const { outputs } = await client.predict({ model_spec: spec('renamed'), inputs });
  t.same(Object.keys(outputs).sort(), ['double', 'sum']);
  t.same([outputs.sum.float_val, outputs.double.float_val], [[6], [2, 4]]);
  const only = await client.predict({ model_spec: spec('renamed'), inputs, output_filter: ['double'] });
  t.same(Object.keys(only.outputs), ['double']);
  const graphNames = { x: inputs.features, k: inputs.words };
  const refused = await client.predict({ model_spec: spec('renamed'), inputs: graphNames }).catch((cause) => cause);
  t.match(refused.details, /^Signature input alias: features\(feed name: features:0\) not found in request/);
});

t.test('refusals of Classify, Regress and MultiInference have the codes and texts of TensorFlow Serving', async (t) => {
  const { client } = await serve(t);
  const input = list(flower(1, 2));
  const invalid = status.INVALID_ARGUMENT;
  const task = (signature: string, method_name: string, name = 'm') => ({
    model_spec: { name, signature_name: signature },
    method_name,
  });
  const cases: [string, object, number, string][] = [
    ['Classify', { input }, invalid, 'Missing ModelSpec'],
    ['Classify', { model_spec: {}, input }, invalid, 'ModelSpec has no name specified.'],
    ['Regress', { model_spec: modelSpec('n'), input }, status.NOT_FOUND, 'Servable not found for request: Latest(n)'],
    ['Classify', { model_spec: spec('s'), input }, invalid, 'No signature was found with the name: s'],
    ['Regress', { model_spec: spec('s'), input }, invalid, 'No signature was found with the name: s'],
    ['Classify', { model_spec: spec('flowers') }, invalid, 'Input is empty.'],
    ['Classify', { model_spec: spec('flowers'), input: list() }, invalid, 'Input is empty.'],
    [
      'Regress',
      { model_spec: spec('flowers'), input },
      invalid,
      `Expected regression signature method_name to be ${REGRESS}. Was: ${CLASSIFY}`,
    ],
    [
      'Classify',
      { model_spec: modelSpec('m'), input },
      invalid,
      `Expected classification signature method_name to be ${CLASSIFY}. Was: tensorflow/serving/predict`,
    ],
    [
      'Classify',
      { model_spec: modelSpec('plain'), input },
      status.UNIMPLEMENTED,
      'model plain version 1 takes Predict only: no signatures.yaml says how a tf.Example becomes its inputs',
    ],
    [
      'Regress',
      { model_spec: spec('other_inputs'), input },
      invalid,
      'Name: <unknown>, Feature: both (data type: float) is required but could not be found.',
    ],
    [
      'Classify',
      { model_spec: spec('flowers'), input: list(example({ length: floats(1, 2, 3), width: floats(1) })) },
      invalid,
      'Name: <unknown>, Key: length,width, Index: 0.  Number of float values != expected.  ' +
        'values size: 4 but output shape: [2]',
    ],
    [
      'Classify',
      { model_spec: spec('flowers'), input: list(example({ length: words('x'), width: floats(1) })) },
      invalid,
      "Name: <unknown>, Key: length,width, Index: 0.  Data types don't match. Data type: string but expected type: float",
    ],
    ['MultiInference', { tasks: [], input }, invalid, 'ModelSpec has no name specified.'],
    [
      'MultiInference',
      { tasks: [task('s', CLASSIFY)], input },
      invalid,
      'Requested signature not found in model graph: s',
    ],
    [
      'MultiInference',
      { tasks: [task('price', REGRESS), task('price', REGRESS)], input },
      invalid,
      'Duplicate evaluation of signature: price',
    ],
    [
      'MultiInference',
      { tasks: [task('price', REGRESS), task('price', REGRESS, 'plain')], input },
      invalid,
      'All ModelSpecs in a MultiInferenceRequest must access the same model name.',
    ],
    [
      'MultiInference',
      { tasks: [task('price', REGRESS), task('other_inputs', REGRESS)], input },
      invalid,
      'Input tensor must be the same for all Signatures.',
    ],
    [
      'MultiInference',
      { tasks: [task('price', 'tensorflow/serving/predict')], input },
      status.UNIMPLEMENTED,
      'Unsupported signature method_name: tensorflow/serving/predict',
    ],
    ['MultiInference', { tasks: [task('price', REGRESS)] }, invalid, 'Input is empty.'],
  ];
  for (const [method, request, code, details] of cases) {
    await t.rejects(client.unary(PREDICTION, method, request), { code, details }, `${method}: ${details}`);
  }
});

t.test('a signature file that does not fit the graph refuses the version, with every reason', async (t) => {
  const { repository } = await serve(
    t,
    `signatures:
       a: { inputs: { f: nothing }, outputs: { o: nowhere } }
       b: { method: classify }`,
  );
  const [version] = repository.statusOf('m')!;
  t.equal(version?.state, 'END');
  t.match(version?.error?.message, /the graph has no input nothing, only x, k/);
  t.match(version?.error?.message, /the graph has no output nowhere, only y, total, kinds/);
  t.match(version?.error?.message, /signature b: classify needs an output scores or classes/);
  t.equal(repository.statusOf('plain')?.[0]?.state, 'AVAILABLE');
});
