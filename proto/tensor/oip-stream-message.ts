/**
 * Messages of ModelStreamInfer as somebody in the middle needs them: a request's id, what an answer says of itself, answers
 * of our own for requests that failed, and answers with more parameters. Nothing of a tensor is decoded.
 *
 * An answer is `{ error_message = 1, infer_response = 2 { id = 3, parameters = 4 } }`. Errors carry no status; a server of
 * ours adds one as the parameter `grpc_status` (its number as a string), and `x-understudy-reason` where it has one.
 */
import { PREFIX_BYTES, writeMessagePrefix } from '../grpc/message-framing.ts';
import { numberParameter, type OipParameters, readOipParameter } from './oip-parameters.ts';
import { readText } from './text.ts';
import { WireReader } from './wire.ts';
import { WireError } from './wire-error.ts';
import { putBytes, putVarint, varintBytes } from './wire-writer.ts';

/** Parameter of an error that says which gRPC status the same request would have got alone. */
export const STATUS_PARAMETER = 'grpc_status';
export const REASON_PARAMETER = 'x-understudy-reason';

const TAG_ERROR = 0x0a;
const TAG_RESPONSE = 0x12;
const TAG_ID = 0x1a;
const TAG_PARAMETERS = 0x22;
/** More than any server names its requests with; longer ids are not looked for. */
const MAX_ID_BYTES = 1024;

const reader = new WireReader();
const inner = new WireReader();
const EMPTY = Buffer.alloc(0);

/** The id of a ModelInferRequest at `[start, end)`; '' where it has none, or one that cannot be read. */
export function streamRequestId(buf: Buffer, start: number, end: number): string {
  let id = '';
  try {
    reader.reset(buf, start, end, 'ModelInferRequest');
    while (reader.pos < end) {
      const tag = reader.readTag();
      if (tag === TAG_ID) id = readId(reader, buf);
      else reader.skip(tag);
    }
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
  } finally {
    reader.release();
  }
  return id;
}

/** What one answer of a stream says, read in place. Used again for every answer. */
export class StreamAnswerView {
  /** Not empty: the request failed. */
  errorMessage = '';
  id = '';
  /** What an error's `grpc_status` says; -1 without it. */
  status = -1;
  reason = '';
  /** Where `infer_response` lies, the longest where there are several; both 0 where there is none. */
  responseStart = 0;
  responseEnd = 0;
  /** Where the tag in front of it lies. */
  responseTag = 0;

  /** Reads the ModelStreamInferResponse at `[start, end)`. @throws WireError */
  read(buf: Buffer, start: number, end: number): void {
    this.errorMessage = '';
    this.id = '';
    this.status = -1;
    this.reason = '';
    this.responseStart = 0;
    this.responseEnd = 0;
    this.responseTag = 0;
    reader.reset(buf, start, end, 'ModelStreamInferResponse');
    while (reader.pos < end) {
      const tagAt = reader.pos;
      const tag = reader.readTag();
      if (tag === TAG_ERROR) {
        const textEnd = reader.readPayloadEnd();
        this.errorMessage = readText(buf, reader.pos, textEnd, 'error_message');
        reader.pos = textEnd;
      } else if (tag === TAG_RESPONSE) {
        const fieldEnd = reader.readPayloadEnd();
        if (fieldEnd - reader.pos > this.responseEnd - this.responseStart) {
          this.responseStart = reader.pos;
          this.responseEnd = fieldEnd;
          this.responseTag = tagAt;
        }
        this.readResponse(buf, reader.pos, fieldEnd);
        reader.pos = fieldEnd;
      } else {
        reader.skip(tag);
      }
    }
    reader.release();
  }

  private readResponse(buf: Buffer, start: number, end: number): void {
    let parameters: OipParameters | null = null;
    inner.reset(buf, start, end, 'ModelInferResponse');
    while (inner.pos < end) {
      const tag = inner.readTag();
      if (tag === TAG_ID) {
        this.id = readId(inner, buf);
      } else if (tag === TAG_PARAMETERS) {
        const entryEnd = inner.readPayloadEnd();
        parameters = readOipParameter(buf, inner.pos, entryEnd, parameters);
        inner.pos = entryEnd;
      } else {
        inner.skip(tag);
      }
    }
    inner.release();
    const status = numberParameter(parameters, STATUS_PARAMETER, -1);
    const reason = parameters?.get(REASON_PARAMETER);
    if (status > 0 && status <= 16) this.status = status;
    if (typeof reason === 'string') this.reason = reason;
  }
}

