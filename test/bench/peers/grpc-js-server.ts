/**
 * Process entry: the plain way to serve a model from Node, for comparison. A grpc-js server that calls `session.run` for
 * each Predict request. Arguments: the execution provider, and `NAME=FILE` for each model. Announces `{ port }` over IPC.
 */
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { PROTO_DIR, ProtoFile } from '../../../proto/files.ts';
import { INPUT, OUTPUT } from '../worker/models.ts';

/** The fields of a PredictRequest this server reads. */
interface PredictRequest {
  readonly model_spec: { readonly name: string };
  readonly inputs: Readonly<Record<string, { tensor_shape: { dim: { size: number }[] }; tensor_content: Buffer }>>;
}

const DT_FLOAT = 1;
const FLOAT_BYTES = 4;

const sessions = new Map<string, InferenceSession>();
const [provider, ...files] = process.argv.slice(2) as [string, ...string[]];
const options = { executionProviders: [provider], intraOpNumThreads: 1, interOpNumThreads: 1 };
for (const argument of files) {
  const [name, file] = argument.split('=') as [string, string];
  sessions.set(name, await InferenceSession.create(file, options));
}

async function predict(request: PredictRequest): Promise<object> {
  const session = sessions.get(request.model_spec.name);
  const input = request.inputs[INPUT];
  if (session === undefined || input === undefined) throw new Error('no such model or input');
  const dims = input.tensor_shape.dim.map(({ size }) => size);
  // A copy, because the bytes may begin anywhere and floats must be aligned.
  const values = new Float32Array(input.tensor_content.length / FLOAT_BYTES);
  Buffer.from(values.buffer).set(input.tensor_content);
  const outputs = await session.run({ [INPUT]: new Tensor('float32', values, dims) });
  const output = outputs[OUTPUT]!;
  const shape = { dim: output.dims.map((size) => ({ size })) };
  // As bytes, which a generic protobuf library writes faster than a list of floats.
  const { buffer, byteOffset, byteLength } = output.data as Float32Array<ArrayBuffer>;
  return {
    model_spec: { name: request.model_spec.name, version: { value: 1 } },
    outputs: {
      [OUTPUT]: { dtype: DT_FLOAT, tensor_shape: shape, tensor_content: Buffer.from(buffer, byteOffset, byteLength) },
    },
  };
}

const definitions = loadSync(ProtoFile.predictionService, { includeDirs: [PROTO_DIR], keepCase: true, longs: Number });
const server = new grpc.Server({ 'grpc.max_concurrent_streams': 1024 });
server.addService(definitions['tensorflow.serving.PredictionService'] as grpc.ServiceDefinition, {
  Predict(call: grpc.ServerUnaryCall<PredictRequest, object>, callback: grpc.sendUnaryData<object>): void {
    predict(call.request).then(
      (reply) => callback(null, reply),
      (error: Error) => callback({ code: grpc.status.INVALID_ARGUMENT, details: error.message }),
    );
  },
});
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.send?.({ port });
});
process.on('disconnect', () => process.exit(0));
