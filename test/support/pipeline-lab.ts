import type { Test } from 'tap';
import { request } from 'undici';
import { type Answer, GrpcCaller } from './grpc-caller.ts';
import { decodeMessage, encodeMessage, type Message } from './proto-codecs.ts';
import { ProxyProgram } from './proxy-program.ts';
import { framed, type Script, ScriptedUpstream } from './scripted-upstream.ts';
import { floats, modelSpec } from './tfs-client.ts';

/** The HTTP/2 code that a call is given up with. */
export const CANCEL = 8;

/** Headers that make a call ModelInfer. */
export const INFER = { ':path': '/inference.GRPCInferenceService/ModelInfer' };

/** Answers `y = x + 1` for any shape. */
export const adds: Script = async (call) => {
  await call.body;
  if (!call.ended) return;
  const { inputs } = await call.request();
  const x = Object.values(inputs)[0] as Message;
  const y = { ...x, float_val: valuesOf(x).map((value) => value + 1), tensor_content: Buffer.alloc(0) };
  call.answer(encodeMessage('tensorflow.serving.PredictResponse', { outputs: { y } }));
};

function valuesOf({ float_val: list, tensor_content: content }: Message): number[] {
  if (content.length === 0) return list;
  return Array.from({ length: content.length / 4 }, (_, i) => content.readFloatLE(4 * i));
}

/** A tensor as a pipeline declares it: rows of two floats. */
export const tensor = (name: string) => ({ name, dtype: 'FP32', shape: [-1, 2] });

/** Two steps, `one` of the model `first` and `two` of the model `second`, so that y = x + 2 and half = x + 1. */
export const chain = (name: string, more: object = {}, stepMore: object = {}) => ({
  name,
  inputs: [tensor('x')],
  steps: [
    { name: 'one', model: 'first', inputs: { x: 'request.x' }, outputs: ['y'] },
    { name: 'two', model: 'second', inputs: { x: 'one.y' }, outputs: ['y'], ...stepMore },
  ],
  outputs: [
    { from: 'two.y', ...tensor('y') },
    { from: 'one.y', ...tensor('half') },
  ],
  ...more,
});

/** A rule that doubles the first column, and a fallback whose answers have another shape. */
const column = { score: { bias: 0, terms: [{ input: 'x', column: 0, weight: 2 }] } };
const RULE = { name: 'y', dtype: 'FP32', shape: [-1, 1], ...column };
const MAPPED = { name: 'y', dtype: 'FP32', shape: [-1, 1] };

export interface PipelineUpstreams {
  readonly first: ScriptedUpstream;
  readonly second: ScriptedUpstream;
  /** A model that one of them serves, as a document has it. */
  model(name: string, via: ScriptedUpstream): object;
}

/** Two upstreams that add one; before each test they do, and have forgotten their calls. */
export async function openPipelineUpstreams(t: Test): Promise<PipelineUpstreams> {
  const first = await ScriptedUpstream.start(t, 'first', { script: adds });
  const second = await ScriptedUpstream.start(t, 'second', { script: adds });
  const model = (name: string, via: ScriptedUpstream) => ({
    name,
    split: [{ model: `${name}@1 via ${via.address}` }],
    breaker: { enabled: false },
  });
  t.beforeEach(() => {
    first.script = adds;
    second.script = adds;
    first.calls.length = 0;
    second.calls.length = 0;
  });
  return { first, second, model };
}

export interface PipelineLab {
  readonly proxy: ProxyProgram;
  readonly caller: GrpcCaller;
  readonly first: ScriptedUpstream;
  readonly second: ScriptedUpstream;
  /** A Predict of a pipeline. */
  ask(name: string, headers?: Record<string, string>, values?: readonly number[]): Promise<Answer>;
  /** A REST call. */
  post(path: string, body: object | string, headers?: Record<string, string>): Promise<Reply>;
}

/** What a REST call was answered with. */
export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** A proxy of one data thread with pipelines over both models, each pipeline with one thing about it. */
export async function openPipelineLab(t: Test): Promise<PipelineLab> {
  const { first, second, model } = await openPipelineUpstreams(t);
  const proxy = await ProxyProgram.start(t, {
    ready: false,
    env: { UNDERSTUDY_CONCURRENCY: '1', UNDERSTUDY_OUTBOUND_MAX_HELD_SIZE: '2MiB' },
    document: {
      models: [
        model('first', first),
        model('second', second),
        { ...model('ruled', second), fallback: [{ rule: { outputs: [RULE] } }] },
        {
          ...model('mapped', second),
          fallback: [{ model: `lite@1 via ${first.address}`, adapt: { outputs: [MAPPED] } }],
        },
      ],
      pipelines: [
        chain('ruled-chain', {}, { model: 'ruled' }),
        chain('mapped-chain', {}, { model: 'mapped' }),
        chain('chain'),
        chain('infer-chain', {}, { protocol: 'open-inference' }),
        chain('padded', {}, { default: [{ name: 'y', dtype: 'FP32', shape: [-1, 2], values: [7, 8] }] }),
        chain('patient', { timeout: '150ms' }),
        chain('single', { concurrentRequests: 1 }),
        chain('small', { maxSize: '4KiB' }),
        {
          ...chain('wide'),
          steps: [
            { name: 'one', model: 'first', inputs: { x: 'request.x' }, outputs: ['y'] },
            { name: 'two', model: 'second', inputs: { x: 'request.x' }, outputs: ['y'] },
          ],
        },
      ],
    },
  });
  const caller = GrpcCaller.to(t, proxy.address);
  const ask = (name: string, headers: Record<string, string> = {}, values?: readonly number[]) =>
    caller.call(predictBody(name, values), headers);

  async function post(path: string, body: object | string, headers: Record<string, string> = {}): Promise<Reply> {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const answer = await request(`http://${proxy.address}${path}`, { method: 'POST', body: text, headers });
    return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
  }

  return { proxy, caller, first, second, ask, post };
}

/** A Predict of `values`, in rows of two. */
export function predictBody(name: string, values: readonly number[] = [1, 2], more: object = {}): Buffer {
  const message = { model_spec: modelSpec(name), inputs: { x: floats([values.length / 2, 2], values) }, ...more };
  return framed(encodeMessage('tensorflow.serving.PredictRequest', message));
}

/** The values of each output; throws what the call failed with. */
export function outputsOf(answer: Answer): Record<string, number[]> {
  if (answer.status !== 0) throw new Error(`${answer.status} ${answer.message}`);
  const { outputs } = decodeMessage('tensorflow.serving.PredictResponse', answer.body.subarray(5));
  return Object.fromEntries(Object.entries(outputs).map(([name, y]) => [name, valuesOf(y)]));
}
