/** What a request may look like, and the words in which others are refused (WIRE.md section 1). */
import t from 'tap';
import { RequestBinder } from '../../../../inference-worker/batching/request-binder.ts';
import { float32, parsed, predictRequest, type TestTensor } from '../../../support/predict-tasks.ts';

const AGE_INCOME = {
  name: 'serving_default',
  methodName: 'tensorflow/serving/predict',
  inputs: [
    { name: 'income', dtype: 1, ortType: 'float32', shape: [-1, 2] },
    { name: 'age', dtype: 9, ortType: 'int64', shape: [-1] },
  ],
  outputs: [{ name: 'y', dtype: 1, ortType: 'float32', shape: [-1, 1] }],
};
const ages = (...values: number[]): TestTensor => ({
  type: 'int64',
  dims: [values.length],
  data: BigInt64Array.from(values, BigInt),
});

function bind(inputs: Record<string, TestTensor>, batchable = true, maxBatchSize = 4) {
  const binder = new RequestBinder(AGE_INCOME, batchable, maxBatchSize);
  const { view, buf } = predictRequest(inputs);
  return { refusal: binder.bind(view, buf), binder, view };
}

t.test('inputs are found by name, in any order', async (t) => {
  const { refusal, binder } = bind({ age: ages(1, 2), income: float32([2, 2], [1, 2, 3, 4]) });
  t.equal(refusal, null);
  t.equal(binder.rows, 2);
  t.same(
    binder.tensors.map(({ dtype }) => dtype),
    [1, 9],
  );
});

const REFUSALS: [string, Record<string, TestTensor>, string][] = [
  [
    'a missing input',
    { income: float32([1, 2], [1, 2]) },
    'input size does not match signature: 1!=2 len({income}) != len({age,income}). Sent extra: {}. Missing but required: {age}.',
  ],
  [
    'an extra input',
    { income: float32([1, 2], [1, 2]), age: ages(1), zip: ages(1), height: ages(1) },
    'input size does not match signature: 4!=2 len({age,height,income,zip}) != len({age,income}). Sent extra: {height,zip}. Missing but required: {}.',
  ],
  [
    'no inputs',
    {},
    'input size does not match signature: 0!=2 len({}) != len({age,income}). Sent extra: {}. Missing but required: {age,income}.',
  ],
  [
    'a wrong name',
    { income: float32([1, 2], [1, 2]), years: ages(1) },
    'Signature input alias: age(feed name: age:0) not found in request and no default value provided. Inputs expected to be in the request {income,years}, or default input alias set: ',
  ],
  [
    'a wrong type',
    { income: float32([1, 2], [1, 2]), age: float32([1], [1]) },
    'input age: Expects arg[0] to be int64 but float is provided',
  ],
  [
    'a type no model takes',
    { income: { type: 'bfloat16', dims: [1, 2], data: new Uint16Array(2) }, age: ages(1) },
    'input income: Expects arg[0] to be float but bfloat16 is provided',
  ],
  [
    'a wrong dimension',
    { income: float32([1, 3], [1, 2, 3]), age: ages(1) },
    "input income: shape [1,3] does not match the signature's [-1,2]",
  ],
  [
    'a wrong rank',
    { income: float32([2], [1, 2]), age: ages(1) },
    "input income: shape [2] does not match the signature's [-1,2]",
  ],
  [
    'unequal rows',
    { income: float32([1, 2], [1, 2]), age: ages(1, 2) },
    'Batching session Run() input tensors must have equal 0th-dimension size',
  ],
  ['no rows', { income: float32([0, 2], []), age: ages() }, 'input income: a batch of 0 rows cannot be executed'],
  [
    'too many rows',
    { income: float32([5, 2], new Float32Array(10)), age: ages(1, 2, 3, 4, 5) },
    'Task size 5 is larger than maximum input batch size 4',
  ],
];
for (const [what, inputs, text] of REFUSALS) {
  t.test(`${what} is INVALID_ARGUMENT, in these words`, async (t) => {
    const { refusal } = bind(inputs);
    t.equal(refusal?.message, text);
    t.equal(refusal?.code, 3);
  });
}

t.test('a tensor that contradicts itself is a parsing error', async (t) => {
  // inputs { key: "age" value { dtype: DT_INT64 tensor_shape { dim { size: -1 } } } }, then a sound income.
  const age = Buffer.from('12180a036167651211080912' + '0d120b08ffffffffffffffffff01', 'hex');
  const { buf } = predictRequest({ income: float32([1, 2], [1, 2]) });
  const binder = new RequestBinder(AGE_INCOME, true, 4);
  const both = parsed(Buffer.concat([age, buf]));
  t.equal(binder.bind(both.view, both.buf)?.message, 'tensor parsing error: age');
});

t.test('a few bytes cannot declare a tensor of gigabytes', async (t) => {
  const { view, buf } = predictRequest({ income: float32([1, 2], [1, 2]), age: ages(1) });
  const signature = { ...AGE_INCOME, inputs: [{ ...AGE_INCOME.inputs[0], shape: [-1, -1] }, AGE_INCOME.inputs[1]] };
  const binder = new RequestBinder(signature, true, 1000);
  const [income] = view.inputs.tensors;
  income.dims[1] = 500_000_000;
  income.elementCount = 500_000_000;
  t.match(
    binder.bind(view, buf)?.message,
    /a tensor of 2000000000 bytes declared by far fewer bytes of values is refused/,
  );
});

t.test('without a batch axis the first dimension is like any other', async (t) => {
  const { refusal, binder } = bind({ age: ages(1, 2), income: float32([9, 2], new Float32Array(18)) }, false);
  t.equal(refusal, null);
  t.equal(binder.rows, 1);
});
