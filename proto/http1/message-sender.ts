/** Sending the body and the end of an exchange's message, framed as its head has promised. */
import { ErrorCode } from '../http2/frames.ts';
import type { HeaderList } from '../http2/header-list.ts';
import { threadMemory } from '../io/memory-budget.ts';
import { LAST_CHUNK, writeChunks, writePlain } from './body-writer.ts';
import type { Http1Connection } from './connection.ts';
import type { Http1Exchange } from './exchange.ts';
import { trailerBytes } from './head-plan.ts';
import { SendMode } from './send-mode.ts';

/** Writes as much of a body as the socket takes; returns the bytes written. Ends the message when all of it went. */
export function sendBody(
  connection: Http1Connection,
  exchange: Http1Exchange,
  buffer: Buffer,
  start: number,
  end: number,
  last: boolean,
): number {
  const mode = exchange.sendMode;
  const { io } = connection;
  let at = start;
  if (mode === SendMode.DROPPED) at = end;
  else if (mode === SendMode.CHUNKED) at = writeChunks(io, buffer, at, end);
  else {
    if (mode === SendMode.LENGTH && end - start > exchange.sendLeft) {
      // More than was declared would become part of the next message.
      breakOff(connection, exchange);
      return end - start;
    }
    at = writePlain(io, buffer, at, end);
    exchange.sendLeft -= at - start;
  }
  if (last && at === end) sendEnd(connection, exchange, null);
  return at - start;
}

/** Writes what ends the message; trailers go only behind chunks. */
export function sendEnd(connection: Http1Connection, exchange: Http1Exchange, trailers: HeaderList | null): void {
  if (exchange.sendMode === SendMode.CHUNKED) {
    const bytes = trailers === null || trailers.length === 0 ? LAST_CHUNK : trailerBytes(trailers);
    connection.io.write(bytes, 0, bytes.length);
  } else if (exchange.sendMode === SendMode.LENGTH && exchange.sendLeft > 0) {
    breakOff(connection, exchange);
    return;
  }
  exchange.localEnded = true;
  connection.settle(exchange);
}

/** Sends what waited for the socket, as much as it takes now. */
export function sendQueued(connection: Http1Connection, exchange: Http1Exchange): void {
  const { queue } = exchange;
  if (queue === null || queue.bytes === 0) return;
  let sentNow = 0;
  while (queue.bytes > 0 && connection.io.writable) {
    const sent = sendBody(connection, exchange, queue.head, queue.headStart, queue.headEnd, false);
    if (exchange.dead) return;
    queue.consume(sent);
    sentNow += sent;
  }
  const ends = queue.bytes === 0 && queue.end;
  if (queue.bytes === 0) threadMemory.forget(exchange);
  if (sentNow > 0) exchange.handler.onSent(exchange, sentNow);
  if (ends && !exchange.dead) sendEnd(connection, exchange, queue.trailers);
}

/** What the exchange sends contradicts what it declared: only cutting the connection tells the peer so. */
function breakOff(connection: Http1Connection, exchange: Http1Exchange): void {
  connection.abandon(exchange, ErrorCode.INTERNAL_ERROR);
  exchange.handler.onReset(exchange, ErrorCode.INTERNAL_ERROR);
}
