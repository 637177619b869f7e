/**
 * An application that knows nothing of the sidecar: grpc-js and plain sockets dialling the addresses they are given. Run as
 * a program; prints one line of JSON.
 *
 *   node application.ts predict <host:port> <model>    {"servedBy":...,"metadata":{...}} or {"code":...,"details":...}
 *   node application.ts say <host:port> <text>         {"said":...} from /notes.Notes/Say
 *   node application.ts bytes <host> <port> <text>     {"said":...} of a connection that is not HTTP at all
 *   node application.ts listen <host> <port>           {"said":...} of a server that speaks first
 *   node application.ts all <JSON array of these>      a JSON array of their lines, one after the other in one process
 */
import net from 'node:net';
import * as grpc from '@grpc/grpc-js';
import { NOTES_SAY } from './model-server.ts';
import { floats, modelSpec, TfsClient } from './tfs-client.ts';

const ANSWER_TIMEOUT_MS = 10_000;
const [mode = '', ...rest] = process.argv.slice(2);
const isAll = mode === 'all';
const commands = isAll ? (JSON.parse(rest[0]!) as string[][]) : [[mode, ...rest]];
const lines: object[] = [];
for (const [name, address = '', second = '', third = ''] of commands) {
  if (name === 'predict') lines.push(await predict(address, second));
  else if (name === 'say') lines.push(await say(address, second));
  else lines.push(await talk(address, Number(second), third));
}
console.log(JSON.stringify(isAll ? lines : lines[0]));

async function predict(target: string, model: string): Promise<object> {
  const client = new TfsClient(target);
  try {
    const reply = await client.predict({ model_spec: modelSpec(model), inputs: { x: floats([1], [1]) } });
    return { servedBy: reply.outputs.served_by.string_val[0].toString(), version: reply.model_spec?.version?.value };
  } catch (error) {
    return { code: (error as grpc.ServiceError).code, details: (error as grpc.ServiceError).details };
  } finally {
    client.close();
  }
}

async function say(target: string, text: string): Promise<object> {
  const client = new grpc.Client(target, grpc.credentials.createInsecure());
  const deadline = Date.now() + ANSWER_TIMEOUT_MS;
  const { path, requestSerialize, responseDeserialize } = NOTES_SAY;
  const line = await new Promise<object>((resolve) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      Buffer.from(text),
      { deadline },
      (error, reply) => {
        resolve(error === null ? { said: String(reply) } : { code: error.code, details: error.details });
      },
    );
  });
  client.close();
  return line;
}

async function talk(host: string, port: number, text: string): Promise<object> {
  const socket = net.connect({ host, port, timeout: ANSWER_TIMEOUT_MS });
  if (text !== '') socket.write(text);
  const said = await new Promise<string>((resolve) => {
    socket.once('data', (bytes) => resolve(String(bytes)));
    socket.once('timeout', () => resolve('nothing in time'));
    socket.once('error', (error) => resolve(error.message));
    socket.once('end', () => resolve('closed without a word'));
  });
  socket.destroy();
  return { said };
}
