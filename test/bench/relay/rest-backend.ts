/**
 * Process entry: the REST model server of the HTTP/1.1 workload, on the project's own HTTP/1.1 server. Every request
 * whose body arrived as it was sent gets the same 200, every other a 400; both are counted.
 *
 * Arguments: the sizes of the request bodies in use. Over IPC it announces `{ port }` once and answers every message
 * with `{ good, bad }`.
 */
import type { Http1Exchange, Http1Handler } from '../../../proto/http1/exchange.ts';
import { Http1Server } from '../../../proto/http1/server.ts';
import { HeaderList } from '../../../proto/http2/header-list.ts';
import { restReplyBody, restRequestBody } from './rest-payload.ts';

const REPLY = restReplyBody();
const HEAD = HeaderList.of(
  [':status', '200'],
  ['content-type', 'application/json'],
  ['content-length', String(REPLY.length)],
);
const WRONG = HeaderList.of([':status', '400'], ['content-length', '0']);
const expected = new Map(process.argv.slice(2).map((size) => [Number(size), restRequestBody(Number(size))]));

let good = 0;
let bad = 0;

class Answer implements Http1Handler {
  private body: Buffer | null = null;
  private bytes = 0;
  private intact = true;

  onHead(exchange: Http1Exchange, head: HeaderList, end: boolean): void {
    // A proxy may have turned the length into chunks; all requests of a run have one size.
    this.body = expected.get(Number(head.get('content-length') ?? [...expected.keys()][0])) ?? null;
    if (end) this.answer(exchange);
  }

  onData(exchange: Http1Exchange, buffer: Buffer, start: number, end: number, last: boolean): void {
    const size = end - start;
    const { body } = this;
    if (body === null || this.bytes + size > body.length) this.intact = false;
    else if (size > 0 && body.compare(buffer, start, end, this.bytes, this.bytes + size) !== 0) this.intact = false;
    this.bytes += size;
    exchange.consume(size);
    if (last) this.answer(exchange);
  }

  onTrailers(exchange: Http1Exchange): void {
    this.answer(exchange);
  }

  onSent(): void {}

  onReset(): void {
    bad++;
  }

  private answer(exchange: Http1Exchange): void {
    if (this.body === null || !this.intact || this.bytes !== this.body.length) {
      bad++;
      exchange.sendHead(WRONG, true);
      return;
    }
    good++;
    exchange.sendHead(HEAD, false);
    exchange.sendData(REPLY, 0, REPLY.length, true);
  }
}

const server = new Http1Server({ acceptExchange: () => new Answer() });
const address = await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
process.on('message', () => process.send?.({ good, bad }));
process.on('disconnect', () => process.exit(0));
process.send?.({ port: address.kind === 'tcp' ? address.port : 0 });
