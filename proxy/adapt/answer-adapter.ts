/**
 * Whole answers adapted, as they travel: framed and maybe compressed in gRPC, with a head in HTTP. The adapted answer is
 * never compressed, and its head says so.
 *
 * Bounds: an answer of more than `MAX_ADAPTED_BYTES`, compressed or inflated, is `too_large`, and so is JSON of more than
 * `MAX_ADAPTED_JSON`, which takes some tens of milliseconds a megabyte. Whatever the bytes are, the result is a new answer or
 * an `AdaptError`.
 */
import { inflateMessageSync, parseEncoding } from '../../proto/grpc/compression.ts';
import { PREFIX_BYTES, writeMessagePrefix } from '../../proto/grpc/message-framing.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { ByteSink } from '../../proto/tensor/byte-sink.ts';
import type { JsonRule } from '../config/answer-policy.ts';
import { AdaptError, misfitOf } from './adapt-error.ts';
import { adaptInfer } from './infer-answer.ts';
import { adaptInferJson, adaptPredictJson } from './json-answers.ts';
import { adaptDocument } from './json-document.ts';
import { type AnswerChange, keepsOutputs } from './output-mapping.ts';
import { adaptPredict, renameModel, renameModels } from './predict-answer.ts';

/** Largest answer that is adapted, bytes; inflated ones have the same bound. */
export const MAX_ADAPTED_BYTES: number = 16 * 1024 * 1024;
/** Most JSON of an answer that is read, bytes; binary tensors behind it do not count. */
export const MAX_ADAPTED_JSON: number = 2 * 1024 * 1024;
const BOUNDS = { maxBytes: MAX_ADAPTED_BYTES, maxRatio: 200 } as const;
const JSON_LENGTH = 'inference-header-content-length';

const sink = new ByteSink();

/** Methods whose answers are tensors; the others have only their model spec adapted. */
const TENSOR_METHODS: ReadonlySet<string> = new Set(['Predict', 'ModelInfer', 'ModelStreamInfer', 'infer']);
const SPEC_METHODS: ReadonlySet<string> = new Set(['Classify', 'Regress', 'MultiInference']);

/** Whether the answers of a gRPC method, or of its equal in REST, are changed by this at all. */
export function changes(method: string, isRest: boolean, change: AnswerChange): boolean {
  // TensorFlow Serving's REST answers name no model.
  if (isRest && method !== 'infer' && keepsOutputs(change)) return false;
  return TENSOR_METHODS.has(method) || (change.specName !== '' && SPEC_METHODS.has(method));
}

/** A framed gRPC answer in its adapted form. `encoding` is its `grpc-encoding`. @throws AdaptError */
export function adaptGrpc(
  method: string,
  framed: Buffer,
  length: number,
  encoding: string | undefined,
  change: AnswerChange,
): Buffer {
  try {
    const [buf, start, end] = openFrame(framed, length, encoding);
    return framedBy((out) => {
      if (method === 'Predict' && !keepsOutputs(change)) adaptPredict(out, buf, start, end, change);
      else if (TENSOR_METHODS.has(method) && method !== 'Predict') adaptInfer(out, buf, start, end, change);
      else if (method === 'MultiInference') renameModels(out, buf, start, end, change.specName);
      else renameModel(out, buf, start, end, change.specName);
    });
  } catch (error) {
    throw misfitOf(error);
  }
}

/** The ModelInferResponse at `[start, end)` in its adapted form, without prefix. @throws AdaptError */
export function adaptInferMessage(buf: Buffer, start: number, end: number, change: AnswerChange): Buffer {
  try {
    if (end - start > MAX_ADAPTED_BYTES) throw tooLarge();
    sink.clear();
    adaptInfer(sink, buf, start, end, change);
    return sink.take();
  } catch (error) {
    throw misfitOf(error);
  }
}

/** An HTTP answer: the head that goes with the new body. */
export interface HttpAnswer {
  readonly head: HeaderList;
  readonly body: Buffer;
}

/** A REST answer to `Predict` or `infer` in its adapted form. @throws AdaptError */
export function adaptRest(
  method: string,
  head: HeaderList,
  body: Buffer,
  length: number,
  change: AnswerChange,
): HttpAnswer {
  try {
    const plain = openBody(head, body, length);
    sink.clear();
    if (method !== 'infer') {
      checkJson(plain.length);
      adaptPredictJson(sink, plain, 0, plain.length, change);
      return { head: headOf(head, sink.length, -1), body: sink.take() };
    }
    const jsonBytes = jsonLength(head, plain.length);
    checkJson(jsonBytes);
    const written = adaptInferJson(sink, plain, 0, jsonBytes, plain.length, change);
    return { head: headOf(head, sink.length, written), body: sink.take() };
  } catch (error) {
    throw misfitOf(error);
  }
}

