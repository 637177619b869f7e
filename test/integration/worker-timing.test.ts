/** Queue, batch and compute time of single calls, told to those who ask, over all four protocols. */
import t, { type Test } from 'tap';
import { request } from 'undici';
import { GrpcCaller } from '../support/grpc-caller.ts';
import { scaleModel } from '../support/model-folder.ts';
import { encodeMessage } from '../support/proto-codecs.ts';
import { framed } from '../support/scripted-upstream.ts';
import { floats, modelSpec } from '../support/tfs-client.ts';
import { openTestFront } from '../support/worker-front.ts';

/** Every batch waits this long for company that does not come. */
const WAIT_MS = 20;
const { url, address } = await openTestFront(
  t,
  { scale: scaleModel(2) },
  {},
  { adaptive: false, batchTimeoutMicros: WAIT_MS * 1000 },
);
const caller = GrpcCaller.to(t, address);

const ASKED = { 'x-understudy-timing': '1' };
const CALLS = {
  Predict: {
    ':path': '/tensorflow.serving.PredictionService/Predict',
    body: encodeMessage('tensorflow.serving.PredictRequest', {
      model_spec: modelSpec('scale'),
      inputs: { x: floats([1, 2], [1, 2]) },
    }),
  },
  ModelInfer: {
    ':path': '/inference.GRPCInferenceService/ModelInfer',
    body: encodeMessage('inference.ModelInferRequest', {
      model_name: 'scale',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], contents: { fp32_contents: [1, 2] } }],
    }),
  },
};
const POSTS: readonly (readonly [string, string])[] = [
  ['/v1/models/scale:predict', '{"instances":[[1,2]]}'],
  ['/v2/models/scale/infer', '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}'],
  [
    '/v2/models/scale/infer',
    '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}],"parameters":{"binary_data_output":true}}',
  ],
];

function checkTimes(t: Test, fields: Readonly<Record<string, unknown>>, what: string): void {
  const queueUs = Number(fields['x-understudy-queue-us']);
  const batchUs = Number(fields['x-understudy-batch-us']);
  const computeUs = Number(fields['x-understudy-compute-us']);
  t.ok(Number.isInteger(queueUs) && queueUs >= (WAIT_MS - 2) * 1000, `${what}: waited ${queueUs} us`);
  t.ok(Number.isInteger(batchUs) && batchUs >= 0 && batchUs < 10_000_000, `${what}: handed over in ${batchUs} us`);
  t.ok(Number.isInteger(computeUs) && computeUs >= 0 && computeUs < 10_000_000, `${what}: ran ${computeUs} us`);
}

for (const [name, { body, ...path }] of Object.entries(CALLS)) {
  t.test(`${name} tells its times in the trailers when asked, and only then`, async (t) => {
    const asked = await caller.call(framed(body), { ...path, ...ASKED });
    t.equal(asked.status, 0);
    checkTimes(t, asked.trailers, name);
    const plain = await caller.call(framed(body), path);
    t.equal(plain.status, 0);
    t.same(plain.served, {});
  });
}

t.test('HTTP answers tell their times in the head when asked, and only then', async (t) => {
  for (const [path, body] of POSTS) {
    const asked = await request(url + path, { method: 'POST', body, headers: ASKED });
    await asked.body.dump();
    t.equal(asked.statusCode, 200);
    checkTimes(t, asked.headers, path);
    const plain = await request(url + path, { method: 'POST', body });
    await plain.body.dump();
    t.equal(plain.headers['x-understudy-queue-us'], undefined);
  }
});

t.test('a call that fails tells no times', async (t) => {
  const unknown = encodeMessage('tensorflow.serving.PredictRequest', { model_spec: modelSpec('nope') });
  const { status, served } = await caller.call(framed(unknown), ASKED);
  t.equal(status, 5);
  t.same(served, {});
});
