/** When batches close, who goes first, and what is refused. */
import t from 'tap';
import { laneOf } from '../../../../inference-worker/batching/batch-queue.ts';
import { Priority } from '../../../../inference-worker/batching/batcher.ts';
import { MAX_TAIL_SHAPES } from '../../../../inference-worker/batching/queue-set.ts';
import { BatchingBench, DOUBLING, rows } from '../../../support/fake-executor.ts';
import { float32, type RecordingCall, refusalOf, submit } from '../../../support/predict-tasks.ts';

t.test('what arrives in one turn of the event loop is one batch', async (t) => {
  const bench = new BatchingBench();
  const calls = [
    submit(bench.servable, rows(1, 1)),
    submit(bench.servable, rows(3, 10)),
    submit(bench.servable, rows(1, 50)),
  ];
  t.equal(bench.executor.started.length, 0, 'nothing runs during the turn');
  bench.pacer.endTurn();
  t.match(bench.executor.started, [{ rows: 5, tasks: 3 }]);
  bench.finish();
  t.same(calls[0].values(), [2, 4]);
  t.same(calls[1].values(), [20, 22, 24, 26, 28, 30]);
  t.same(calls[1].outputs?.[0].dims, [3, 2]);
  t.same(calls[2].values(), [100, 102]);
});

t.test('what arrives while the place is busy runs together when it is free', async (t) => {
  const bench = new BatchingBench();
  submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  for (let i = 0; i < 3; i++) {
    submit(bench.servable, rows(1));
    bench.pacer.endTurn();
  }
  t.equal(bench.executor.started.length, 1);
  bench.finish();
  t.match(bench.executor.started[1], { rows: 3, tasks: 3 });
});

t.test('a batch waits for company until its timeout, unless it is full', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 4, batchTimeoutMicros: 5000 });
  submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  bench.advance(3);
  submit(bench.servable, rows(1));
  bench.advance(1);
  t.equal(bench.executor.started.length, 0, 'still waiting');
  bench.advance(1);
  t.match(bench.executor.started, [{ rows: 2 }], 'the first task set the end of the wait');
  bench.finish();
  submit(bench.servable, rows(4));
  bench.pacer.endTurn();
  t.match(bench.executor.started[1], { rows: 4 }, 'a full batch goes at once');
});

t.test('a batch that the next task does not fit into waits no longer', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 4, batchTimeoutMicros: 5000 });
  submit(bench.servable, rows(3));
  submit(bench.servable, rows(2));
  bench.pacer.endTurn();
  t.match(bench.executor.started, [{ rows: 3 }]);
  bench.finish();
  t.equal(bench.executor.started.length, 1, 'the other one waits');
  bench.advance(5);
  t.match(bench.executor.started[1], { rows: 2 });
});

t.test('a batch closes early enough for its most urgent task', async (t) => {
  const bench = new BatchingBench({ batchTimeoutMicros: 1_000_000 });
  bench.servable.scheduler.cost.record(1, 4);
  submit(bench.servable, rows(1), (call) => {
    call.deadlineMs = bench.clock.nowMs() + 20;
  });
  bench.pacer.endTurn();
  bench.advance(14);
  t.equal(bench.executor.started.length, 0);
  bench.advance(1);
  t.equal(bench.executor.started.length, 1, '4 ms to run and 1 to answer before the deadline');
});

t.test('a closed primary batch may wait behind a running one, an open or a shadow one not', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 2 });
  const asked: boolean[] = [];
  bench.executor.accepts = (ahead) => {
    asked.push(ahead);
    return bench.executor.running.length < (ahead ? 2 : 1);
  };
  submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  submit(bench.servable, rows(2), (call) => {
    call.priority = Priority.shadow;
  });
  submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  t.equal(bench.executor.started.length, 1);
  submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  t.match(bench.executor.started[1], { rows: 2, priority: laneOf(Priority.primary) });
});

t.test('a full queue refuses at once, in the words of TensorFlow Serving', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 2, maxEnqueuedBatches: 2 });
  const running = submit(bench.servable, rows(2));
  bench.pacer.endTurn();
  for (let i = 0; i < 4; i++) submit(bench.servable, rows(1));
  const refusal = refusalOf(() => submit(bench.servable, rows(1)));
  t.equal(refusal.code, 14);
  t.equal(refusal.message, 'The batch scheduling queue to which this task was submitted is full');
  t.equal(refusal.reason, 'batch_queue_full');
  t.equal(bench.servable.stats.refusedTasks, 1);
  bench.finish();
  t.equal(running.replies, 1);
  submit(bench.servable, rows(1));
  t.pass('and accepts again when a batch has left');
});

t.test('a task larger than a batch is refused, in the words of TensorFlow Serving', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 4 });
  const refusal = refusalOf(() => submit(bench.servable, rows(5)));
  t.equal(refusal.code, 3);
  t.equal(refusal.message, 'Task size 5 is larger than maximum input batch size 4');
});

