/** Metrics of this process on its HTTP port. TensorFlow Serving's are there where its monitoring configuration says. */
import type { HttpApi, HttpCall } from '../api/rest/http-call.ts';
import type { MetricsExposition } from './metrics-exposition.ts';
import { METRICS_CONTENT_TYPE, METRICS_PATH, type MetricsDialect } from './metrics-paths.ts';

export class MetricsApi implements HttpApi {
  private readonly exposition: MetricsExposition;
  private readonly dialects: ReadonlyMap<string, MetricsDialect>;

  /** `tfsPath` is null where TensorFlow Serving's metrics are not asked for. */
  constructor(exposition: MetricsExposition, tfsPath: string | null) {
    this.exposition = exposition;
    const dialects = new Map<string, MetricsDialect>([[METRICS_PATH, 'understudy']]);
    if (tfsPath !== null) dialects.set(tfsPath, 'tensorflow');
    this.dialects = dialects;
  }

  handle(call: HttpCall): boolean {
    const dialect = this.dialects.get(call.request.path);
    if (dialect === undefined) return false;
    if (call.request.method === 'GET') void this.answer(call, dialect);
    else call.reply(405, 'text/plain', Buffer.from('metrics are read with GET\n'), [['allow', 'GET']]);
    return true;
  }

  expire(call: HttpCall): void {
    call.reply(504, 'text/plain', Buffer.from('metrics took too long\n'));
  }

  private async answer(call: HttpCall, dialect: MetricsDialect): Promise<void> {
    try {
      const text = await this.exposition.render(dialect);
      call.reply(200, METRICS_CONTENT_TYPE, Buffer.from(text));
    } catch (error) {
      call.reply(500, 'text/plain', Buffer.from(`${(error as Error).message}\n`));
    }
  }
}
