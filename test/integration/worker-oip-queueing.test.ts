/** What the Open Inference Protocol says of requests that wait: the bound, priorities and timeouts. */
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { request } from 'undici';
import { scaleModel } from '../support/model-folder.ts';
import { fp32, jsonInput, SERVICE, two } from '../support/oip-front.ts';
import { heavy } from '../support/test-models.ts';
import { TfsClient } from '../support/tfs-client.ts';
import { openTestFront } from '../support/worker-front.ts';

t.test('a full queue is told as such, with the reason beside it, and is no failure of the model', async (t) => {
  const full = await openTestFront(
    t,
    { heavy: heavy(400) },
    {},
    { place: 'thread', threads: 1, maxBatchSize: 1, maxEnqueuedBatches: 1 },
  );
  const body = JSON.stringify({ inputs: [jsonInput('x', [1, 256], Array(256).fill(0.5))] });
  const replies = await Promise.all(
    Array.from({ length: 16 }, async () => {
      const reply = await request(`${full.url}/v2/models/heavy/infer`, { method: 'POST', body });
      const { error } = (await reply.body.json()) as { error?: string };
      return { code: reply.statusCode, error, reason: reply.headers['x-understudy-reason'] };
    }),
  );
  const refused = replies.filter(({ code }) => code !== 200);
  t.ok(refused.length > 0 && refused.length < replies.length, `${refused.length} of ${replies.length} refused`);
  for (const one of refused) {
    t.same(one, { code: 503, error: 'Exceeds maximum queue size', reason: 'batch_queue_full' });
  }
  const caller = new TfsClient(full.address);
  t.teardown(() => caller.close());
  const calls = Array.from({ length: 16 }, () =>
    caller
      .unary(SERVICE, 'ModelInfer', { model_name: 'heavy', inputs: [fp32('x', [1, 256], Array(256).fill(0.5))] })
      .catch((error) => error),
  );
  const errors = (await Promise.all(calls)).filter(({ code }) => code !== undefined);
  t.ok(errors.length > 0);
  for (const { code, details, metadata } of errors) {
    t.same([code, details], [status.UNAVAILABLE, 'Exceeds maximum queue size']);
    t.same(metadata.get('x-understudy-reason'), ['batch_queue_full']);
  }
});

t.test('what waits is run by its priority parameter, copies for a shadow last of all', async (t) => {
  const busy = await openTestFront(
    t,
    { heavy: heavy(1500) },
    {},
    { place: 'thread', threads: 1, maxBatchSize: 1, adaptive: false, batchTimeoutMicros: 0 },
  );
  const caller = new TfsClient(busy.address);
  t.teardown(() => caller.close());
  const order: string[] = [];
  const ask = async (name: string, priority: number, metadata = {}): Promise<void> => {
    const inputs = [fp32('x', [1, 256], Array(256).fill(0.5))];
    const parameters = { priority: { int64_param: priority } };
    await caller.unary(SERVICE, 'ModelInfer', { model_name: 'heavy', inputs, parameters }, { metadata });
    order.push(name);
  };
  // The thread holds one batch and takes one more ahead; the rest waits in the queue.
  const first = [ask('running', 0), ask('ahead', 0)];
  const { stats } = busy.servables.get('heavy')!;
  while (stats.runningBatches < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  const shadow = { 'x-understudy-shadow': '1' };
  const rest = [ask('shadow', 1, shadow), ask('low', 2), ask('default', 0), ask('highest', 1)];
  await Promise.all([...first, ...rest]);
  t.same(order, ['running', 'ahead', 'highest', 'default', 'low', 'shadow']);
});

t.test('a request that waited longer than its timeout parameter is told so', async (t) => {
  const waiting = await openTestFront(t, { scale: scaleModel(2) }, {}, { place: 'thread', threads: 1 });
  const inputs = [jsonInput('x', [1, 2], two)];
  const reply = await request(`${waiting.url}/v2/models/scale/infer`, {
    method: 'POST',
    body: JSON.stringify({ inputs, parameters: { timeout: 1, priority: 2 } }),
  });
  const body = (await reply.body.json()) as { error?: string };
  // A microsecond is over before the request is in the queue.
  t.same([reply.statusCode, body.error], [503, 'Request timeout expired']);
});
