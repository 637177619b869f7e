/**
 * Asks one model in the four ways that model servers are asked: TensorFlow Serving and Open Inference, gRPC (grpc-js) and
 * REST (fetch). Run as a program; prints one line of JSON: what each answered, and which model the answer names.
 *
 *   node four-protocol-caller.ts <host> <gRPC port> <REST port> <model>
 */
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { PROTO_DIR, ProtoFile } from '../../proto/files.ts';
import { floats, type Message, modelSpec, TfsClient } from './tfs-client.ts';

const [host = '', grpcPort = '', restPort = '', model = ''] = process.argv.slice(2);
const DEADLINE_MS = 10_000;

console.log(
  JSON.stringify({
    tfsGrpc: await tfsGrpc(),
    oipGrpc: await oipGrpc(),
    tfsRest: await rest(`/v1/models/${model}:predict`, { instances: [{ x: [1, 2] }] }),
    oipRest: await rest(`/v2/models/${model}/infer`, {
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2] }],
    }),
  }),
);

async function tfsGrpc(): Promise<object> {
  const client = new TfsClient(`${host}:${grpcPort}`);
  try {
    const reply = await client.predict({ model_spec: modelSpec(model), inputs: { x: floats([1, 2], [1, 2]) } });
    return { y: reply.outputs.y.float_val };
  } catch (error) {
    return { error: (error as Error).message };
  } finally {
    client.close();
  }
}

async function oipGrpc(): Promise<object> {
  const loaded = loadSync(ProtoFile.openInference, { includeDirs: [PROTO_DIR], keepCase: true, longs: String });
  const { ModelInfer } = loaded['inference.GRPCInferenceService'] as grpc.ServiceDefinition;
  const client = new grpc.Client(`${host}:${grpcPort}`, grpc.credentials.createInsecure());
  const input = { name: 'x', datatype: 'FP32', shape: ['1', '2'], contents: { fp32_contents: [1, 2] } };
  try {
    return await new Promise((resolve) => {
      const { path, requestSerialize, responseDeserialize } = ModelInfer!;
      client.makeUnaryRequest<object, Message>(
        path,
        requestSerialize,
        responseDeserialize,
        { model_name: model, inputs: [input] },
        { deadline: Date.now() + DEADLINE_MS },
        (error, reply) => {
          if (error !== null || reply === undefined) resolve({ error: error?.message });
          else resolve({ y: floatsOf(reply.outputs[0], reply.raw_output_contents?.[0]) });
        },
      );
    });
  } finally {
    client.close();
  }
}

/** Typed contents, or the raw bytes that stand for them. */
function floatsOf(output: Message, raw: Buffer | undefined): number[] {
  if (raw === undefined) return output.contents.fp32_contents;
  return Array.from({ length: raw.length / 4 }, (_, i) => raw.readFloatLE(4 * i));
}

async function rest(path: string, body: object): Promise<object> {
  try {
    const answer = await fetch(`http://${host}:${restPort}${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    const reply = (await answer.json()) as Message;
    const by = answer.headers.get('x-understudy-served-by');
    const y = reply.predictions?.[0]?.y ?? reply.predictions?.[0] ?? reply.outputs?.[0]?.data;
    return { y, by, ...(reply.error === undefined ? {} : { error: reply.error }) };
  } catch (error) {
    return { error: (error as Error).message };
  }
}
