/** When batches close, who goes first, and what becomes of tasks when something ends badly. */
import t from 'tap';
import type { OutputView } from '../../../../inference-worker/batching/batcher.ts';
import { MAX_TAIL_SHAPES } from '../../../../inference-worker/batching/queue-set.ts';
import type { WorkerError } from '../../../../inference-worker/worker-error.ts';
import { BatchingBench, DOUBLING } from '../../../support/fake-executor.ts';
import { float32, predictRequest, RecordingCall, submit } from '../../../support/predict-tasks.ts';

function rows(count: number, from = 1) {
  return {
    x: float32(
      [count, 2],
      Array.from({ length: count * 2 }, (_, i) => from + i),
    ),
  };
}

function refusalOf(act: () => unknown): WorkerError {
  try {
    act();
  } catch (error) {
    return error as WorkerError;
  }
  throw new Error('expected a refusal');
}

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
    call.priority = 1;
  });
  submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  t.equal(bench.executor.started.length, 1);
  submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  t.match(bench.executor.started[1], { rows: 2, priority: 0 });
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

t.test('expired and cancelled tasks make room in a full queue', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 2, maxEnqueuedBatches: 2 });
  submit(bench.servable, rows(2));
  bench.pacer.endTurn();
  const doomed = [0, 1].map(() =>
    submit(bench.servable, rows(2), (call) => {
      call.deadlineMs = bench.clock.nowMs() + 5;
    }),
  );
  doomed[1].cancelled = true;
  bench.clock.advance(5);
  const late = submit(bench.servable, rows(2));
  t.equal(doomed[0].error?.code, 4, 'DEADLINE_EXCEEDED');
  t.equal(doomed[1].error?.code, 1, 'CANCELLED');
  bench.finish();
  bench.finish();
  t.same(late.values(), [2, 4, 6, 8]);
});

t.test('a task that expired or was cancelled before it came is refused', async (t) => {
  const bench = new BatchingBench();
  const late = refusalOf(() =>
    submit(bench.servable, rows(1), (call) => {
      call.deadlineMs = bench.clock.nowMs();
    }),
  );
  t.equal(late.code, 4);
  const gone = refusalOf(() =>
    submit(bench.servable, rows(1), (call) => {
      call.cancelled = true;
    }),
  );
  t.equal(gone.code, 1);
});

t.test('primary tasks go before shadow tasks that came earlier', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 2 });
  const asShadow = (call: RecordingCall) => {
    call.priority = 1;
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
    [0, 0, 0, 1],
  );
});

t.test('shadow tasks cannot fill the queue of primary ones', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 1, maxEnqueuedBatches: 1 });
  const asShadow = (call: RecordingCall) => {
    call.priority = 1;
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

t.test('when a batch fails, only the task to blame fails', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 4, allowedBatchSizes: [2, 4] });
  const calls = [1, 10, 20].map((from) => submit(bench.servable, rows(1, from)));
  bench.pacer.endTurn();
  bench.fail();
  bench.finish();
  bench.fail(0, true, 'bad row');
  bench.finish();
  t.same(calls[0].values(), [2, 4]);
  t.match(calls[1].error, { code: 13, message: 'Execution failed: bad row', reason: 'execution_failed' });
  t.same(calls[2].values(), [40, 42]);
  t.same(
    bench.executor.started.map(({ rows, executedRows }) => [rows, executedRows]),
    [
      [3, 4],
      [1, 2],
      [1, 2],
      [1, 2],
    ],
  );
});

t.test('when the thread is to blame, the whole batch fails', async (t) => {
  const bench = new BatchingBench();
  const calls = [1, 2].map(() => submit(bench.servable, rows(1)));
  bench.pacer.endTurn();
  bench.fail(0, false, 'gone');
  t.equal(bench.executor.started.length, 1);
  for (const call of calls) t.match(call.error?.message, /gone/);
});

