/** Callers of the soak that speak no protocol the proxy knows: their bytes must come back as they went. */
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { resetSocket } from '../support/reset.ts';
import type { Random } from './random.ts';
import type { End, Tally } from './tally.ts';

const PATIENCE_MS = 4000;
const FIRST = Buffer.from([0xff]);

export async function tcpCaller(address: string, random: Random, tally: Tally, untilMs: number): Promise<void> {
  const [host, port] = address.split(':') as [string, string];
  while (performance.now() < untilMs) {
    await tally.watch('tcp', () => exchange(host, Number(port), random, tally));
    await delay(random.between(0, 30));
  }
}

function exchange(host: string, port: number, random: Random, tally: Tally): Promise<End> {
  const sent = Buffer.concat([FIRST, random.bytes(random.size())]);
  const dies = random.chance(0.15);
  const slow = random.chance(0.15);
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let gone = false;
    let ended = false;
    const socket = net.connect({ host, port, allowHalfOpen: true }, () => {
      tally.connections++;
      void send(socket, sent, random);
    });
    let settled = false;
    const settle = () => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      const echo = Buffer.concat(chunks);
      tally.bytes += sent.length + echo.length;
      if (!echo.equals(sent.subarray(0, echo.length))) {
        tally.wrong(`TCP: ${echo.length} bytes that are not what was sent`);
      }
      if (!gone && !(ended && echo.length === sent.length)) tally.failure(ended ? 'tcp ended early' : 'tcp reset');
      if (ended && echo.length === sent.length) resolve('ok');
      else resolve(gone ? 'gone' : 'cut');
    };
    const give = () => {
      gone = true;
      if (random.chance(0.5)) socket.destroy();
      else resetSocket(socket);
    };
    const timer = setTimeout(give, dies ? random.between(0, 60) : PATIENCE_MS);
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      if (!slow) return;
      socket.pause();
      setTimeout(() => socket.resume(), 20);
    });
    socket.on('end', () => {
      ended = true;
      socket.end();
    });
    socket.on('error', () => {});
    socket.on('close', settle);
  });
}

/** Half-closes at the end: what comes back after that still has to arrive. */
async function send(socket: net.Socket, body: Buffer, random: Random): Promise<void> {
  const cut = random.chance(0.5) ? random.between(0, body.length) : 0;
  socket.write(body.subarray(0, cut));
  if (cut > 0) await delay(random.between(0, 40));
  if (!socket.destroyed) socket.end(body.subarray(cut));
}
