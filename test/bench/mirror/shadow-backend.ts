/**
 * Process entry: a shadow that behaves as its argument says. It counts requests that came whole.
 *
 *   answers   as the primary does          hangs    takes requests and says nothing
 *   garbage   OK, with bytes that are no message   floods  never ends its answers
 *   dies      cuts all its connections every half second     slow     answers after 100 times what the primary takes
 *
 * Over IPC it announces `{ port }` once and answers every message with `{ good }`. It is started so that it gives way to
 * everybody else on its core: it shares it with the load, whose figures it must not move.
 */
import { HeaderList } from '../../../proto/http2/header-list.ts';
import { Http2Server } from '../../../proto/http2/server.ts';
import type { Http2Stream, StreamHandler } from '../../../proto/http2/stream.ts';
import { replyBody } from '../relay/payload.ts';
import type { ShadowBehaviour } from './shadow-behaviours.ts';

const behaviour = process.argv[2] as ShadowBehaviour;
/** The primary takes about a millisecond of this machine's time. */
const SLOW_MS = 100;
const DIES_EVERY_MS = 500;
const REPLY = replyBody();
const GARBAGE = Buffer.alloc(200, 0xff);
const FLOOD = Buffer.alloc(64 * 1024);
const HEAD = HeaderList.of([':status', '200'], ['content-type', 'application/grpc']);
const TRAILERS = HeaderList.of(['grpc-status', '0']);

let good = 0;

function answer(stream: Http2Stream, bytes: Buffer): void {
  if (stream.closed) return;
  stream.sendHeaders(HEAD, false);
  stream.sendData(bytes, 0, bytes.length, false);
  stream.sendHeaders(TRAILERS, true);
}

function flood(stream: Http2Stream): void {
  while (!stream.closed && stream.queuedBytes === 0) stream.sendData(FLOOD, 0, FLOOD.length, false);
}

class Exchange implements StreamHandler {
  onHeaders(_stream: Http2Stream, _headers: unknown, endStream: boolean): void {
    if (endStream) throw new Error('a request without a message');
  }

  onData(stream: Http2Stream, _buffer: Buffer, start: number, end: number, endStream: boolean): void {
    stream.consume(end - start);
    if (!endStream) return;
    good++;
    switch (behaviour) {
      case 'hangs':
        return;
      case 'garbage':
        answer(stream, GARBAGE);
        return;
      case 'floods':
        stream.sendHeaders(HEAD, false);
        flood(stream);
        return;
      case 'slow':
        setTimeout(() => answer(stream, REPLY), SLOW_MS);
        return;
      default:
        answer(stream, REPLY);
    }
  }

  onSent(stream: Http2Stream): void {
    if (behaviour === 'floods') flood(stream);
  }

  onReset(): void {}
}

const server = new Http2Server({
  acceptStream: () => new Exchange(),
  limits: { maxConcurrentStreams: 1024, streamWindowBytes: 1 << 20, connectionWindowBytes: 1 << 24 },
});
const address = await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
if (behaviour === 'dies') {
  setInterval(() => {
    for (const connection of server.connections) connection.io.destroy();
  }, DIES_EVERY_MS);
}
process.on('message', () => process.send?.({ good }));
process.on('disconnect', () => process.exit(0));
process.send?.({ port: address.kind === 'tcp' ? address.port : 0 });
