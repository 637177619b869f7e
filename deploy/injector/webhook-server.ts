/**
 * The webhook's HTTPS server: `POST /mutate` for the API server, `GET /healthz` for the kubelet, `GET /metrics`.
 *
 * Bounds: a body of `MAX_BODY_BYTES`, 10 s for a whole request, `MAX_CONNECTIONS` connections. A new certificate holds
 * for new connections; open ones go on. Closing lets requests that have begun finish.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Counter, Registry } from 'prom-client';
import type { Logger } from '../../base/logger.ts';
import { BadReview, type PodInjector } from './admission.ts';
import type { CertificatePair } from './certificate-files.ts';

/** The API server takes objects of at most 3 MiB, and a review of a new pod holds it once. */
export const MAX_BODY_BYTES = 4 * 1024 * 1024;
/** Read and thrown away before a refusal; beyond it the connection is cut. */
const MAX_DISCARDED_BYTES = 4 * MAX_BODY_BYTES;
const MAX_CONNECTIONS = 1024;
const REQUEST_TIMEOUT_MS = 10_000;
/** Longer than a poll of the API server, so that its connections live on. */
const KEEP_ALIVE_MS = 120_000;

export class WebhookServer {
  private readonly server: Server;
  private readonly injector: PodInjector;
  private readonly log: Logger;
  private readonly registry = new Registry();
  private readonly reviews = new Counter({
    name: 'understudy_injector_reviews_total',
    help: 'Answered requests for review, by outcome.',
    labelNames: ['outcome'] as const,
    registers: [this.registry],
  });
  private closing = false;

  constructor(injector: PodInjector, pair: CertificatePair, log: Logger) {
    this.injector = injector;
    this.log = log;
    this.server = createServer({ ...pair, minVersion: 'TLSv1.2' }, (request, response) =>
      this.serve(request, response),
    );
    this.server.maxConnections = MAX_CONNECTIONS;
    this.server.requestTimeout = REQUEST_TIMEOUT_MS;
    this.server.headersTimeout = REQUEST_TIMEOUT_MS;
    this.server.keepAliveTimeout = KEEP_ALIVE_MS;
    this.server.on('tlsClientError', (error) => this.log.debug('tls_client_error', { error }));
  }

  /** Resolves with the port. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen({ host, port }, () => {
        this.server.off('error', reject);
        this.server.on('error', (error) => this.log.error('listener_error', { error }));
        resolve((this.server.address() as AddressInfo).port);
      });
    });
  }

  /** New connections are made with this pair. */
  useCertificate(pair: CertificatePair): void {
    this.server.setSecureContext({ ...pair, minVersion: 'TLSv1.2' });
  }

  /** Takes no new connections and resolves when requests that had begun are answered. */
  close(): Promise<void> {
    this.closing = true;
    return new Promise((resolve) => {
      this.server.close(() => resolve());
      this.server.closeIdleConnections();
    });
  }

  private serve(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '/').split('?', 1)[0];
    if (this.closing) response.setHeader('connection', 'close');
    if (path === '/mutate') this.receive(request, response);
    else if (path === '/healthz' && isRead(request)) reply(response, 200, 'text/plain', 'ok\n');
    else if (path === '/metrics' && isRead(request)) this.answerMetrics(response);
    else if (path === '/healthz' || path === '/metrics') refuse(request, response, 405, `${path} takes GET`);
    else refuse(request, response, 404, 'nothing here');
  }

  private receive(request: IncomingMessage, response: ServerResponse): void {
    const wrong = wrongHead(request);
    if (wrong !== null) {
      refuse(request, response, wrong.status, wrong.message);
      return;
    }
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_BODY_BYTES) chunks.push(chunk);
      else refuse(request, response, 413, `at most ${MAX_BODY_BYTES} bytes`);
    });
    request.on('end', () => {
      this.answer(Buffer.concat(chunks).toString('utf8'), response);
    });
    // A caller that went away takes its answer with it.
    request.on('error', () => response.destroy());
  }

  private answer(text: string, response: ServerResponse): void {
    // Also for a request that had begun before the closing: its connection would idle on.
    if (this.closing) response.setHeader('connection', 'close');
    try {
      const { review, outcome, pod } = this.injector.review(text);
      this.reviews.inc({ outcome });
      const { uid, allowed, status } = review.response;
      this.log.info('reviewed', { outcome, pod, uid, allowed, message: status?.message });
      reply(response, 200, 'application/json', JSON.stringify(review));
    } catch (error) {
      const isCallers = error instanceof BadReview;
      this.reviews.inc({ outcome: isCallers ? 'bad_review' : 'failed' });
      if (!isCallers) this.log.error('review_failed', { error });
      reply(response, isCallers ? 400 : 500, 'text/plain', `${isCallers ? error.message : 'internal error'}\n`);
    }
  }

  private answerMetrics(response: ServerResponse): void {
    this.registry.metrics().then(
      (text) => reply(response, 200, this.registry.contentType, text),
      () => reply(response, 500, 'text/plain', 'internal error\n'),
    );
  }
}

/** What the head of a request for review already shows to be wrong. */
function wrongHead({ method, headers }: IncomingMessage): { status: number; message: string } | null {
  const mediaType = (headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase();
  if (method !== 'POST') return { status: 405, message: '/mutate takes POST' };
  if (mediaType !== 'application/json') return { status: 415, message: 'expected application/json' };
  const isTooLong = Number(headers['content-length'] ?? 0) > MAX_BODY_BYTES;
  return isTooLong ? { status: 413, message: `at most ${MAX_BODY_BYTES} bytes` } : null;
}

function isRead(request: IncomingMessage): boolean {
  return request.method === 'GET' || request.method === 'HEAD';
}

function reply(response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

/**
 * Answers once the body has come and been thrown away, because a caller who is still writing would meet a reset instead
 * of the answer; above `MAX_DISCARDED_BYTES` it is cut.
 */
function refuse(request: IncomingMessage, response: ServerResponse, status: number, message: string): void {
  let discarded = 0;
  response.setHeader('connection', 'close');
  request.removeAllListeners('data').removeAllListeners('end');
  request.on('data', (chunk: Buffer) => {
    discarded += chunk.length;
    if (discarded > MAX_DISCARDED_BYTES) request.destroy();
  });
  request.on('end', () => reply(response, status, 'text/plain', `${message}\n`));
}
