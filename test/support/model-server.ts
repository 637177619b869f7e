/**
 * Somebody else's model server, made of grpc-js: answers Predict for any model with its own name in the output
 * `served_by`, health checks with SERVING, and `/notes.Notes/Say`, which no schema of ours knows, with `name: text`. Run as a program:
 *
 *   node model-server.ts <name> <grpc address> [<port for bytes> [<port that speaks first>]]
 *
 * The address is `host:port` or `unix:/path`. On the port for bytes it sends back what it gets behind its name; on the
 * other it greets with its name before the caller has said anything.
 */
import { chmodSync } from 'node:fs';
import net from 'node:net';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { PROTO_DIR, ProtoFile } from '../../proto/files.ts';

/** The service that only this server and its callers know; messages are bare bytes. */
export const NOTES_SAY = {
  path: '/notes.Notes/Say',
  requestStream: false,
  responseStream: false,
  requestSerialize: (value: Buffer) => value,
  requestDeserialize: (bytes: Buffer) => bytes,
  responseSerialize: (value: Buffer) => value,
  responseDeserialize: (bytes: Buffer) => bytes,
} as const satisfies grpc.MethodDefinition<Buffer, Buffer>;

/** grpc.health.v1 on its wire: HealthCheckResponse { status: SERVING }. */
const HEALTH_CHECK = { ...NOTES_SAY, path: '/grpc.health.v1.Health/Check' };
const SERVING = Buffer.from([1 << 3, 1]);

if (process.argv[1] === import.meta.filename) await serve(process.argv.slice(2));

async function serve([name = 'server', address = '', bytesPort, greetingPort]: readonly string[]): Promise<void> {
  const loaded = loadSync(ProtoFile.predictionService, { includeDirs: [PROTO_DIR], keepCase: true, longs: String });
  const server = new grpc.Server();
  const prediction = loaded['tensorflow.serving.PredictionService'] as grpc.ServiceDefinition;
  server.addService(prediction, {
    Predict(call: grpc.ServerUnaryCall<{ model_spec: object }, object>, respond: grpc.sendUnaryData<object>) {
      const servedBy = { dtype: 7, tensor_shape: { dim: [{ size: 1 }] }, string_val: [Buffer.from(name)] };
      respond(null, { model_spec: call.request.model_spec, outputs: { served_by: servedBy } });
    },
  });
  server.addService(
    { say: NOTES_SAY },
    {
      say(call: grpc.ServerUnaryCall<Buffer, Buffer>, respond: grpc.sendUnaryData<Buffer>) {
        respond(null, Buffer.from(`${name}: ${call.request}`));
      },
    },
  );
  server.addService(
    { check: HEALTH_CHECK },
    {
      check(_call: grpc.ServerUnaryCall<Buffer, Buffer>, respond: grpc.sendUnaryData<Buffer>) {
        respond(null, SERVING);
      },
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve()));
  });
  if (address.startsWith('unix:')) chmodSync(address.slice(5), 0o777);
  if (bytesPort !== undefined) {
    await listen(bytesPort, (socket) => socket.on('data', (bytes) => socket.write(`${name}: ${bytes}`)));
  }
  if (greetingPort !== undefined) await listen(greetingPort, (socket) => socket.end(`${name}\n`));
  console.log('ready');
}

function listen(port: string, take: (socket: net.Socket) => void): Promise<void> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    take(socket);
  });
  return new Promise((resolve) => server.listen({ host: '::', port: Number(port) }, resolve));
}