/** A framed answer that says why the request with this id ('' for none) failed. */
export function streamErrorAnswer(
  message: string,
  id: string,
  names: readonly string[],
  values: readonly string[],
): Buffer {
  const text = Buffer.from(message);
  const fields = parameterFields(names, values);
  const idBytes = Buffer.from(id);
  const idField = id === '' ? 0 : lengthDelimited(idBytes.length);
  const response = idField + fields.length;
  const length = lengthDelimited(text.length) + (response === 0 ? 0 : lengthDelimited(response));
  const out = Buffer.allocUnsafe(PREFIX_BYTES + length);
  let at = writeMessagePrefix(out, 0, length, false);
  at = putField(out, at, TAG_ERROR, text);
  if (response === 0) return out;
  out[at] = TAG_RESPONSE;
  at = putVarint(out, at + 1, response);
  if (id !== '') at = putField(out, at, TAG_ID, idBytes);
  putBytes(out, at, fields, 0, fields.length);
  return out;
}

/**
 * The answer at `[start, end)` (no prefix) that `view` has just read, framed, with string parameters added at the end of
 * its `infer_response`. A second `infer_response` would merge by the rules, but not every decoder merges.
 */
export function withAnswerParameters(
  buf: Buffer,
  start: number,
  end: number,
  view: StreamAnswerView,
  names: readonly string[],
  values: readonly string[],
): Buffer {
  const fields = parameterFields(names, values);
  const { responseStart, responseEnd } = view;
  const tagAt = responseEnd === 0 ? end : view.responseTag;
  const restAt = responseEnd === 0 ? end : responseEnd;
  const response = responseEnd - responseStart + fields.length;
  const length = tagAt - start + lengthDelimited(response) + end - restAt;
  const out = Buffer.allocUnsafe(PREFIX_BYTES + length);
  let at = writeMessagePrefix(out, 0, length, false);
  at = putBytes(out, at, buf, start, tagAt);
  out[at] = TAG_RESPONSE;
  at = putVarint(out, at + 1, response);
  at = putBytes(out, at, buf, responseStart, responseEnd);
  at = putBytes(out, at, fields, 0, fields.length);
  putBytes(out, at, buf, restAt, end);
  return out;
}

/** The ModelInferResponse at `[start, end)` as an answer of a stream, framed, with string parameters added. */
export function inferStreamAnswer(
  buf: Buffer,
  start: number,
  end: number,
  names: readonly string[],
  values: readonly string[],
): Buffer {
  const fields = parameterFields(names, values);
  const response = end - start + fields.length;
  const length = lengthDelimited(response);
  const out = Buffer.allocUnsafe(PREFIX_BYTES + length);
  let at = writeMessagePrefix(out, 0, length, false);
  out[at] = TAG_RESPONSE;
  at = putVarint(out, at + 1, response);
  at = putBytes(out, at, buf, start, end);
  putBytes(out, at, fields, 0, fields.length);
  return out;
}

/** `parameters` entries `{ key = 1, value = 2 { string_param = 3 } }`. */
function parameterFields(names: readonly string[], values: readonly string[]): Buffer {
  if (names.length === 0) return EMPTY;
  return Buffer.concat(
    names.map((name, i) => {
      const key = Buffer.from(name);
      const text = Buffer.from(values[i]!);
      const value = lengthDelimited(text.length);
      const entry = lengthDelimited(key.length) + lengthDelimited(value);
      const out = Buffer.allocUnsafe(lengthDelimited(entry));
      out[0] = TAG_PARAMETERS;
      let at = putField(out, putVarint(out, 1, entry), 0x0a, key);
      out[at] = 0x12;
      at = putVarint(out, at + 1, value);
      putField(out, at, 0x1a, text);
      return out;
    }),
  );
}

function readId(from: WireReader, buf: Buffer): string {
  const idEnd = from.readPayloadEnd();
  const id = idEnd - from.pos > MAX_ID_BYTES ? '' : readText(buf, from.pos, idEnd, 'id');
  from.pos = idEnd;
  return id;
}

/** Bytes of a field with a tag of one byte. */
function lengthDelimited(payload: number): number {
  return 1 + varintBytes(payload) + payload;
}

function putField(out: Buffer, at: number, tag: number, payload: Buffer): number {
  out[at] = tag;
  return putBytes(out, putVarint(out, at + 1, payload.length), payload, 0, payload.length);
}
