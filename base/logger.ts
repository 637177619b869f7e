/**
 * Structured log lines on standard error, with a stable event name and flat fields: one JSON object a line for
 * collectors, or the same in words for a person at a terminal.
 * Writing is synchronous and rare by design (state changes, not requests); the access log has its own bounded writer.
 */

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

const RANK: Readonly<Record<LogLevel, number>> = { debug: 10, info: 20, warn: 30, error: 40, silent: 100 };

/** How a line is written. Shared by all loggers of a thread, because it is a setting of the process. */
export type LogFormat = 'json' | 'text';

let format: LogFormat = 'json';

export function setLogFormat(wanted: LogFormat): void {
  format = wanted;
}

export type LogSink = (line: string) => void;

/** Whoever read our log may go away; that must not end the program, and there is nobody left to tell. */
process.stderr.on('error', () => undefined);

const stderrSink: LogSink = (line) => {
  process.stderr.write(line);
};

/** Writes events at or above its level; `child` adds fields to every line. */
export class Logger {
  level: LogLevel;
  private readonly fields: Readonly<Record<string, unknown>>;
  private readonly sink: LogSink;

  constructor(level: LogLevel = 'info', fields: Readonly<Record<string, unknown>> = {}, sink: LogSink = stderrSink) {
    this.level = level;
    this.fields = fields;
    this.sink = sink;
  }

  debug(event: string, fields?: Record<string, unknown>): void {
    if (RANK[this.level] <= RANK.debug) this.write('debug', event, fields);
  }

  info(event: string, fields?: Record<string, unknown>): void {
    if (RANK[this.level] <= RANK.info) this.write('info', event, fields);
  }

  warn(event: string, fields?: Record<string, unknown>): void {
    if (RANK[this.level] <= RANK.warn) this.write('warn', event, fields);
  }

  error(event: string, fields?: Record<string, unknown>): void {
    if (RANK[this.level] <= RANK.error) this.write('error', event, fields);
  }

  child(fields: Record<string, unknown>): Logger {
    return new Logger(this.level, { ...this.fields, ...fields }, this.sink);
  }

  private write(level: string, event: string, fields: Record<string, unknown> | undefined): void {
    const line = { time: new Date().toISOString(), level, event, ...this.fields, ...fields };
    this.sink(format === 'json' ? `${JSON.stringify(line, plainValue)}\n` : textLine(line));
  }
}

/** `2026-11-21T09:30:07.617Z WARN breaker cluster=credit-risk@1 from=closed to=open`. */
function textLine(line: Readonly<Record<string, unknown>>): string {
  const { time, level, event, ...fields } = line;
  let text = `${time} ${String(level).toUpperCase().padEnd(5)} ${event}`;
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const shown = typeof value === 'string' ? value : JSON.stringify(value, plainValue);
    text += ` ${name}=${/^[^\s"]+$/.test(shown) ? shown : JSON.stringify(shown)}`;
  }
  return `${text}\n`;
}

/** Makes errors, bigints and maps readable in JSON. */
function plainValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Error) {
    const { code } = value as { code?: unknown };
    return { message: value.message, code, cause: value.cause };
  }
  if (value instanceof Map) return Object.fromEntries(value);
  return value;
}
