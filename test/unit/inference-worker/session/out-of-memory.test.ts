/** A run for which there is no memory fails alone, in words of its own; the servable goes on. */
import t from 'tap';
import { GrpcStatus } from '../../../../base/grpc-status.ts';
import type { ExecutionPlace } from '../../../../inference-worker/batching/batching-options.ts';
import { isOutOfMemory } from '../../../../inference-worker/session/out-of-memory.ts';
import { submit } from '../../../support/predict-tasks.ts';
import { allocator, TestModels } from '../../../support/test-models.ts';

const models = new TestModels();
t.teardown(() => models.close());

/** Floats no machine has room for: 2^60 bytes. */
const TOO_MANY = 2n ** 58n;
const ones = (count: bigint) => ({ n: { type: 'int64', dims: [1], data: BigInt64Array.of(count) } });

for (const place of ['front', 'thread'] as readonly ExecutionPlace[]) {
  t.test(`${place}: a model that asks for more than there is is answered RESOURCE_EXHAUSTED`, async (t) => {
    const servable = await models.load(allocator(), { place });
    const greedy = await submit(servable, ones(TOO_MANY)).settled;
    t.equal(greedy.error?.code, GrpcStatus.RESOURCE_EXHAUSTED, String(greedy.error?.message));
    t.equal(greedy.error?.reason, 'device_out_of_memory');
    const modest = await submit(servable, ones(1000n)).settled;
    t.same(modest.values(), [1000], 'and the next run is as good as ever');
  });
}

t.test('the words of each provider are known', async (t) => {
  for (const message of [
    'CUDA failure 2: out of memory ; GPU=0 ; hostname=pod',
    'Failed to allocate memory for requested buffer of size 1099511627776',
    'BFCArena::AllocateRawInternal Available memory of 12 is smaller than requested bytes of 64',
    'std::bad_alloc',
    'VK_ERROR_OUT_OF_DEVICE_MEMORY',
  ]) {
    t.ok(isOutOfMemory(message), message);
  }
  t.notOk(isOutOfMemory('indices element out of data bounds, idx=9 must be within the inclusive range [-4,3]'));
});
