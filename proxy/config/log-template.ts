/**
 * Templates of access-log lines: text with names of fields in braces, `{time} {method} {path} {status}`. Requests and
 * opaque connections share one template; what a line has no value for reads `-`.
 */

/** Fields of a request's line, in the order of the line without a template. */
export const REQUEST_LOG_FIELDS = [
  'time',
  'protocol',
  'method',
  'authority',
  'path',
  'route',
  'model',
  'cluster',
  'version',
  'status',
  'httpStatus',
  'flags',
  'primary',
  'durationMs',
  'bytesReceived',
  'bytesSent',
  'mirrored',
  'replayable',
  'hedged',
  'requestId',
  'userAgent',
] as const;

/** What lines of opaque connections have besides. */
export const CONNECTION_LOG_FIELDS = ['destination', 'serverName'] as const;

const KNOWN: ReadonlySet<string> = new Set([...REQUEST_LOG_FIELDS, ...CONNECTION_LOG_FIELDS]);
const FIELD = /\{([^{}]*)\}/g;

/** A template cut at its fields: text, field, text, field ... text. */
export class LogTemplate {
  private readonly texts: string[] = [];
  private readonly names: string[] = [];

  constructor(template: string) {
    let at = 0;
    for (const match of template.matchAll(FIELD)) {
      this.texts.push(template.slice(at, match.index));
      this.names.push(match[1]!);
      at = match.index + match[0].length;
    }
    this.texts.push(template.slice(at));
  }

  /** One line, with its end. */
  line(fields: Readonly<Record<string, unknown>>): string {
    let line = this.texts[0]!;
    for (let i = 0; i < this.names.length; i++) {
      line += shownValue(String(fields[this.names[i]!] ?? '')) + this.texts[i + 1]!;
    }
    return `${line}\n`;
  }
}

/** A value that cannot be taken for two, or for the end of a line: `-` for none, quoted where it has spaces or the like. */
export function shownValue(text: string): string {
  if (text === '') return '-';
  return /^[\x21\x23-\x7e]+$/.test(text) ? text : JSON.stringify(text);
}

/** Names in a template's braces that are no fields. */
export function unknownLogFields(template: string): string[] {
  return [...template.matchAll(FIELD)].map((match) => match[1]!).filter((name) => !KNOWN.has(name));
}
