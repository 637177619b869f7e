/** Reads a message of a text-format file by a table of its fields; whatever does not fit is said with its line. */
import { parseTextProto, type TextField, type TextMessage, TextProtoError } from '../repository/text-proto.ts';

/** Takes one field as written; throws an Error whose message says what was expected. */
export type FieldReader = (field: TextField) => void;

/** Reads every field of `message` by `readers`. A field without a reader is a problem. */
export function readFields(
  message: TextMessage,
  readers: Readonly<Record<string, FieldReader>>,
  problems: string[],
): void {
  for (const field of message.fields) {
    const read = Object.hasOwn(readers, field.name) ? readers[field.name] : undefined;
    if (read === undefined) {
      problems.push(`line ${field.line}: ${field.name}: unknown, expected ${Object.keys(readers).join(', ')}`);
      continue;
    }
    try {
      read(field);
    } catch (error) {
      problems.push(`line ${field.line}: ${field.name}: expected ${(error as Error).message}`);
    }
  }
}

/** A whole file as one message; null, and a problem, when it is not in the format. */
export function readText(text: string, problems: string[]): TextMessage | null {
  try {
    return parseTextProto(text);
  } catch (error) {
    if (!(error instanceof TextProtoError)) throw error;
    problems.push(error.message);
    return null;
  }
}

/** The text of a scalar, or of `{ value: X }`, which is how wrapper messages are written. */
export function scalarOf(field: TextField): string {
  const { value } = field;
  if (value.kind === 'scalar') return value.text;
  const [inner, ...more] = value.fields;
  if (inner?.name !== 'value' || inner.value.kind !== 'scalar' || more.length > 0) throw new Error('{ value: X }');
  return inner.value.text;
}

/** A whole number between the bounds, bare or wrapped. */
export function wholeOf(field: TextField, least: number, most: number): number {
  const text = scalarOf(field);
  const number = /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number >= least && number <= most)) throw new Error(`a whole number from ${least} to ${most}, got ${text}`);
  return number;
}

export function booleanOf(field: TextField): boolean {
  const text = scalarOf(field);
  if (text === 'true' || text === '1' || text === 't' || text === 'True') return true;
  if (text === 'false' || text === '0' || text === 'f' || text === 'False') return false;
  throw new Error(`true or false, got ${text}`);
}

export function messageOf(field: TextField): TextMessage {
  if (field.value.kind !== 'message') throw new Error('{ ... }');
  return field.value;
}
