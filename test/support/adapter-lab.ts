/** A proxy whose primaries are gone, with a fallback of another schema, and callers of every protocol. */
import type { Test } from 'tap';
import { request } from 'undici';
import { type Answer, GrpcCaller } from './grpc-caller.ts';
import { dims, lite, liteRest, MODEL_INFER, ROWS } from './lite-upstream.ts';
import { decodeMessage, encodeMessage, type Message } from './proto-codecs.ts';
import { ProxyProgram } from './proxy-program.ts';
import { RestUpstream } from './rest-upstream.ts';
import { framed, ScriptedUpstream } from './scripted-upstream.ts';

const off = { breaker: { enabled: false } };
const dead = '127.0.0.1:1';

const clusters = (fallback: ScriptedUpstream, restFallback: RestUpstream) => [
  { name: 'lite@7', model: 'lite', version: '7', endpoints: [fallback.address], ...off },
  { name: 'lite-rest@7', model: 'lite', version: '7', endpoints: [restFallback.address], ...off },
];

export interface AdapterLab {
  readonly proxy: ProxyProgram;
  readonly caller: GrpcCaller;
  /** Serves `lite@7` over gRPC, and `lite-rest@7` over REST. */
  readonly fallback: ScriptedUpstream;
  readonly restFallback: RestUpstream;
  /** A Predict of two rows. */
  predict(model: string, more?: object): Promise<Answer & { readonly response: Message }>;
  /** A ModelInfer of the same two rows. */
  infer(model: string): Promise<Answer & { readonly response: Message }>;
  /** A REST call; `json` is the answer without its binary tensors. */
  post(path: string, body: object): Promise<RestReply>;
}

export interface RestReply {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly bytes: Buffer;
  readonly json: Message;
}

/** A proxy of `models`, whose primaries refuse connections unless a model has a split of its own. */
export async function openAdapterLab(
  t: Test,
  models: readonly { readonly name: string }[],
  env: Readonly<Record<string, string>> = {},
): Promise<AdapterLab> {
  const fallback = await ScriptedUpstream.start(t, 'lite', { script: lite });
  const restFallback = await RestUpstream.start(t, liteRest);
  const proxy = await ProxyProgram.start(t, {
    ready: false,
    env: { UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: dead, ...env },
    document: {
      clusters: clusters(fallback, restFallback),
      models: models.map((model) => ({ split: [{ model: `${model.name}@1 via ${dead}` }], ...off, ...model })),
    },
  });
  const caller = GrpcCaller.to(t, proxy.address);

  async function predict(model: string, more: object = {}): Promise<Answer & { readonly response: Message }> {
    const spec = { name: model, version: null };
    const message = encodeMessage('tensorflow.serving.PredictRequest', {
      model_spec: spec,
      inputs: { x: INPUT },
      ...more,
    });
    const answer = await caller.call(framed(message));
    return {
      ...answer,
      response:
        answer.status === 0 ? decodeMessage('tensorflow.serving.PredictResponse', answer.body.subarray(5)) : null,
    };
  }

  async function infer(model: string): Promise<Answer & { readonly response: Message }> {
    const message = encodeMessage('inference.ModelInferRequest', { model_name: model, id: 'q', inputs: [OIP_INPUT] });
    const answer = await caller.call(framed(message), { ':path': MODEL_INFER });
    return { ...answer, response: decodeMessage('inference.ModelInferResponse', answer.body.subarray(5)) };
  }

  async function post(path: string, body: object): Promise<RestReply> {
    const answer = await request(`http://${proxy.address}${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    });
    const bytes = Buffer.from(await answer.body.arrayBuffer());
    const jsonBytes = Number(answer.headers['inference-header-content-length'] ?? bytes.length);
    return {
      status: answer.statusCode,
      headers: answer.headers,
      bytes,
      json: JSON.parse(bytes.toString('utf8', 0, jsonBytes)),
    };
  }

  return { proxy, caller, fallback, restFallback, predict, infer, post };
}

/** The input `x` of a Predict: two rows. */
export const INPUT = { dtype: 1, ...dims(ROWS, 2), float_val: [1, 2, 3, 4] };

/** The same of a ModelInfer. */
export const OIP_INPUT = { name: 'x', datatype: 'FP32', shape: [ROWS, 2], contents: { fp32_contents: [1, 2, 3, 4] } };
