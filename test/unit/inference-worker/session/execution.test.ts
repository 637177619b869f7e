/** Answers are those of a direct run, to the bit, in either place and for every type; failures stay with their cause. */
import t from 'tap';
import type { ExecutionPlace } from '../../../../inference-worker/batching/batching-options.ts';
import { NativeSession, ortTensor } from '../../../../inference-worker/session/native-session.ts';
import { DEFAULT_EXECUTION } from '../../../../inference-worker/session/provider-options.ts';
import { OnnxModel, type OnnxType } from '../../../support/onnx-writer.ts';
import { float32, submit, type TestTensor } from '../../../support/predict-tasks.ts';
import { anyLength, identity, lookup, mlp, TestModels, wave } from '../../../support/test-models.ts';

const models = new TestModels();
t.teardown(() => models.close());
const PLACES: readonly ExecutionPlace[] = ['front', 'thread'];

/** The model's own answer for these rows in one run. */
function directly(bytes: Buffer, rows: number, x: Float32Array): number[] {
  const session = new NativeSession(models.write(bytes), DEFAULT_EXECUTION);
  const { y } = session.run({ x: ortTensor('float32', x, [rows, x.length / rows]) }, { y: null });
  const values = [...(y.data as Float32Array)];
  session.release();
  return values;
}

