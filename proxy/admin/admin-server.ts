/**
 * The admin address: probes, metrics, the running configuration and the models' state, over plain HTTP on node:http.
 *
 * Reading is GET; whatever changes something is POST, anything else is 405. It listens on loopback unless told
 * otherwise, because it shows and changes the running configuration. Handlers get what they show from `app.ts`.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { EndpointAddress } from '../config/snapshot.ts';

export interface AdminAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export type AdminHandler = (query: URLSearchParams) => AdminAnswer | Promise<AdminAnswer>;

export interface AdminRoute {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** One line for the index page. */
  readonly help: string;
  readonly handle: AdminHandler;
}

/** Nothing an admin client sends has a body worth more than this. */
const HEADERS_TIMEOUT_MS = 5000;

export class AdminServer {
  private readonly routes: readonly AdminRoute[];
  private readonly server: Server;

  constructor(routes: readonly AdminRoute[]) {
    this.routes = [...routes, this.indexRoute(routes)];
    this.server = createServer((request, response) => void this.serve(request, response));
    this.server.headersTimeout = HEADERS_TIMEOUT_MS;
    this.server.requestTimeout = HEADERS_TIMEOUT_MS;
    this.server.maxConnections = 256;
  }

  listen(address: EndpointAddress): Promise<EndpointAddress> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      const target = address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
      this.server.listen(target, () => {
        this.server.off('error', reject);
        const bound = this.server.address();
        if (address.kind === 'unix' || bound === null || typeof bound === 'string') resolve(address);
        else resolve({ kind: 'tcp', host: address.host, port: bound.port });
      });
    });
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume();
    const url = new URL(request.url ?? '/', 'http://admin');
    let answer: AdminAnswer;
    try {
      answer = await this.answer(request.method ?? '', url);
    } catch (error) {
      answer = jsonAnswer({ error: (error as Error).message }, 500);
    }
    response.writeHead(answer.status, { 'content-type': answer.contentType, 'cache-control': 'no-store' });
    response.end(answer.body);
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

export function textAnswer(body: string, status = 200, contentType = 'text/plain; charset=utf-8'): AdminAnswer {
  return { status, contentType, body };
}

export function jsonAnswer(value: unknown, status = 200): AdminAnswer {
  return { status, contentType: 'application/json', body: `${JSON.stringify(value, null, 2)}\n` };
}
