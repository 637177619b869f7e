/**
 * An upstream of the soak, as a program: `node upstream.ts NAME PORT SEED UNRELIABILITY`. On one port it echoes gRPC
 * (node:http2), HTTP/1.1 (node:http) and anything else (plain bytes), and fails in every way in the given share of calls.
 * Requests say the CRC-32 of what they carry in `x-soak-crc`; one that is complete and does not match is told on standard
 * output as `wrong ...`. It prints `ready PORT` first.
 */
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { resetSocket } from '../support/reset.ts';
import { echoMessage, prefixed, splitMessage } from './predict-bytes.ts';
import { Random } from './random.ts';

const [name = '', port = '0', seed = '1', unreliability = '0'] = process.argv.slice(2);
const random = new Random(Number(seed));
const badShare = Number(unreliability);
const GRPC_HEAD = { ':status': 200, 'content-type': 'application/grpc' };

function checkCrc(what: string, header: string | string[] | undefined, carried: Buffer): void {
  if (header !== undefined && Number(header) !== crc32(carried)) {
    process.stdout.write(`wrong ${name} got ${what} of ${carried.length} bytes that do not match their checksum\n`);
  }
}

// ---- gRPC --------------------------------------------------------------------------------------------------------

function answer(stream: http2.ServerHttp2Stream, body: Buffer, status: number): void {
  if (stream.destroyed || stream.closed) return;
  stream.respond(GRPC_HEAD, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(status) }));
  stream.end(body);
}

function failGrpc(stream: http2.ServerHttp2Stream, body: Buffer): void {
  const ways = [
    () => stream.destroyed || stream.respond({ ...GRPC_HEAD, 'grpc-status': '14' }, { endStream: true }),
    () => answer(stream, body.subarray(0, random.between(0, body.length)), 13),
    () => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR),
    () => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM),
    () => {}, // never answers
    () => void delay(random.between(5, 300)).then(() => answer(stream, body, 0)),
    () => {
      if (stream.destroyed) return;
      stream.respond(GRPC_HEAD);
      stream.write(body.subarray(0, random.between(0, body.length)));
      setTimeout(() => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR), random.between(0, 30));
    },
    () => random.chance(0.1) && stream.session?.close(),
    () => random.chance(0.1) && stream.session?.socket.destroy(),
  ];
  random.pick(ways)();
}

function predict(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('end', () => {
    if (stream.aborted || (stream.rstCode ?? 0) !== 0) return;
    const got = Buffer.concat(chunks);
    const message = splitMessage(got.subarray(5));
    const announced = got.length < 5 ? -1 : got.readUInt32BE(1);
    if (message === null && got.length < announced + 5) {
      // A node:http2 caller that resets in the middle of its request ends the stream first, so what it sent is short.
      stream.close();
      return;
    }
    if (message === null) {
      const state = `closed ${stream.closed}, destroyed ${stream.destroyed}, code ${stream.rstCode}`;
      process.stdout.write(
        `wrong ${name} got no PredictRequest: ${got.length} bytes, ${announced} announced, ${state}\n`,
      );
      stream.close();
      return;
    }
    checkCrc('a Predict', headers['x-soak-crc'], message.second);
    const body = prefixed(echoMessage(message));
    if (random.chance(badShare)) failGrpc(stream, body);
    else answer(stream, body, 0);
  });
  if (random.chance(badShare / 10)) stream.close(http2.constants.NGHTTP2_CANCEL);
}

/** Sends back what comes as it comes. */
function talk(stream: http2.ServerHttp2Stream): void {
  if (stream.destroyed) return;
  stream.respond(GRPC_HEAD, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.pipe(stream);
  if (random.chance(badShare)) {
    setTimeout(() => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR), random.between(0, 50));
  }
}

const grpc = http2.createServer({ streamResetBurst: 1_000_000, streamResetRate: 1_000_000 });
grpc.on('session', (session) => {
  session.on('error', () => {});
  session.setLocalWindowSize(1024 * 1024);
});
grpc.on('sessionError', () => {});
grpc.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
  stream.on('error', () => {});
  if (headers[':path']!.startsWith('/tensorflow.serving.')) predict(stream, headers);
  else talk(stream);
});

// ---- HTTP/1.1 ----------------------------------------------------------------------------------------------------

function failHttp(response: http.ServerResponse, body: Buffer): void {
  const { socket } = response;
  const ways = [
    () => response.writeHead(503).end('{"error":"told to"}'),
    () => socket?.destroy(),
    () => socket !== null && resetSocket(socket),
    () => {
      response.writeHead(200, { 'content-length': String(body.length + 100) });
      response.write(body);
      setTimeout(() => socket?.destroy(), random.between(0, 30));
    },
    () => {},
    () => void delay(random.between(5, 300)).then(() => response.end(body)),
    () => response.writeHead(200, { connection: 'close' }).end(body),
  ];
  random.pick(ways)();
}

const web = http.createServer((request, response) => {
  request.on('error', () => {});
  response.on('error', () => {});
  if (request.url!.startsWith('/stream')) {
    request.pipe(response);
    if (random.chance(badShare)) setTimeout(() => response.socket?.destroy(), random.between(0, 50));
    return;
  }
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    if (!request.complete) return;
    const body = Buffer.concat(chunks);
    checkCrc('an HTTP request', request.headers['x-soak-crc'], body);
    if (random.chance(badShare)) failHttp(response, body);
    else if (random.chance(0.5)) response.end(body);
    else {
      // In chunks.
      const cut = random.between(0, body.length);
      response.write(body.subarray(0, cut));
      response.end(body.subarray(cut));
    }
  });
});
web.keepAliveTimeout = 300;

// ---- anything else -----------------------------------------------------------------------------------------------

function raw(socket: net.Socket): void {
  socket.pipe(socket);
  if (random.chance(badShare)) setTimeout(() => resetSocket(socket), random.between(0, 50));
}

const server = net.createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => {});
  socket.once('readable', () => {
    const first: Buffer | null = socket.read();
    if (first === null) {
      socket.end();
      return;
    }
    socket.unshift(first);
    if (first[0] === 0xff) {
      raw(socket);
      return;
    }
    const isHttp2 = first.toString('latin1', 0, 3) === 'PRI';
    if (isHttp2) socket.allowHalfOpen = false;
    (isHttp2 ? grpc : web).emit('connection', socket);
  });
});
server.listen(Number(port), '127.0.0.1', () => {
  process.stdout.write(`ready ${(server.address() as net.AddressInfo).port}\n`);
});
process.on('disconnect', () => process.exit());