t.test('primary tasks go before shadow tasks that came earlier', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 2 });
  const asShadow = (call: RecordingCall) => {
    call.priority = Priority.shadow;
  };
  submit(bench.servable, rows(2));
  bench.pacer.endTurn();
  submit(bench.servable, rows(2), asShadow);
  submit(bench.servable, rows(2));
  submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  for (let i = 0; i < 4; i++) bench.finish();
  t.same(
    bench.executor.started.map(({ priority }) => priority),
    [Priority.primary, Priority.primary, Priority.primary, Priority.shadow].map(laneOf),
  );
});

t.test('shadow tasks cannot fill the queue of primary ones', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 1, maxEnqueuedBatches: 1 });
  const asShadow = (call: RecordingCall) => {
    call.priority = Priority.shadow;
  };
  submit(bench.servable, rows(1), asShadow);
  t.equal(refusalOf(() => submit(bench.servable, rows(1), asShadow)).reason, 'batch_queue_full');
  submit(bench.servable, rows(1));
  t.pass('the primary task is accepted');
});

t.test('padding repeats the first row and never reaches a caller', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 8, allowedBatchSizes: [4, 8] });
  const seen: number[][] = [];
  bench.executor.onStart = (batch) => seen.push([...(batch.views.inputs[0] as Float32Array).subarray(0, 8)]);
  const warm = submit(bench.servable, rows(4, 100));
  bench.pacer.endTurn();
  bench.finish();
  const calls = [submit(bench.servable, rows(1, 1)), submit(bench.servable, rows(2, 3))];
  bench.pacer.endTurn();
  bench.finish();
  t.match(bench.executor.started, [{ executedRows: 4 }, { rows: 3, executedRows: 4 }]);
  t.same(seen[1], [1, 2, 3, 4, 5, 6, 1, 2], 'not what an earlier caller left behind');
  t.equal(warm.values().length, 8);
  t.same(calls[0].values(), [2, 4]);
  t.same(calls[1].values(), [6, 8, 10, 12]);
  t.equal(bench.servable.stats.paddedRows, 1);
});

t.test('requests of different tail shapes run in different batches', async (t) => {
  const signature = { ...DOUBLING, inputs: [{ ...DOUBLING.inputs[0], shape: [-1, -1] }] };
  const bench = new BatchingBench({}, signature, 10);
  for (const tail of [2, 3, 2, 3, 3]) submit(bench.servable, { x: float32([1, tail], [1, 2, 3].slice(0, tail)) });
  bench.pacer.endTurn();
  t.match(bench.executor.started, [
    { tail: '2', rows: 2 },
    { tail: '3', rows: 3 },
  ]);
});

t.test('tail shapes in use are bounded; idle ones give way', async (t) => {
  const signature = { ...DOUBLING, inputs: [{ ...DOUBLING.inputs[0], shape: [-1, -1] }] };
  const bench = new BatchingBench({}, signature, 1000);
  const ofTail = (tail: number) => ({ x: float32([1, tail], new Float32Array(tail)) });
  for (let tail = 1; tail <= MAX_TAIL_SHAPES; tail++) submit(bench.servable, ofTail(tail));
  t.equal(refusalOf(() => submit(bench.servable, ofTail(1000))).reason, 'batch_queue_full');
  bench.pacer.endTurn();
  const batch = bench.executor.running.splice(0, 1)[0];
  bench.servable.scheduler.batchFinished(batch, null, 1);
  submit(bench.servable, ofTail(1000));
  t.equal(bench.executor.forgotten.length, 1, 'the slab of the idle shape is let go');
});

t.test('a model without a batch axis runs one call at a time', async (t) => {
  const signature = {
    ...DOUBLING,
    inputs: [{ ...DOUBLING.inputs[0], shape: [2, 2] }],
    outputs: [{ ...DOUBLING.outputs[0], shape: [2, 2] }],
  };
  const bench = new BatchingBench({ maxBatchSize: 3, maxEnqueuedBatches: 1 }, signature, 1, false);
  const calls = [1, 10, 20].map((from) => submit(bench.servable, rows(2, from)));
  t.equal(
    refusalOf(() => submit(bench.servable, rows(2))).reason,
    'batch_queue_full',
    'as many tasks as one batch of rows',
  );
  bench.pacer.endTurn();
  for (let i = 0; i < 3; i++) bench.finish();
  t.same(
    bench.executor.started.map(({ tasks }) => tasks),
    [1, 1, 1],
  );
  t.same(calls[1].outputs, [{ name: 'y', dims: [2, 2], values: [20, 22, 24, 26] }]);
});

t.test('a size to probe is run once, padded, within the slab and the allowed sizes', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 16, allowedBatchSizes: [2, 8, 16] });
  bench.servable.scheduler.probeRows = 5;
  const call = submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  bench.finish();
  submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  t.match(bench.executor.started, [{ executedRows: 8 }, { executedRows: 2 }]);
  t.same(call.values(), [2, 4]);
});
