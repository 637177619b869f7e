import { status } from '@grpc/grpc-js';
import t from 'tap';
import { openFront } from './support.ts';

const SERVICES = ['', 'PredictionService', 'ModelService', 'tensorflow.serving.PredictionService'];

t.test('Check follows the serving state for every service name', async (t) => {
  const { client, state } = await openFront(t);
  for (const service of SERVICES) t.equal((await client.check(service)).status, 2, `${service} before`);
  state.set(true);
  for (const service of SERVICES) t.equal((await client.check(service)).status, 1, `${service} serving`);
  await t.rejects(client.check('nobody'), { code: status.NOT_FOUND });
});

t.test('Watch tells the state at once and every change, until the server ends it', async (t) => {
  const { client, state, watch } = await openFront(t);
  state.set(true);
  const stream = client.stream('grpc.health.v1.Health', 'Watch', { service: '' });
  const seen: number[] = [];
  const ended = new Promise<number>((resolve) =>
    stream.on('error', (error) => resolve((error as { code?: number }).code ?? -1)),
  );
  const changes = new Promise<void>((resolve) => {
    stream.on('data', (message) => {
      seen.push(message.status);
      if (seen.length === 1) state.set(false);
      if (seen.length === 2) resolve();
    });
  });
  await changes;
  t.same(seen, [1, 2]);
  watch.close();
  t.equal(await ended, status.UNAVAILABLE);
});

t.test('Watch of an unknown service says so and stays open', async (t) => {
  const { client, state } = await openFront(t);
  const stream = client.stream('grpc.health.v1.Health', 'Watch', { service: 'nobody' });
  stream.on('error', () => {});
  const [message] = await new Promise<{ status: number }[]>((resolve) =>
    stream.once('data', (data) => resolve([data])),
  );
  t.equal(message?.status, 3);
  state.set(true);
  stream.cancel();
});
