/**
 * Looks at answers closely before a proxy is measured, with node:http2 and node:http, which share no code with any party: status,
 * every byte of the body, grpc-status in the trailers. The load generator then only has to count.
 */

import { Agent, request as httpRequest } from 'node:http';
import { connect, constants } from 'node:http2';
import { PREDICT_PATH } from './payload.ts';
import { REST_PATH } from './rest-payload.ts';

const AT_ONCE = 16;
const WITHIN_MS = 10_000;

/** Sends `count` requests to `port` over one connection and returns how many were not answered exactly with `reply`. */
export async function countWrongAnswers(
  port: number,
  request: Buffer,
  reply: Buffer,
  count: number,
  tls = false,
): Promise<number> {
  // The certificate is the bench's own, made for this run.
  const session = connect(`${tls ? 'https' : 'http'}://127.0.0.1:${port}`, { rejectUnauthorized: false });
  session.on('error', () => {});
  let wrong = 0;
  for (let sent = 0; sent < count; sent += AT_ONCE) {
    const size = Math.min(AT_ONCE, count - sent);
    const results = await Promise.all(Array.from({ length: size }, () => isRight(session, request, reply)));
    wrong += results.filter((right) => !right).length;
  }
  session.destroy();
  return wrong;
}

function isRight(session: ReturnType<typeof connect>, request: Buffer, reply: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: PREDICT_PATH,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const chunks: Buffer[] = [];
    let httpStatus = 0;
    let grpcStatus: unknown;
    stream.setTimeout(WITHIN_MS, () => stream.close(constants.NGHTTP2_CANCEL));
    stream.on('error', () => {});
    stream.on('response', (head) => {
      httpStatus = head[':status'] ?? 0;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('trailers', (trailers) => {
      grpcStatus = trailers['grpc-status'];
    });
    stream.on('close', () => resolve(httpStatus === 200 && grpcStatus === '0' && Buffer.concat(chunks).equals(reply)));
    stream.end(request);
  });
}

/** The same over HTTP/1.1, on connections that are kept. */
export async function countWrongRestAnswers(
  port: number,
  request: Buffer,
  reply: Buffer,
  count: number,
): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });
  const results = await Promise.all(Array.from({ length: count }, () => isRestRight(agent, port, request, reply)));
  agent.destroy();
  return results.filter((right) => !right).length;
}

function isRestRight(agent: Agent, port: number, request: Buffer, reply: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/json', 'content-length': request.length };
    const options = { agent, host: '127.0.0.1', port, method: 'POST', path: REST_PATH, headers, timeout: WITHIN_MS };
    const call = httpRequest(options, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () => resolve(answer.statusCode === 200 && Buffer.concat(chunks).equals(reply)));
      answer.on('error', () => resolve(false));
    });
    call.on('timeout', () => call.destroy());
    call.on('error', () => resolve(false));
    call.end(request);
  });
}
