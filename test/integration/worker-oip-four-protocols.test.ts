/** Any tensor goes through TensorFlow Serving's and the Open Inference Protocol's gRPC and REST and returns the same. */
import fc from 'fast-check';
import t from 'tap';
import { request } from 'undici';
import { ANY_TYPES, anyTensor, identityOf, MAX_RANK } from '../support/any-tensor.ts';
import { runs } from '../support/fuzz-runs.ts';
import { everyWay, held, type TensorTransport } from '../support/tensor-ways.ts';
import { TfsClient } from '../support/tfs-client.ts';
import { openTestFront } from '../support/worker-front.ts';

const models: Record<string, Buffer> = {};
for (const [type] of ANY_TYPES) {
  for (let rank = 0; rank <= MAX_RANK; rank++) models[`${type}-${rank}`] = identityOf(type, rank);
}
const { url, address } = await openTestFront(t, models);
const client = new TfsClient(address);
t.teardown(() => client.close());

async function post(path: string, body: string | Buffer, headers: Record<string, string> = {}) {
  const reply = await request(url + path, { method: 'POST', body, headers });
  const bytes = Buffer.from(await reply.body.arrayBuffer());
  if (reply.statusCode !== 200) throw new Error(`${reply.statusCode} ${bytes}`);
  return { bytes, headers: reply.headers };
}

const transport: TensorTransport = {
  modelOf: ({ type, dims }) => `${type}-${dims.length}`,
  predict: (message) => client.predict(message),
  infer: (message) => client.unary('inference.GRPCInferenceService', 'ModelInfer', message),
  post,
};

t.test('any tensor of any type and shape returns the same over all of them', async (t) => {
  await fc.assert(
    fc.asyncProperty(anyTensor, async (tensor) => {
      const expected = held(tensor);
      const ways = await everyWay(transport, tensor);
      for (const way of ways) if (way !== expected) throw new Error(JSON.stringify({ ways, expected }));
    }),
    { numRuns: runs(300) },
  );
  t.pass();
});