for (const place of PLACES) {
  t.test(`${place}: requests batched together are answered as one direct run of their rows`, async (t) => {
    const servable = await models.load(mlp(), { place });
    const x = wave(7 * 8, 0.37);
    const calls = [
      submit(servable, { x: float32([1, 8], x.subarray(0, 8)) }),
      submit(servable, { x: float32([4, 8], x.subarray(8, 40)) }),
      submit(servable, { x: float32([2, 8], x.subarray(40, 56)) }),
    ];
    await Promise.all(calls.map((call) => call.settled));
    t.equal(servable.stats.executedBatches, 1);
    t.same(
      calls.flatMap((call) => call.values()),
      directly(mlp(), 7, x),
    );
    t.same(
      calls.map((call) => call.outputs?.[0].dims),
      [
        [1, 3],
        [4, 3],
        [2, 3],
      ],
    );
  });

  t.test(`${place}: padded batches are answered as a direct run of the padded rows`, async (t) => {
    const servable = await models.load(mlp(), { place, allowedBatchSizes: [8, 64] });
    const x = wave(3 * 8, 0.11);
    const call = submit(servable, { x: float32([3, 8], x) });
    await call.settled;
    const padded = Float32Array.from({ length: 64 }, (_, i) => (i < 24 ? x[i] : x[i % 8]));
    t.same(call.values(), directly(mlp(), 8, padded).slice(0, 9));
    t.equal(servable.stats.paddedRows, 5);
  });

  t.test(`${place}: every element type passes through unharmed`, async (t) => {
    const samples: [OnnxType, TestTensor['data']][] = [
      ['float32', Float32Array.of(1.5, Number.NaN, -0, Number.POSITIVE_INFINITY)],
      ['float64', Float64Array.of(Math.PI, -1e300, 0, 5e-324)],
      ['int8', Int8Array.of(-128, 127, 0, 1)],
      ['uint8', Uint8Array.of(0, 255, 1, 2)],
      ['int16', Int16Array.of(-32768, 32767, 0, 1)],
      ['uint16', Uint16Array.of(0, 65535, 1, 2)],
      ['int32', Int32Array.of(-2147483648, 2147483647, 0, 1)],
      ['uint32', Uint32Array.of(0, 4294967295, 1, 2)],
      ['int64', BigInt64Array.of(-9223372036854775808n, 9223372036854775807n, 0n, 1n)],
      ['uint64', BigUint64Array.of(0n, 18446744073709551615n, 1n, 2n)],
      ['bool', Uint8Array.of(0, 1, 1, 0)],
      ['float16', Uint16Array.of(0x3c00, 0x7e01, 0x8000, 0xfc00)],
      ['string', ['', 'naïve', '日本', 'plain']],
    ];
    for (const [type, data] of samples) {
      const servable = await models.load(identity(type), { place });
      const calls = [0, 1].map((row) =>
        submit(servable, { x: { type, dims: [1, 2], data: data.slice(row * 2, row * 2 + 2) } }),
      );
      await Promise.all(calls.map((call) => call.settled));
      t.same(
        calls.flatMap((call) => call.values()),
        [...data],
        type,
      );
      await servable.close();
    }
  });

  t.test(`${place}: tails of different lengths are answered each in their own shape`, async (t) => {
    const servable = await models.load(anyLength(), { place });
    const calls = [3, 1, 3, 2].map((length, i) =>
      submit(servable, { x: float32([2, length], wave(2 * length, i + 1)) }),
    );
    await Promise.all(calls.map((call) => call.settled));
    t.same(
      calls.map((call) => call.outputs?.[0].dims),
      [
        [2, 3],
        [2, 1],
        [2, 3],
        [2, 2],
      ],
    );
    t.same(
      calls.map((call) => call.values()),
      [3, 1, 3, 2].map((length, i) => [...wave(2 * length, i + 1).map((x) => x * 2)]),
    );
    t.equal(servable.stats.executedBatches, 3);
  });

  t.test(`${place}: a row the model refuses fails alone`, async (t) => {
    const servable = await models.load(lookup(), { place });
    const at = (...indices: number[]): Record<string, TestTensor> => ({
      i: { type: 'int64', dims: [indices.length], data: BigInt64Array.from(indices, BigInt) },
    });
    const calls = [submit(servable, at(0, 3)), submit(servable, at(77)), submit(servable, at(2))];
    await Promise.all(calls.map((call) => call.settled));
    t.same(calls[0].values(), [10, 13]);
    t.match(calls[1].error, { code: 13, reason: 'execution_failed', message: /indices element out of data bounds/ });
    t.same(calls[2].values(), [12]);
  });

  t.test(`${place}: several inputs and outputs keep their names`, async (t) => {
    const model = new OnnxModel('two')
      .input('a', 'float32', ['n', 2])
      .input('b', 'float32', ['n', 2])
      .output('sum', 'float32', ['n', 2])
      .output('length', 'int64', ['n', 'unknown'])
      .node('Add', ['a', 'b'], ['sum'])
      .node('Cast', ['a'], ['length'], { to: 7 })
      .build();
    const servable = await models.load(model, { place });
    const calls = [1, 5].map((value) =>
      submit(servable, { b: float32([1, 2], [value, value]), a: float32([1, 2], [value, 0]) }),
    );
    await Promise.all(calls.map((call) => call.settled));
    t.same(calls[1].outputs, [
      { name: 'sum', dims: [1, 2], values: [10, 5] },
      { name: 'length', dims: [1, 2], values: [5n, 0n] },
    ]);
  });

  t.test(`${place}: many requests at once all get the answer to their own question`, async (t) => {
    const servable = await models.load(anyLength(), { place, maxBatchSize: 16, maxEnqueuedBatches: 1000 });
    const calls = Array.from({ length: 500 }, (_, i) =>
      submit(servable, { x: float32([1 + (i % 3), 1], new Float32Array(1 + (i % 3)).fill(i)) }),
    );
    await Promise.all(calls.map((call) => call.settled));
    t.ok(calls.every((call, i) => call.replies === 1 && call.values().every((value) => value === i * 2)));
    t.ok(servable.stats.executedBatches >= 1000 / 16 && servable.stats.executedBatches < 200);
  });

  t.test(`${place}: closing answers what was accepted`, async (t) => {
    const servable = await models.load(mlp(), { place });
    const calls = [1, 2, 3].map((step) => submit(servable, { x: float32([1, 8], wave(8, step)) }));
    await servable.close();
    t.same(
      calls.map((call) => call.replies),
      [1, 1, 1],
    );
    t.ok(calls.every((call) => call.error === null));
  });
}
