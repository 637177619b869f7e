/**
 * Process entry: callers that have asked once and keep their connection. Over IPC it announces `{ ready: true }` and
 * answers `{ port, connections }` with `{ open }` once that many HTTP/2 connections have had an answer each and are idle,
 * and `{ port: 0 }` with `{ open: 0 }` once all are closed. On node:http2, which shares no code with any party.
 */
import { type ClientHttp2Session, connect, constants } from 'node:http2';
import { PREDICT_PATH, requestBody } from './payload.ts';

const AT_ONCE = 50;
const BODY = requestBody(512);

const sessions = new Set<ClientHttp2Session>();

async function open(port: number, connections: number): Promise<number> {
  let answered = 0;
  for (let i = 0; i < connections; i += AT_ONCE) {
    const answers = await Promise.all(Array.from({ length: Math.min(AT_ONCE, connections - i) }, () => one(port)));
    answered += answers.filter(Boolean).length;
  }
  return Math.min(answered, sessions.size);
}

function one(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const session = connect(`http://127.0.0.1:${port}`);
    sessions.add(session);
    session.on('error', () => {});
    session.on('close', () => {
      sessions.delete(session);
      resolve(false);
    });
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: PREDICT_PATH,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    let status: unknown;
    stream.on('error', () => {});
    stream.on('trailers', (trailers) => {
      status = trailers['grpc-status'];
    });
    stream.on('close', () => resolve(status === '0'));
    stream.resume();
    stream.end(BODY);
  });
}

process.on('message', async ({ port, connections }: { port: number; connections: number }) => {
  if (port === 0) for (const session of sessions) session.destroy();
  process.send?.({ open: port === 0 ? 0 : await open(port, connections) });
});
process.on('disconnect', () => process.exit(0));
process.send?.({ ready: true });
