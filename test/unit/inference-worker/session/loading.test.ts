/** What loading makes of a model file: signature, batch axis, place, and refusals. */
import t from 'tap';
import { Logger } from '../../../../base/logger.ts';
import type { BatchServable } from '../../../../inference-worker/batching/batch-servable.ts';
import type { LoadServableOptions } from '../../../../inference-worker/session/load-options.ts';
import { mayLoadInFront } from '../../../../inference-worker/session/loader.ts';
import type { WorkerError } from '../../../../inference-worker/worker-error.ts';
import { OnnxModel } from '../../../support/onnx-writer.ts';
import { float32, submit } from '../../../support/predict-tasks.ts';
import { anyLength, heavy, mlp, spinner, TestModels, wave } from '../../../support/test-models.ts';

/** A move takes as long as starting a thread does on a busy machine. */
const PATIENCE_MS = 15_000;
const models = new TestModels();
t.teardown(() => models.close());

const WAITING = new URL('../../../support/waiting-thread.ts', import.meta.url);

/** A cheap model. Its cost is measured when it is loaded, and on a busy machine one measurement may say that it is not. */
async function loadCheap(options: Partial<LoadServableOptions> = {}): Promise<BatchServable> {
  for (const endMs = performance.now() + PATIENCE_MS; ; ) {
    const servable = (await models.load(mlp(), {}, options)) as BatchServable;
    if (servable.stats.place === 'front' || performance.now() > endMs) return servable;
  }
}

t.test('a signature is made from the graph', async (t) => {
  const servable = await models.load(
    new OnnxModel('two')
      .input('b', 'int64', ['batch', 'words'])
      .input('a', 'float32', ['batch', 2])
      .output('sum', 'float32', ['batch'])
      .node('ReduceSum', ['a', 'one'], ['s'], { keepdims: 0 })
      .initializer('one', 'int64', [1], [1])
      .node('Cast', ['b'], ['bf'], { to: 1 })
      .node('ReduceSum', ['bf', 'one'], ['t'], { keepdims: 0 })
      .node('Add', ['s', 't'], ['sum'])
      .build(),
  );
  t.same(
    [...servable.signatures],
    [
      [
        'serving_default',
        {
          name: 'serving_default',
          methodName: 'tensorflow/serving/predict',
          inputs: [
            { name: 'b', dtype: 9, ortType: 'int64', shape: [-1, -1] },
            { name: 'a', dtype: 1, ortType: 'float32', shape: [-1, 2] },
          ],
          outputs: [{ name: 'sum', dtype: 1, ortType: 'float32', shape: [-1] }],
        },
      ],
    ],
  );
});

t.test('a cheap model runs in the front thread, an expensive one in a thread of its own', async (t) => {
  const cheap = await loadCheap();
  t.equal(cheap.stats.place, 'front');
  t.ok(cheap.stats.fullBatchMs < 1);
  const expensive = await models.load(heavy(40), { maxBatchSize: 256 });
  t.equal(expensive.stats.place, 'thread');
  t.ok(expensive.stats.fullBatchMs > 1);
});

/**
 * Scenario: a cheap model with large tables is loaded while others are served. Mechanism: a load of up to 50 ms was repeated
 * in the thread that serves. Consequence: every served model's tail held the load.
 */
t.test('what takes long to load enters the front only before anybody is served', async (t) => {
  t.ok(mayLoadInFront(2, true));
  t.ok(mayLoadInFront(30, false));
  t.notOk(mayLoadInFront(30, true));
  t.notOk(mayLoadInFront(80, false));
});

/**
 * Scenario: a cheap model is loaded while others have the cores. Mechanism: the wait for a core counted as its loading.
 * Consequence: it ran in a thread of its own for as long as it was served.
 */
t.test('a model that waited for a core while it was loaded enters the front all the same', async (t) => {
  const lines: string[] = [];
  const log = new Logger('info', {}, (line) => lines.push(line));
  const servable = await loadCheap({ threadEntry: WAITING, log });
  t.equal(servable.stats.place, 'front');
  const loaded = lines.map((line) => JSON.parse(line)).filter(({ event }) => event === 'servable_loaded');
  t.ok(loaded.length > 0 && loaded.every(({ loadMs }) => loadMs > 10_000), lines.join());
});

/** y = table[(1 - x) * 1000], x float32 [batch, 1]: refuses the zeros a model is measured with. */
function refusingZeros(): Buffer {
  return new OnnxModel('refusing_zeros')
    .input('x', 'float32', ['batch', 1])
    .output('y', 'float32', ['batch', 1])
    .initializer('one', 'float32', [1], [1])
    .initializer('thousand', 'float32', [1], [1000])
    .initializer('table', 'float32', [2], [10, 11])
    .node('Sub', ['one', 'x'], ['d'])
    .node('Mul', ['d', 'thousand'], ['m'])
    .node('Cast', ['m'], ['i'], { to: 7 })
    .node('Gather', ['table', 'i'], ['y'])
    .build();
}

t.test('a model that cannot be measured beforehand starts in a thread and moves when it proves cheap', async (t) => {
  const servable = await models.load(refusingZeros());
  t.equal(servable.stats.place, 'thread');
  const endMs = performance.now() + PATIENCE_MS;
  while (servable.stats.place === 'thread' && performance.now() < endMs) {
    const call = submit(servable, { x: float32([1, 1], [1]) });
    await call.settled;
    if (call.values()[0] !== 10) t.bailout(`answered ${call.values()}`);
  }
  t.equal(servable.stats.place, 'front');
  const call = submit(servable, { x: float32([2, 1], [1, 1]) });
  await call.settled;
  t.same(call.values(), [10, 10]);
});

