import t from 'tap';
import { batchingOptionsProblems, DEFAULT_BATCHING } from '../../../../inference-worker/batching/batching-options.ts';

t.test('the defaults are usable', async (t) => {
  t.same(batchingOptionsProblems(DEFAULT_BATCHING), []);
});

t.test('the last allowed batch size must be the largest batch', async (t) => {
  const problems = batchingOptionsProblems({ ...DEFAULT_BATCHING, maxBatchSize: 16, allowedBatchSizes: [4, 8] });
  t.same(problems, ['allowedBatchSizes: expected the last entry to equal maxBatchSize 16, got 8']);
});

t.test('all mistakes are reported together', async (t) => {
  const problems = batchingOptionsProblems({
    ...DEFAULT_BATCHING,
    maxBatchSize: 0,
    batchTimeoutMicros: -1,
    maxEnqueuedBatches: 1.5,
    allowedBatchSizes: [2, 2, 0],
    place: 'gpu' as 'auto',
    threads: 0,
    executionTimeoutMs: Number.NaN,
  });
  t.equal(problems.length, 7);
});
