/**
 * The one error of the JSON codecs. Texts of syntax errors are those clients of TensorFlow Serving know from its parser;
 * offsets count bytes from the start of the document.
 */

/**
 * - `syntax`: the bytes are no JSON document.
 * - `value`: well-formed, but not what the request needs: another type, shape or key.
 * - `unsupported`: a tensor type that JSON cannot carry here.
 * - `too_large`: nested deeper or longer than allowed.
 */
export type JsonErrorReason = 'syntax' | 'value' | 'unsupported' | 'too_large';

export class JsonError extends Error {
  override readonly name = 'JsonError';
  readonly reason: JsonErrorReason;

  constructor(reason: JsonErrorReason, message: string) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = stackTraceLimit;
    this.reason = reason;
  }
}

/** What can be wrong with a document's syntax. */
export const JsonSyntax = {
  empty: 'The document is empty.',
  trailing: 'The document root must not be followed by other values.',
  value: 'Invalid value.',
  memberName: 'Missing a name for object member.',
  memberColon: 'Missing a colon after a name of object member.',
  memberEnd: 'Missing a comma or } after an object member.',
  elementEnd: 'Missing a comma or ] after an array element.',
  hex: 'Incorrect hex digit after \\u escape in string.',
  surrogate: 'The surrogate pair in string is invalid.',
  escape: 'Invalid escape character in string.',
  quote: 'Missing a closing quotation mark in string.',
  encoding: 'Invalid encoding in string.',
  tooBig: 'Number too big to be stored in double.',
  fraction: 'Miss fraction part in number.',
  exponent: 'Miss exponent in number.',
} as const;

/** @throws JsonError `syntax` */
export function failSyntax(problem: string, offset: number): never {
  throw new JsonError('syntax', `JSON Parse error: ${problem} at offset: ${offset}`);
}

/** @throws JsonError `value` */
export function failValue(message: string): never {
  throw new JsonError('value', message);
}
