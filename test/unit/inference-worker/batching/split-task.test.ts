/** Tasks larger than one run: executed in parts, answered once and in order, refused whole. */
import t from 'tap';
import { GrpcStatus } from '../../../../base/grpc-status.ts';
import { BatchingBench, rows } from '../../../support/fake-executor.ts';
import { refusalOf, submit } from '../../../support/predict-tasks.ts';
import { anyLength, TestModels } from '../../../support/test-models.ts';

const SPLITTING = { maxBatchSize: 10, splitLargeBatches: true, maxExecutionBatchSize: 4 };
const doubled = (count: number): number[] => Array.from({ length: count * 2 }, (_, i) => (i + 1) * 2);

t.test('a large task runs in parts and is answered once with its rows in order', async (t) => {
  const bench = new BatchingBench(SPLITTING);
  const call = submit(bench.servable, rows(10));
  bench.pacer.endTurn();
  while (bench.executor.running.length > 0) bench.finish(0, 2);
  t.same(
    bench.executor.started.map((batch) => batch.rows),
    [4, 4, 2],
  );
  t.equal(call.replies, 1);
  t.same(call.outputs, [{ name: 'y', dims: [10, 2], values: doubled(10) }]);
  t.equal(call.computeMs, 6);
});

t.test('the first part fills the batch that is open', async (t) => {
  const bench = new BatchingBench(SPLITTING);
  const small = submit(bench.servable, rows(3));
  const large = submit(bench.servable, rows(6));
  bench.pacer.endTurn();
  while (bench.executor.running.length > 0) bench.finish();
  t.same(
    bench.executor.started.map((batch) => batch.rows),
    [4, 4, 1],
  );
  t.same(small.values(), doubled(3));
  t.same(large.values(), doubled(6));
});

t.test('parts that do not all fit are refused together, and leave no trace', async (t) => {
  const bench = new BatchingBench({ ...SPLITTING, maxEnqueuedBatches: 2 });
  const refusal = refusalOf(() => submit(bench.servable, rows(9)));
  t.equal(refusal.code, GrpcStatus.UNAVAILABLE);
  t.match(
    refusal.message,
    /^The batch scheduling queue to which this task was submitted is full; task size is 9 but scheduling capacity is only 8/,
  );
  t.equal(refusal.reason, 'batch_queue_full');
  t.equal(bench.servable.stats.queuedTasks, 0);
  submit(bench.servable, rows(8));
});

t.test('a task above the bound of tasks is still refused', async (t) => {
  const bench = new BatchingBench(SPLITTING);
  const { message } = refusalOf(() => submit(bench.servable, rows(11)));
  t.equal(message, 'Task size 11 is larger than maximum input batch size 10');
});

t.test('one failed part fails the task once, and the rest leaves the queue', async (t) => {
  const bench = new BatchingBench(SPLITTING);
  const call = submit(bench.servable, rows(10));
  bench.pacer.endTurn();
  bench.fail(0, false);
  while (bench.executor.running.length > 0) bench.finish();
  t.equal(call.replies, 1);
  t.equal(call.error?.code, GrpcStatus.INTERNAL);
  t.equal(bench.executor.started.length, 1, 'no session ran rows nobody waits for');
  const { statuses } = bench.servable.stats.bySignature.get('serving_default')!;
  t.equal(
    statuses.reduce((sum, count) => sum + count, 0),
    1,
    'one request, whatever its parts',
  );
});

t.test('a cancelled task takes its parts out', async (t) => {
  const bench = new BatchingBench(SPLITTING);
  const call = submit(bench.servable, rows(10));
  call.cancelled = true;
  bench.pacer.endTurn();
  t.equal(bench.executor.started.length, 0);
  t.equal(call.replies, 1);
  t.equal(call.error?.code, GrpcStatus.CANCELLED);
});

t.test('outputs that onnxruntime allocates are put together too', async (t) => {
  const models = new TestModels();
  t.teardown(() => models.close());
  const servable = await models.load(anyLength(), SPLITTING);
  const data = Float32Array.from({ length: 9 * 3 }, (_, i) => i);
  const call = await submit(servable, { x: { type: 'float32', dims: [9, 3], data } }).settled;
  t.same(call.outputs, [{ name: 'y', dims: [9, 3], values: [...data].map((value) => value * 2) }]);
});
