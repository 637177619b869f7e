/** What becomes of tasks when something ends before or otherwise than they hoped, and of the slabs they lay in. */
import t from 'tap';
import type { OutputView } from '../../../../inference-worker/batching/batcher.ts';
import { BatchingBench, DOUBLING, rows } from '../../../support/fake-executor.ts';
import { predictRequest, RecordingCall, refusalOf, submit } from '../../../support/predict-tasks.ts';

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
