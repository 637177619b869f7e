/** Requests of different lengths share batches; callers see their own lengths and values. */
import fc from 'fast-check';
import t from 'tap';
import { paddedLength, padRows } from '../../../../inference-worker/batching/length-padding.ts';
import { OnnxModel } from '../../../support/onnx-writer.ts';
import { float32, submit } from '../../../support/predict-tasks.ts';
import { anyLength, TestModels } from '../../../support/test-models.ts';

const models = new TestModels();
t.teardown(() => models.close());

t.test('lengths are rounded up by at most a quarter, from eight on', async (t) => {
  t.same([0, 1, 8, 9, 10, 11, 16, 17, 20, 21, 33].map(paddedLength), [0, 8, 8, 10, 10, 12, 16, 20, 20, 24, 40]);
  fc.assert(
    fc.property(fc.integer({ min: 8, max: 1_000_000 }), (length) => {
      const padded = paddedLength(length);
      return padded >= length && padded <= length * 1.25 + 1 && paddedLength(padded) === padded;
    }),
  );
});

t.test('rows are padded in every dimension, with the first value of the tensor', async (t) => {
  const target = new Float32Array(2 * 3 * 4);
  padRows(Float32Array.of(1, 2, 3, 4), [2, 2], target, 12, [3, 4], 1);
  t.same([...target.subarray(12)], [1, 2, 1, 1, 3, 4, 1, 1, 1, 1, 1, 1]);
  const words: string[] = [];
  padRows(['a', 'b', 'c'], [1], words, 0, [2], 3);
  t.same(words, ['a', 'a', 'b', 'a', 'c', 'a']);
});

t.test('requests of different lengths run in one batch and get their own length back', async (t) => {
  const servable = await models.load(anyLength(), { padVariableLengthInputs: true });
  const lengths = [3, 5, 8, 1, 5];
  const calls = lengths.map((length) =>
    submit(servable, {
      x: float32(
        [2, length],
        Array.from({ length: 2 * length }, (_, i) => i + length),
      ),
    }),
  );
  for (const [i, length] of lengths.entries()) {
    const { outputs } = await calls[i]!.settled;
    const values = Array.from({ length: 2 * length }, (_, j) => (j + length) * 2);
    t.same(outputs, [{ name: 'y', dims: [2, length], values }]);
  }
  t.equal(servable.stats.executedBatches, 1);
});

t.test('without padding each length runs by itself', async (t) => {
  const servable = await models.load(anyLength());
  const calls = [3, 5].map((length) => submit(servable, { x: float32([1, length], new Array(length).fill(1)) }));
  for (const call of calls) t.equal((await call.settled).error, null);
  t.equal(servable.stats.executedBatches, 2);
});

t.test('an output that does not follow the length is whole', async (t) => {
  const sums = new OnnxModel('sums')
    .input('x', 'float32', ['batch', 'length'])
    .output('y', 'float32', ['batch'])
    .node('ReduceMax', ['x'], ['y'], { axes: [1], keepdims: 0 })
    .build();
  const servable = await models.load(sums, { padVariableLengthInputs: true });
  const long = submit(servable, { x: float32([1, 7], [1, 2, 3, 9, 3, 2, 1]) });
  const short = submit(servable, { x: float32([2, 2], [4, 3, 2, 1]) });
  t.same((await long.settled).outputs, [{ name: 'y', dims: [1], values: [9] }]);
  // The second row is filled with the tensor's first value, 4: padding is seen by the model.
  t.same((await short.settled).outputs, [{ name: 'y', dims: [2], values: [4, 4] }]);
});

// Scenario: padding is on, and a model has no batch axis. Mechanism: its tensors were taken for rows and cut behind their
// first dimension. Consequence: a caller got one element of an answer of two.
t.test('a model without a batch axis is left alone by padding', async (t) => {
  const pair = new OnnxModel('pair')
    .input('x', 'float32', [2])
    .output('y', 'float32', [2])
    .node('Add', ['x', 'x'], ['y'])
    .build();
  const servable = await models.load(pair, { padVariableLengthInputs: true });
  const { outputs } = await submit(servable, { x: float32([2], [1, 2]) }).settled;
  t.same(outputs, [{ name: 'y', dims: [2], values: [2, 4] }]);
});

t.test('large tasks of odd lengths are split and padded', async (t) => {
  const options = {
    padVariableLengthInputs: true,
    maxBatchSize: 16,
    splitLargeBatches: true,
    maxExecutionBatchSize: 4,
  };
  const servable = await models.load(anyLength(), options);
  const data = Float32Array.from({ length: 9 * 5 }, (_, i) => i);
  const call = await submit(servable, { x: { type: 'float32', dims: [9, 5], data } }).settled;
  t.same(call.outputs, [{ name: 'y', dims: [9, 5], values: [...data].map((value) => value * 2) }]);
});