t.test('closing answers what was accepted, without waiting for timeouts, and refuses the rest', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 2, batchTimeoutMicros: 60_000_000 });
  const running = submit(bench.servable, rows(2));
  bench.pacer.endTurn();
  const waiting = submit(bench.servable, rows(1));
  let closed = false;
  const closing = bench.servable.close().then(() => {
    closed = true;
  });
  const refusal = refusalOf(() => submit(bench.servable, rows(1)));
  t.match(refusal, { code: 14, reason: 'servable_closing' });
  bench.finish();
  await Promise.resolve();
  t.equal(closed, false);
  t.equal(bench.executor.closed, false, 'the executor lives until the last reply');
  bench.finish();
  await closing;
  t.same([running.replies, waiting.replies, bench.executor.closed], [1, 1, true]);
  t.same(waiting.values(), [2, 4]);
});

t.test('closing an idle servable ends at once, and twice is once', async (t) => {
  const bench = new BatchingBench();
  const first = bench.servable.close();
  t.equal(bench.servable.close(), first);
  bench.pacer.endTurn();
  await first;
  t.ok(bench.executor.closed);
});

t.test('a stuck executor breaks the servable: waiting tasks fail, later ones are refused', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 1 });
  const running = submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  const waiting = submit(bench.servable, rows(1));
  const cause = refusalOf(() => submit(bench.servable, rows(9)));
  bench.servable.scheduler.stuck(cause);
  t.match(waiting.error, { code: 14, reason: 'servable_broken' });
  t.equal(running.replies, 0, 'its executor reports it');
  t.same(bench.brokenWith, [cause]);
  t.match(
    refusalOf(() => submit(bench.servable, rows(1))),
    { code: 14, reason: 'servable_broken' },
  );
  t.equal(bench.servable.broken?.reason, 'servable_broken');
  bench.fail(0, false);
  await bench.servable.close();
  t.equal(running.replies, 1);
});

t.test('a reply that throws is followed by a failure and spares the others', async (t) => {
  const bench = new BatchingBench();
  class Throwing extends RecordingCall {
    override onOutputs(_outputs: readonly OutputView[]): void {
      throw new Error('socket gone');
    }
  }
  const throwing = new Throwing(DOUBLING);
  const { view, buf } = predictRequest(rows(1));
  t.equal(bench.servable.submit(throwing, view, buf), null);
  const other = submit(bench.servable, rows(1));
  bench.pacer.endTurn();
  bench.finish();
  t.match(throwing.error, { code: 13 });
  t.same(other.values(), [2, 4]);
});

t.test('rows are not reused while answers from them are being written', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 2 }, DOUBLING, 2);
  const seen: number[][] = [];
  class Resubmitting extends RecordingCall {
    override onOutputs(outputs: readonly OutputView[], rowStart: number, rowCount: number): void {
      const { view, buf } = predictRequest(rows(2, 500));
      bench.servable.submit(new RecordingCall(DOUBLING), view, buf);
      bench.pacer.endTurn();
      bench.executor.compute(0);
      super.onOutputs(outputs, rowStart, rowCount);
      seen.push(this.values() as number[]);
    }
  }
  for (const from of [1, 3]) {
    const { view, buf } = predictRequest(rows(1, from));
    bench.servable.submit(new Resubmitting(DOUBLING), view, buf);
  }
  bench.pacer.endTurn();
  bench.finish();
  t.same(seen, [
    [2, 4],
    [6, 8],
  ]);
});

t.test('slabs are reused once their answers are written', async (t) => {
  const bench = new BatchingBench({ maxBatchSize: 2 });
  const ids = new Set<number>();
  bench.executor.onStart = (batch) => ids.add(batch.id);
  for (let i = 0; i < 20; i++) {
    submit(bench.servable, rows(2));
    bench.pacer.endTurn();
    bench.finish();
  }
  t.equal(ids.size, 1);
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
