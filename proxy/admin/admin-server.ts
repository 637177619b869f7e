/**
 * The admin address: probes, metrics, the running configuration and the models' state, over plain HTTP on our own
 * engine, because node:http brings TLS, HTTP/2 and undici along: 15 MiB for a few answers a minute.
 *
 * Reading is GET; whatever changes something is POST, anything else is 405. It listens on loopback unless told
 * otherwise, because it shows and changes the running configuration. Handlers get what they show from `app.ts`.
 */
import type { Http1Exchange, Http1Handler } from '../../proto/http1/exchange.ts';
import { Http1Server } from '../../proto/http1/server.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { clearSocketPath } from '../../proto/io/socket-file.ts';
import type { EndpointAddress } from '../config/snapshot.ts';

export interface AdminAnswer {
  readonly status: number;
  readonly contentType: string;
  /** Parts are asked for one by one, as fast as they are read. */
  readonly body: string | AsyncIterable<string>;
}

export type AdminHandler = (query: URLSearchParams) => AdminAnswer | Promise<AdminAnswer>;

export interface AdminRoute {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** One line for the index page. */
  readonly help: string;
  readonly handle: AdminHandler;
}

/** An admin client that needs longer for a head or a body is not one. */
const REQUEST_TIMEOUT_MS = 5000;
const MAX_CONNECTIONS = 256;

export class AdminServer {
  private readonly routes: readonly AdminRoute[];
  private readonly servers: Http1Server[] = [];
  /** Requests differ only in their heads; bodies are dropped. */
  private readonly handler: Http1Handler = {
    onHead: (exchange, head) => {
      if (exchange.headReceived) void this.serve(exchange, head);
    },
    onData: (exchange, _buffer, start, end) => exchange.consume(end - start),
    onTrailers: () => {},
    onSent: wake,
    onReset: wake,
  };

  constructor(routes: readonly AdminRoute[]) {
    this.routes = [...routes, this.indexRoute(routes)];
  }

  /** Serves this address too; resolves with the address in force (a port of 0 is replaced by the one chosen). */
  async listen(address: EndpointAddress): Promise<EndpointAddress> {
    if (address.kind === 'unix') await clearSocketPath(address.path);
    const server = new Http1Server({
      acceptExchange: () => this.handler,
      limits: { headTimeoutMs: REQUEST_TIMEOUT_MS, bodyTimeoutMs: REQUEST_TIMEOUT_MS },
      maxConnections: MAX_CONNECTIONS,
    });
    this.servers.push(server);
    return await server.listen(address);
  }

  close(): void {
    for (const server of this.servers) void server.close();
  }

  private async serve(exchange: Http1Exchange, head: HeaderList): Promise<void> {
    const url = URL.parse(head.get(':path') ?? '', 'http://admin');
    let answer: AdminAnswer;
    try {
      if (url === null) answer = jsonAnswer({ error: 'not a path' }, 400);
      else answer = await this.answer(head.get(':method') ?? '', url);
    } catch (error) {
      answer = jsonAnswer({ error: (error as Error).message }, 500);
    }
    if (exchange.dead) return;
    if (typeof answer.body === 'string') {
      const body = Buffer.from(answer.body);
      exchange.sendHead(answerHead(answer, body.length), body.length === 0);
      if (body.length > 0) exchange.sendData(body, 0, body.length, true);
    } else {
      exchange.sendHead(answerHead(answer, -1), false);
      await sendParts(exchange, answer.body);
    }
    if (!exchange.remoteEnded) exchange.reset(0);
  }

  private answer(method: string, url: URL): AdminAnswer | Promise<AdminAnswer> {
    const matching = this.routes.filter((route) => route.path === url.pathname);
    if (matching.length === 0) return jsonAnswer({ error: `no ${url.pathname} here; see /` }, 404);
    const wanted = method === 'HEAD' ? 'GET' : method;
    const route = matching.find((candidate) => candidate.method === wanted);
    if (route === undefined) return jsonAnswer({ error: `${url.pathname} takes ${matching[0]!.method}` }, 405);
    return route.handle(url.searchParams);
  }

  private indexRoute(routes: readonly AdminRoute[]): AdminRoute {
    const lines = routes.map((route) => `${route.method.padEnd(5)}${route.path.padEnd(18)}${route.help}`);
    return { method: 'GET', path: '/', help: '', handle: () => textAnswer(`${lines.join('\n')}\n`) };
  }
}

/** One part is under way at a time; the next is made when it has left. A part that fails cuts the answer short. */
async function sendParts(exchange: Http1Exchange, parts: AsyncIterable<string>): Promise<void> {
  try {
    for await (const part of parts) {
      if (exchange.dead) return;
      const bytes = Buffer.from(part);
      exchange.sendData(bytes, 0, bytes.length, false);
      while (exchange.queuedBytes > 0 && !exchange.dead) {
        await new Promise<void>((resolve) => {
          exchange.context = resolve;
        });
      }
    }
    if (!exchange.dead) exchange.sendEnd();
  } catch {
    if (!exchange.dead) exchange.reset(ErrorCode.INTERNAL_ERROR);
  }
}

/** Whoever waits for room looks again. */
function wake(exchange: Http1Exchange): void {
  const waiting = exchange.context;
  exchange.context = null;
  if (typeof waiting === 'function') waiting();
}

/** A length below 0 is not known yet. */
function answerHead({ status, contentType }: AdminAnswer, length: number): HeaderList {
  const fields: [string, string][] = [
    [':status', String(status)],
    ['content-type', contentType],
    ['cache-control', 'no-store'],
  ];
  if (length >= 0) fields.push(['content-length', String(length)]);
  return HeaderList.of(...fields);
}

export function textAnswer(body: string, status = 200, contentType = 'text/plain; charset=utf-8'): AdminAnswer {
  return { status, contentType, body };
}

export function jsonAnswer(value: unknown, status = 200): AdminAnswer {
  return { status, contentType: 'application/json', body: `${JSON.stringify(value, null, 2)}\n` };
}
