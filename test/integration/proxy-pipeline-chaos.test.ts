/**
 * Steps that answer, fail, hang, reset and cut, for callers that wait, give up and leave, in every protocol at once: every
 * call ends, nothing stays behind, and the proxy lives.
 */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { Client } from 'undici';
import { answerOf, GrpcCaller } from '../support/grpc-caller.ts';
import { encodeMessage, type Message } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { framed, type Script, ScriptedUpstream, type UpstreamCall } from '../support/scripted-upstream.ts';
import { floats, modelSpec } from '../support/tfs-client.ts';

const CALLS = 400;
const AT_ONCE = 24;
const CANCEL = 8;

/** A generator of its own, so that a run can be told by its seed. */
let state = 20_261_121;
function random(): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return state / 2 ** 32;
}
const oneOf = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)]!;

async function echo(call: UpstreamCall): Promise<void> {
  await call.body;
  if (!call.ended) return;
  const { inputs } = await call.request();
  const y = Object.values(inputs)[0] as Message;
  call.answer(encodeMessage('tensorflow.serving.PredictResponse', { outputs: { y } }));
}

const DEEDS: readonly Script[] = [
  echo,
  echo,
  echo,
  async (call) => {
    await delay(random() * 20);
    await echo(call);
  },
  (call) => call.failInHead(14),
  (call) => call.failInTrailers(8, 'full'),
  (call) => call.failInHead(3, 'bad'),
  (call) => call.reset(),
  (call) => call.refuse(),
  () => {},
  (call) => call.answerHalf(20_000),
  async (call) => {
    await call.body;
    call.answer(Buffer.alloc(200_000));
  },
];

const upstream = await ScriptedUpstream.start(t, 'upstream', { script: (call) => oneOf(DEEDS)(call), forget: true });
const lite = await ScriptedUpstream.start(t, 'lite', { script: echo, forget: true });
const via = (at: ScriptedUpstream) => ({ model: `m via ${at.address}` });
const step = (name: string, model: string, from: string, more: object = {}) => {
  return { name, model, inputs: { x: from }, outputs: ['y'], ...more };
};
const tensor = { dtype: 'FP32', shape: [-1, 2] };
const proxy = await ProxyProgram.start(t, {
  ready: false,
  env: { UNDERSTUDY_CONCURRENCY: '1' },
  document: {
    models: [
      { name: 'plain', split: [via(upstream)], breaker: { enabled: false } },
      {
        name: 'backed',
        split: [{ model: `b via ${upstream.address}` }],
        fallback: [via(lite)],
        breaker: { enabled: false },
      },
    ],
    pipelines: [
      {
        name: 'wild',
        timeout: '500ms',
        maxSize: '128KiB',
        inputs: [{ name: 'x', ...tensor }],
        steps: [
          step('a', 'backed', 'request.x'),
          step('b', 'plain', 'request.x', { default: [{ name: 'y', ...tensor }] }),
          step('c', 'backed', 'a.y', { budget: '50%' }),
          step('d', 'plain', 'b.y', { default: [{ name: 'y', ...tensor }] }),
        ],
        outputs: [
          { name: 'c', from: 'c.y', ...tensor },
          { name: 'd', from: 'd.y', ...tensor },
        ],
      },
    ],
  },
});
const callers = Array.from({ length: 4 }, () => GrpcCaller.to(t, proxy.address));
const PREDICT = framed(
  encodeMessage('tensorflow.serving.PredictRequest', {
    model_spec: modelSpec('wild'),
    inputs: { x: floats([1, 2], [1, 2]) },
  }),
);
const image = { name: 'x', datatype: 'FP32', shape: [1, 2], contents: { fp32_contents: [1, 2] } };
const infer = encodeMessage('inference.ModelInferRequest', { model_name: 'wild', inputs: [image] });

/** One gRPC call; 'left' where its caller did not wait. */
async function grpcCall(path: string, body: Buffer): Promise<string> {
  const timeout = random() < 0.3 ? { 'grpc-timeout': `${Math.ceil(random() * 50)}m` } : {};
  const stream = oneOf(callers).open({ ':path': path, ...timeout });
  const answer = answerOf(stream);
  if (random() < 0.1) stream.write(body.subarray(0, body.length - 3));
  else stream.end(body);
  const leaves = random() < 0.25;
  if (leaves || !stream.writableEnded) {
    await delay(random() * 30);
    stream.close(CANCEL);
  }
  const { status, resetCode } = await answer;
  if (resetCode === CANCEL && status < 0) return 'left';
  return String(status);
}

async function restCall(path: string, body: string): Promise<string> {
  const client = new Client(`http://${proxy.address}`);
  try {
    const pending = client.request({ method: 'POST', path, body });
    if (random() < 0.25) {
      pending.catch(() => undefined);
      await delay(random() * 30);
      return 'left';
    }
    const { statusCode, body: answer } = await pending;
    await answer.dump();
    return String(statusCode);
  } finally {
    await client.destroy();
  }
}

const CALLS_BY_PROTOCOL: readonly (() => Promise<string>)[] = [
  () => grpcCall('/tensorflow.serving.PredictionService/Predict', PREDICT),
  () => grpcCall('/inference.GRPCInferenceService/ModelInfer', framed(infer)),
  () => grpcCall('/inference.GRPCInferenceService/ModelStreamInfer', Buffer.concat([framed(infer), framed(infer)])),
  () => restCall('/v1/models/wild:predict', '{"instances":[[1,2]]}'),
  () => restCall('/v2/models/wild/infer', '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}'),
];

t.test('whatever steps and callers do, every call ends and nothing stays behind', async (test) => {
  const outcomes = new Map<string, number>();
  let left = CALLS;
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const outcome = await oneOf(CALLS_BY_PROTOCOL)();
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  test.comment(JSON.stringify(Object.fromEntries([...outcomes].sort())));
  test.ok((outcomes.get('0') ?? 0) > 0, 'some gRPC calls were answered');
  test.ok((outcomes.get('200') ?? 0) > 0, 'so were some over REST');
  const known = new Set(['0', '3', '4', '8', '13', '14', 'left', '200', '400', '429', '500', '502', '503', '504']);
  for (const outcome of outcomes.keys()) test.ok(known.has(outcome), outcome);
  const idle = (name: string) => ['understudy_pipeline_in_flight_requests', 'understudy_pipeline_held_bytes', name];
  const gauges = [
    ...idle('understudy_cluster_in_flight_requests'),
    'understudy_cluster_pending_requests',
    'understudy_replay_held_bytes',
    'understudy_memory_held_bytes',
    'understudy_downstream_open_streams',
  ];
  const metrics = await proxy.metricsOnce((m) => gauges.every((name) => m.sum(name) === 0), 5000);
  for (const name of gauges) test.equal(metrics.sum(name), 0, name);
  const runs = metrics.sum('understudy_pipeline_step_runs_total');
  for (const outcome of ['primary', 'fallback', 'default', 'failed', 'cancelled']) {
    const count = metrics.sum('understudy_pipeline_step_runs_total', { outcome });
    test.ok(count > 0, `${count} of ${runs} runs: ${outcome}`);
  }
  const crashed = proxy.logs.filter(({ level }) => level === 'error');
  test.same(crashed, []);
});
