/** HTTP/1.1 callers of the soak, by node:http: REST calls of the model and other requests, kept-alive and not. */
import http from 'node:http';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { resetSocket } from '../support/reset.ts';
import type { Random } from './random.ts';
import type { End, Tally } from './tally.ts';

const PATIENCE_MS = 4000;
const HONEST_FAILURES: readonly number[] = [500, 502, 503, 504, 429];

export async function httpCaller(address: string, random: Random, tally: Tally, untilMs: number): Promise<void> {
  const [host, port] = address.split(':') as [string, string];
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
  const seen = new WeakSet<net.Socket>();
  const one = async () => {
    while (performance.now() < untilMs) {
      if (random.chance(0.05)) await tally.watch('h1-half', () => halfRequest(host, Number(port), random, tally));
      else await tally.watch('h1', () => call(agent, host, port, random, tally, seen));
    }
  };
  await Promise.all([one(), one(), one()]);
  agent.destroy();
}

/** A request that is never finished: its connection dies within the head or the body. */
function halfRequest(host: string, port: number, random: Random, tally: Tally): Promise<End> {
  const text = 'POST /v1/models/m:predict HTTP/1.1\r\nhost: soak\r\ncontent-length: 1000\r\n\r\n{"instances":[';
  return new Promise((resolve) => {
    const socket = net.connect(port, host, () => {
      tally.connections++;
      socket.write(text.slice(0, random.between(0, text.length)));
      const die = () => {
        if (random.chance(0.5)) socket.destroy();
        else resetSocket(socket);
        resolve('gone');
      };
      setTimeout(die, random.between(0, 100));
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve('gone'));
    socket.resume();
  });
}

function call(
  agent: http.Agent,
  host: string,
  port: string,
  random: Random,
  tally: Tally,
  seen: WeakSet<net.Socket>,
): Promise<End> {
  const body = random.bytes(random.size());
  const kind = random.next();
  const isModel = kind < 0.5;
  const path = isModel ? '/v1/models/m:predict' : kind < 0.8 ? '/echo' : '/stream';
  const headers: http.OutgoingHttpHeaders = { 'x-soak-crc': String(crc32(body)) };
  if (random.chance(0.5)) headers['content-length'] = body.length;
  if (random.chance(0.05)) headers['connection'] = 'close';
  const dies = random.chance(0.1);
  const dieAt = random.pick(['now', 'later', 'answer']);
  let gone = false;
  return new Promise((resolve) => {
    const request = http.request({ agent, host, port, path, method: 'POST', headers });
    const give = () => {
      gone = true;
      request.destroy();
    };
    const timer = setTimeout(give, dies && dieAt === 'later' ? random.between(0, 100) : PATIENCE_MS);
    let settled = false;
    let responded = false;
    const settle = (end: End) => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      resolve(end);
    };
    request.on('socket', (socket) => {
      if (seen.has(socket)) return;
      seen.add(socket);
      if (socket.connecting) socket.once('connect', () => tally.connections++);
      else tally.connections++;
    });
    request.on('error', () => {
      if (responded) return;
      if (!gone) tally.failure('h1 no answer');
      settle(gone ? 'gone' : 'cut');
    });
    request.on('close', () => {
      if (!responded) settle(gone ? 'gone' : 'cut');
    });
    request.on('response', (response) => {
      responded = true;
      const chunks: Buffer[] = [];
      if (dies && dieAt === 'answer') response.once('data', give);
      if (random.chance(0.1)) {
        response.pause();
        setTimeout(() => response.resume(), random.between(20, 500));
      }
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', () => {});
      response.on('close', () => {
        const answer = Buffer.concat(chunks);
        tally.bytes += body.length + answer.length;
        settle(judge(response, answer, body, path, gone, tally));
      });
    });
    void send(request, body, random);
    if (dies && dieAt === 'now') give();
  });
}

function judge(
  response: http.IncomingMessage,
  answer: Buffer,
  sent: Buffer,
  path: string,
  gone: boolean,
  tally: Tally,
): End {
  const status = response.statusCode!;
  if (status === 200 && !answer.equals(sent.subarray(0, answer.length))) {
    tally.wrong(`HTTP/1.1 ${path}: ${answer.length} bytes that are not what was sent`);
  }
  if (gone) return 'gone';
  if (!response.complete) {
    tally.failure('h1 cut');
    return 'cut';
  }
  if (status === 200) {
    if (answer.length !== sent.length) {
      tally.wrong(`HTTP/1.1 ${path}: ${answer.length} of ${sent.length} bytes and yet complete`);
    }
    return 'ok';
  }
  tally.failure(`h1 status ${status}`);
  if (!HONEST_FAILURES.includes(status))
    tally.wrong(`HTTP/1.1 ${path}: status ${status}: ${answer.toString('latin1', 0, 200)}`);
  return 'failed';
}

async function send(request: http.ClientRequest, body: Buffer, random: Random): Promise<void> {
  if (random.chance(0.75)) {
    request.end(body);
    return;
  }
  const pieces = random.between(2, 4);
  const size = Math.ceil(body.length / pieces);
  for (let i = 0; i < pieces && !request.destroyed; i++) {
    request.write(body.subarray(i * size, (i + 1) * size));
    await delay(random.between(0, 40));
  }
  if (!request.destroyed) request.end();
}
