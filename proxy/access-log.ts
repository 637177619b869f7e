/**
 * The access log: one line for each request that ended and each opaque connection that closed, if switched on and
 * sampled. A line is built only for requests that are logged, and written by a bounded writer: at its bound lines are
 * dropped and counted.
 *
 * Flags say why an answer is what it is, in the manner of Envoy's: `FB` a fallback answered, `HG` a hedge did, `DC` the caller went away,
 * and those of `base/proxy-error.ts` (NR, UO, UF, UR, UB, UT ...); `-` when nothing is to be said.
 */
import type { BoundedWriter } from '../base/bounded-writer.ts';
import { LogTemplate, shownValue } from './config/log-template.ts';
import type { ClosedRelay } from './listener/listener.ts';
import type { Exchange } from './request/exchange.ts';
import { AnswerReason } from './stats/slots.ts';

export type AccessLogFormat = 'json' | 'text';

export const ACCESS_FLAG_FALLBACK = 'FB';
/** A hedge answered. */
export const ACCESS_FLAG_HEDGE = 'HG';
export const ACCESS_FLAG_CANCELLED = 'DC';

export interface AccessLogOptions {
  readonly format: AccessLogFormat;
  /** Of text lines; null for every field. */
  readonly template: string | null;
  /** Share of requests logged, in hundredths of a percent. Failures are logged whatever the share. */
  readonly sampleHundredths: number;
  readonly writer: BoundedWriter;
  readonly random: () => number;
  readonly onDropped: () => void;
}

export class AccessLog {
  private readonly options: AccessLogOptions;
  private readonly template: LogTemplate | null;

  constructor(options: AccessLogOptions) {
    this.options = options;
    this.template = options.template === null ? null : new LogTemplate(options.template);
  }

  /** A request has ended; `nowMs` on the exchange's clock. */
  request(exchange: Exchange, nowMs: number): void {
    if (exchange.flag === '' && exchange.status === 0 && !this.sampled()) return;
    this.write(requestFields(exchange, nowMs));
  }

  connection(connection: ClosedRelay): void {
    if (!this.sampled()) return;
    this.write({ time: new Date().toISOString(), protocol: 'opaque', ...connection });
  }

  private sampled(): boolean {
    const { sampleHundredths, random } = this.options;
    return sampleHundredths >= 10_000 || random() * 10_000 < sampleHundredths;
  }

  private write(fields: Readonly<Record<string, unknown>>): void {
    const { format, writer, onDropped } = this.options;
    const line = format === 'json' ? `${JSON.stringify(fields)}\n` : (this.template?.line(fields) ?? textLine(fields));
    if (!writer.writeLine(line)) onDropped();
  }
}

function requestFields(exchange: Exchange, nowMs: number): Record<string, unknown> {
  const head = exchange.head;
  const { attempt } = exchange;
  return {
    time: new Date().toISOString(),
    protocol: exchange.http1 ? 'HTTP/1.1' : 'HTTP/2',
    method: head?.get(':method') ?? '',
    authority: head?.get(':authority') ?? '',
    path: head?.get(':path') ?? '',
    route: exchange.route,
    model: exchange.model?.config.isRoute ? '' : (exchange.model?.config.name ?? exchange.pipeline),
    cluster: attempt?.cluster.name ?? '',
    version: attempt?.cluster.config.version ?? '',
    status: exchange.status,
    httpStatus: exchange.httpStatus,
    flags: exchange.flag === '' ? '-' : exchange.flag,
    primary: attempt === null || attempt.reason === AnswerReason.PRIMARY,
    durationMs: round(nowMs - exchange.startedMs),
    bytesReceived: exchange.bodyBytes,
    bytesSent: exchange.answerBytes,
    mirrored: exchange.wasMirrored,
    replayable: exchange.replayable,
    hedged: exchange.hedged,
    requestId: exchange.extras?.requestId || (head?.get('x-request-id') ?? ''),
    userAgent: head?.get('user-agent') ?? '',
  };
}

/** `2026-... HTTP/2 POST /path status=0 flags=- ...`: every field in order, names left out where they are obvious. */
function textLine(fields: Readonly<Record<string, unknown>>): string {
  const parts = Object.entries(fields).map(([name, value]) => {
    const shown = shownValue(String(value));
    return name === 'time' || name === 'protocol' || name === 'method' || name === 'path' ? shown : `${name}=${shown}`;
  });
  return `${parts.join(' ')}\n`;
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