t.test('a model whose work a request decides stays out of the front, however cheap it was so far', async (t) => {
  for (const bytes of [anyLength(), spinner()]) t.equal((await models.load(bytes)).stats.place, 'thread');
});

t.test('a model in the front thread that becomes slow moves to a thread, losing nothing', async (t) => {
  const servable = await loadCheap();
  t.equal(servable.stats.place, 'front');
  for (let i = 0; i < 300; i++) servable.scheduler.cost.record(64, 50);
  const endMs = performance.now() + PATIENCE_MS;
  while (servable.stats.place === 'front' && performance.now() < endMs) {
    const call = submit(servable, { x: float32([1, 8], wave(8)) });
    await call.settled;
    t.equal(call.values().length, 3) || t.bailout();
  }
  t.equal(servable.stats.place, 'thread');
  const calls = [1, 2, 3].map((step) => submit(servable, { x: float32([1, 8], wave(8, step)) }));
  await servable.close();
  t.ok(calls.every(({ replies, error }) => replies === 1 && error === null));
});

t.test('a batch axis that is open only on paper is found out', async (t) => {
  // The graph says [batch, 2], but reshapes to one row inside.
  const servable = await models.load(
    new OnnxModel('one_row')
      .input('x', 'float32', ['batch', 2])
      .output('y', 'float32', ['batch', 2])
      .initializer('shape', 'int64', [2], [1, 2])
      .node('Reshape', ['x', 'shape'], ['y'])
      .build(),
  );
  const calls = [1, 3, 5].map((from) => submit(servable, { x: float32([1, 2], [from, from + 1]) }));
  await Promise.all(calls.map((call) => call.settled));
  t.same(
    calls.map((call) => call.values()),
    [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
  );
  t.equal(servable.stats.executedBatches, 3, 'one call at a time');
});

t.test('an output that does not follow the batch axis keeps calls apart', async (t) => {
  const servable = await models.load(
    new OnnxModel('total')
      .input('x', 'float32', ['batch', 2])
      .output('y', 'float32', ['batch', 2])
      .initializer('zero', 'int64', [1], [0])
      .node('ReduceSum', ['x', 'zero'], ['y'], { keepdims: 1 })
      .build(),
  );
  const calls = [1, 3].map((from) => submit(servable, { x: float32([2, 2], [from, from, from, from]) }));
  await Promise.all(calls.map((call) => call.settled));
  t.same(
    calls.map((call) => call.outputs),
    [[{ name: 'y', dims: [1, 2], values: [2, 2] }], [{ name: 'y', dims: [1, 2], values: [6, 6] }]],
  );
});

t.test('a fixed first dimension means one call at a time, answered whole', async (t) => {
  for (const place of ['front', 'thread'] as const) {
    const servable = await models.load(
      new OnnxModel('fixed')
        .input('x', 'float32', [2, 2])
        .output('y', 'float32', [2, 2])
        .node('Neg', ['x'], ['y'])
        .build(),
      { place },
    );
    const calls = [1, 2].map((value) => submit(servable, { x: float32([2, 2], [value, 0, 0, value]) }));
    await Promise.all(calls.map((call) => call.settled));
    t.same(calls[1].outputs, [{ name: 'y', dims: [2, 2], values: [-2, -0, -0, -2] }]);
    t.equal(servable.stats.executedBatches, 2);
  }
});

t.test('a file that is no model is refused clearly, and harms nothing', async (t) => {
  const sound = await models.load(mlp());
  const truncated = mlp().subarray(0, 300);
  const unknownOp = new OnnxModel('odd')
    .input('x', 'float32', [1])
    .output('y', 'float32', [1])
    .node('Frobnicate', ['x'], ['y'])
    .build();
  const bad: [string, Buffer, RegExp][] = [
    ['garbage', Buffer.from('not a model at all, just text'), /failed:Protobuf parsing failed/],
    ['truncated', truncated, /./],
    ['empty', Buffer.alloc(0), /does not have a graph/],
    ['unknown operator', unknownOp, /Frobnicate/],
  ];
  for (const place of ['front', 'thread', 'auto'] as const) {
    for (const [what, bytes, text] of bad) {
      const error = (await models.load(bytes, { place }).catch((caught: unknown) => caught)) as WorkerError;
      t.match(error.message, /^Could not load .*model-\d+\.onnx: /, `${what}, ${place}`);
      t.match(error.message, text);
      t.same([error.code, error.reason], [3, 'model_load_failed']);
    }
  }
  const call = submit(sound, { x: float32([1, 8], wave(8)) });
  await call.settled;
  t.equal(call.values().length, 3);
});

t.test('a missing file and impossible options are refused', async (t) => {
  await t.rejects(models.load(mlp(), {}, { path: '/nowhere/model.onnx' }), {
    message: /doesn't exist/,
    reason: 'model_load_failed',
  });
  await t.rejects(models.load(mlp(), { allowedBatchSizes: [4], maxBatchSize: 8 }), { message: /allowedBatchSizes/ });
});
