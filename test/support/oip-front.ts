/** The Open Inference Protocol as its clients meet it: grpc-js and undici against a front with real models. */
import type { Test } from 'tap';
import { request } from 'undici';
import { scaleModel, sumModel } from './model-folder.ts';
import { OnnxModel } from './onnx-writer.ts';
import { identity, mlp } from './test-models.ts';
import { type Message, TfsClient } from './tfs-client.ts';
import { openTestFront, type TestFront } from './worker-front.ts';

const typed = new OnnxModel('typed')
  .input('a', 'int32', ['batch', 2])
  .output('y', 'int32', ['batch', 2])
  .node('Identity', ['a'], ['y'])
  .build();

export const SERVICE = 'inference.GRPCInferenceService';

/** What a REST call was answered with. */
export interface RestReply {
  readonly status: number;
  readonly bytes: Buffer;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  json(): Message;
}

export interface OipFront {
  readonly state: TestFront['state'];
  readonly client: TfsClient;
  grpc(method: string, message: object): Promise<Message>;
  rest(
    method: string,
    path: string,
    body?: object | string | Buffer,
    headers?: Record<string, string>,
  ): Promise<RestReply>;
}

/** Serves six models, `scale`, `sum`, `typed`, `half`, `texts` and `mlp`, and calls them over both transports. */
export async function openOipFront(t: Test): Promise<OipFront> {
  const { url, address, state } = await openTestFront(t, {
    scale: scaleModel(2),
    sum: sumModel(),
    typed,
    half: identity('float16'),
    texts: identity('string'),
    mlp: mlp(),
  });
  const client = new TfsClient(address);
  t.teardown(() => client.close());

  const grpc = (method: string, message: object): Promise<Message> => client.unary(SERVICE, method, message);

  async function rest(
    method: string,
    path: string,
    body?: object | string | Buffer,
    headers: Record<string, string> = {},
  ) {
    const payload =
      body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    const reply = await request(url + path, { method, body: payload ?? null, headers });
    const bytes = Buffer.from(await reply.body.arrayBuffer());
    return { status: reply.statusCode, bytes, headers: reply.headers, json: () => JSON.parse(bytes.toString()) };
  }

  return { state, client, grpc, rest };
}

/** An input with typed contents, for ModelInfer. */
export const fp32 = (name: string, shape: number[], values: number[]) => ({
  name,
  datatype: 'FP32',
  shape,
  contents: { fp32_contents: values },
});

/** The same in JSON, for infer. */
export const jsonInput = (name: string, shape: number[], data: unknown, datatype = 'FP32') => ({
  name,
  datatype,
  shape,
  data,
});

/** The values of one row. */
export const two = [1, 2];