/** The JSON answer of a route in its adapted form. @throws AdaptError */
export function adaptJson(
  head: HeaderList,
  body: Buffer,
  length: number,
  rules: readonly JsonRule[],
  versionField: string,
  versionText: string,
): HttpAnswer {
  try {
    const plain = openBody(head, body, length);
    checkJson(plain.length);
    const adapted = adaptDocument(plain, 0, plain.length, rules, versionField, versionText);
    return { head: headOf(head, adapted.length, -1), body: adapted };
  } catch (error) {
    throw misfitOf(error);
  }
}

/** What `write` appends, as one uncompressed gRPC message. */
export function framedBy(write: (out: ByteSink) => void): Buffer {
  sink.clear();
  sink.reserve(PREFIX_BYTES);
  sink.length = PREFIX_BYTES;
  write(sink);
  writeMessagePrefix(sink.bytes, 0, sink.length - PREFIX_BYTES, false);
  return sink.take();
}

/** The one message of `framed[0 .. length)`, inflated: its buffer, start and end. @throws AdaptError, WireError */
export function openFrame(framed: Buffer, length: number, encoding: string | undefined): [Buffer, number, number] {
  if (length > MAX_ADAPTED_BYTES + PREFIX_BYTES) throw tooLarge();
  if (length < PREFIX_BYTES || PREFIX_BYTES + framed.readUInt32BE(1) !== length || framed[0]! > 1) {
    throw new AdaptError('misfit', 'the body is not one gRPC message');
  }
  if (framed[0] === 0) return [framed, PREFIX_BYTES, length];
  const known = parseEncoding(encoding);
  if (known === null || known === '') throw new AdaptError('misfit', `compressed by ${encoding ?? 'nothing named'}`);
  const plain = inflateMessageSync(known, framed, PREFIX_BYTES, length, BOUNDS);
  return [plain, 0, plain.length];
}

/** The body of an HTTP message, inflated where its head says it is compressed. @throws AdaptError, WireError */
export function openBody(head: HeaderList, body: Buffer, length: number): Buffer {
  if (length > MAX_ADAPTED_BYTES) throw tooLarge();
  const encoding = (head.get('content-encoding') ?? '').trim().toLowerCase();
  if (encoding === '' || encoding === 'identity') return body.subarray(0, length);
  if (encoding === 'gzip' || encoding === 'x-gzip') return inflateMessageSync('gzip', body, 0, length, BOUNDS);
  if (encoding === 'deflate') return inflateMessageSync('deflate', body, 0, length, BOUNDS);
  throw new AdaptError('misfit', `content-encoding ${encoding}`);
}

/** Bytes of JSON at the start of an Open Inference body. @throws AdaptError */
export function jsonLength(head: HeaderList, length: number): number {
  const text = head.get(JSON_LENGTH);
  if (text === undefined) return length;
  const bytes = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (bytes > 0 && bytes <= length) return bytes;
  throw new AdaptError('misfit', `${JSON_LENGTH} ${text} of a body of ${length} bytes`);
}

/** Fields that describe the body as it came. */
const BODY_FIELDS: ReadonlySet<string> = new Set([
  'content-length',
  'content-encoding',
  'content-md5',
  'content-digest',
  'repr-digest',
  'digest',
  'etag',
  JSON_LENGTH,
]);

function headOf(head: HeaderList, bodyBytes: number, jsonBytes: number): HeaderList {
  const names: string[] = [];
  const values: string[] = [];
  for (let i = 0; i < head.length; i++) {
    if (BODY_FIELDS.has(head.names[i]!)) continue;
    names.push(head.names[i]!);
    values.push(head.values[i]!);
  }
  names.push('content-length');
  values.push(String(bodyBytes));
  if (jsonBytes >= 0) {
    names.push(JSON_LENGTH);
    values.push(String(jsonBytes));
  }
  return new HeaderList(names, values);
}

function checkJson(bytes: number): void {
  if (bytes > MAX_ADAPTED_JSON) throw tooLarge(MAX_ADAPTED_JSON);
}

function tooLarge(most = MAX_ADAPTED_BYTES): AdaptError {
  return new AdaptError('too_large', `more than ${most} bytes`);
}
