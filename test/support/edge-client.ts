/**
 * Callers that behave unusually, for interception tests. Run as a program; prints one line of JSON.
 *
 *   fragments <hosts> <port>       HTTP/2 preface and SETTINGS, one byte at a time: [{"frame":type of the first answer}]
 *   steer <host:port> <texts>      a call per text, whose headers name it as the destination: [{"said":...}]
 *   storm <hosts> <port> <count>   connections opened in turn to each of the hosts, answered once and closed, 64 at a
 *                                  time: {"answered":n}
 *   silence <host> <port>          says nothing until the other side closes: {"closedAfterMs":n}
 *   reach <hosts> <ports> <text>   says the text to every port of every host: {"host port":what came back}, which is its
 *                                  first line, `closed`, or an error's code
 *   drip <host> <port> <text>      says the text a byte at a time, nothing until it is answered, and ends: {"said":...}
 *   pour <host> <port> <MiB>       sends so much, ends its side, reads on: {"sent":SHA-256,"said":...}
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import { NOTES_SAY } from './model-server.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1');
const STORM_WIDTH = 64;
const REACH_TIMEOUT_MS = 10_000;
const [mode, first = '', second = '', third = ''] = process.argv.slice(2);

if (mode === 'fragments') {
  const frames = await Promise.all(first.split(',').map((host) => fragments(host, Number(second))));
  console.log(JSON.stringify(frames));
} else if (mode === 'steer') {
  const said = await Promise.all(second.split(',').map((elsewhere) => steer(first, elsewhere)));
  console.log(JSON.stringify(said));
} else if (mode === 'silence') await silence(first, Number(second));
else if (mode === 'reach') await reach(first.split(','), second.split(','), third);
else if (mode === 'drip') await drip(first, Number(second), third);
else if (mode === 'pour') await pour(first, Number(second), Number(third));
else await storm(first.split(','), Number(second), Number(third));

async function fragments(host: string, port: number): Promise<object> {
  const socket = net.connect({ host, port, noDelay: true });
  const frame = new Promise((resolve) => {
    socket.once('data', (bytes) => resolve(bytes[3]));
    socket.once('close', () => resolve('closed'));
    socket.on('error', () => {});
  });
  for (const byte of PREFACE) {
    socket.write(Buffer.of(byte));
    await delay(2);
  }
  const answer = { frame: await frame };
  socket.destroy();
  return answer;
}

async function steer(target: string, elsewhere: string): Promise<object> {
  const client = new grpc.Client(target, grpc.credentials.createInsecure());
  const headers = new grpc.Metadata();
  for (const name of ['x-envoy-original-dst-host', 'l5d-dst-override', 'x-original-dst-host', 'x-forwarded-host'])
    headers.set(name, elsewhere);
  const { path, requestSerialize, responseDeserialize } = NOTES_SAY;
  const deadline = Date.now() + 10_000;
  const said = await new Promise<object>((resolve) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      Buffer.from('hi'),
      headers,
      { deadline },
      (error, reply) => {
        resolve(error === null ? { said: String(reply) } : { code: error.code });
      },
    );
  });
  client.close();
  return said;
}

async function silence(host: string, port: number): Promise<void> {
  const beganMs = performance.now();
  const socket = net.connect({ host, port });
  socket.on('error', () => {});
  socket.resume();
  await new Promise((resolve) => socket.once('close', resolve));
  console.log(JSON.stringify({ closedAfterMs: Math.round(performance.now() - beganMs) }));
}

async function reach(hosts: readonly string[], ports: readonly string[], text: string): Promise<void> {
  const one = (host: string, port: string) =>
    new Promise<[string, string]>((resolve) => {
      const socket = net.connect({ host, port: Number(port), timeout: REACH_TIMEOUT_MS });
      const finish = (said: string) => {
        socket.destroy();
        resolve([`${host} ${port}`, said]);
      };
      socket.write(text);
      socket.once('data', (bytes) => finish(String(bytes).split('\r\n', 1)[0]!));
      socket.once('end', () => finish('closed'));
      socket.once('timeout', () => finish('silence'));
      socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    });
  const answers = await Promise.all(hosts.flatMap((host) => ports.map((port) => one(host, port))));
  console.log(JSON.stringify(Object.fromEntries(answers)));
}

async function drip(host: string, port: number, text: string): Promise<void> {
  const socket = net.connect({ host, port, noDelay: true });
  let said = '';
  const answered = once(socket, 'data');
  socket.on('data', (bytes) => {
    said += String(bytes);
  });
  for (const byte of Buffer.from(text, 'latin1')) {
    socket.write(Buffer.of(byte));
    await delay(2);
  }
  await answered;
  const closed = once(socket, 'close');
  socket.end();
  await closed;
  console.log(JSON.stringify({ said }));
}

async function pour(host: string, port: number, mebibytes: number): Promise<void> {
  const socket = net.connect({ host, port, allowHalfOpen: true });
  const hash = createHash('sha256');
  for (let i = 0; i < mebibytes; i++) {
    const bytes = randomBytes(2 ** 20);
    hash.update(bytes);
    if (!socket.write(bytes)) await once(socket, 'drain');
  }
  socket.end();
  let said = '';
  for await (const bytes of socket) said += String(bytes);
  console.log(JSON.stringify({ sent: hash.digest('hex'), said }));
}

async function storm(hosts: readonly string[], port: number, count: number): Promise<void> {
  let left = count;
  let answered = 0;
  const one = () =>
    new Promise<void>((resolve) => {
      const socket = net.connect({ host: hosts[left % hosts.length]!, port });
      socket.setTimeout(10_000, () => socket.destroy());
      socket.once('connect', () => socket.write('x'));
      socket.once('data', () => {
        answered++;
        socket.end();
      });
      socket.on('error', () => {});
      socket.once('close', () => resolve());
    });
  const lane = async () => {
    while (left-- > 0) await one();
  };
  await Promise.all(Array.from({ length: STORM_WIDTH }, lane));
  console.log(JSON.stringify({ answered }));
}
