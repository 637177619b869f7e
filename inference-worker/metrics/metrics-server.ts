/** The worker's own metrics port, for all groups together: a plain HTTP server that knows two paths. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { METRICS_CONTENT_TYPE, METRICS_PATH, type MetricsDialect, TFS_METRICS_PATH } from './metrics-paths.ts';

/** Answers a scrape; rejects when it cannot. */
export type RenderMetrics = (dialect: MetricsDialect) => Promise<string>;

const REQUEST_TIMEOUT_MS = 10_000;

export class MetricsServer {
  private readonly server: Server;

  /** `tfsPath` is where TensorFlow Serving's metrics are. */
  constructor(render: RenderMetrics, tfsPath: string = TFS_METRICS_PATH) {
    const dialects = new Map<string, MetricsDialect>([
      [METRICS_PATH, 'understudy'],
      [tfsPath, 'tensorflow'],
    ]);
    this.server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
      const dialect = dialects.get((request.url ?? '').split('?')[0]);
      const isRead = request.method === 'GET' || request.method === 'HEAD';
      if (dialect === undefined || !isRead) {
        response.writeHead(dialect === undefined ? 404 : 405).end();
        return;
      }
      render(dialect).then(
        (text) => response.writeHead(200, { 'content-type': METRICS_CONTENT_TYPE }).end(text),
        (error: Error) => response.writeHead(500).end(`${error.message}\n`),
      );
    });
  }

  /** Resolves with the port in force. Rejects when it cannot be bound. */
  listen(port: number, host: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(port, host, () => resolve((this.server.address() as AddressInfo).port));
    });
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.server.close(() => resolve());
      this.server.closeAllConnections();
    });
  }
}
