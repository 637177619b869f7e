/**
 * An answer without a model in its caller's protocol, from the request as it came to the bytes that go back. Whatever the
 * request's bytes are, the result is an answer or an `AdaptError`.
 */
import type { HeaderList } from '../../proto/http2/header-list.ts';
import { ByteSink } from '../../proto/tensor/byte-sink.ts';
import { DataType } from '../../proto/tensor/dtype.ts';
import { JsonPredictWriter } from '../../proto/tensor/json-predict-response.ts';
import type { JsonOutput } from '../../proto/tensor/json-tensor-writer.ts';
import {
  hasContents,
  inferHead,
  OipMessageWriter,
  putInferJson,
  putRaw,
  rawBytes,
} from '../../proto/tensor/oip-response.ts';
import { modelSpecField, PredictMessageWriter, tensorKey } from '../../proto/tensor/tensor-view.ts';
import { putVarint, varintBytes } from '../../proto/tensor/wire-writer.ts';
import { AdaptError, misfitOf } from './adapt-error.ts';
import { framedBy, jsonLength, openBody, openFrame } from './answer-adapter.ts';
import type { LocalAnswer } from './local-answer.ts';
import { type LocalRequest, readInfer, readInferJson, readPredict, readPredictJson } from './local-request.ts';

const DEFAULT_SIGNATURE = 'serving_default';
const TAG_INFER_RESPONSE = 0x12;

const sink = new ByteSink();
const predictWriter = new PredictMessageWriter('response');
const inferWriter = new OipMessageWriter();

/** Who answers, and what else the answer has to say. */
export interface LocalSource {
  readonly answer: LocalAnswer;
  /** The name the caller asked for; the answer has no version. */
  readonly model: string;
  /** Output that names the answering cluster, '' for none, and what it says. */
  readonly versionOutput: string;
  readonly versionText: string;
}

/** The framed answer to a framed gRPC request. @throws AdaptError */
export function replyToGrpc(
  source: LocalSource,
  method: string,
  framed: Buffer,
  length: number,
  encoding: string,
): Buffer {
  try {
    const [buf, start, end] = openFrame(framed, length, encoding);
    const { wanted } = source.answer;
    switch (method) {
      case 'Predict':
        return predictReply(source, readPredict(buf, start, end, wanted));
      case 'ModelInfer':
        return inferReply(source, readInfer(buf, start, end, wanted), false);
      case 'ModelStreamInfer':
        return inferReply(source, readInfer(buf, start, end, wanted), true);
      default:
        throw new AdaptError('misfit', `${method} has no answer without a model`);
    }
  } catch (error) {
    throw misfitOf(error);
  }
}

/** A body, and how much of it is JSON where tensors follow; -1 where all of it is. */
export interface RestReply {
  readonly body: Buffer;
  readonly jsonBytes: number;
}

/** The answer to a REST request. @throws AdaptError */
export function replyToRest(
  source: LocalSource,
  method: string,
  head: HeaderList,
  body: Buffer,
  length: number,
): RestReply {
  try {
    const plain = openBody(head, body, length);
    if (method === 'Predict') {
      const request = readPredictJson(plain, 0, plain.length);
      sink.clear();
      new JsonPredictWriter(sink).write(request.format, outputsOf(source, request));
      return { body: sink.take(), jsonBytes: -1 };
    }
    if (method !== 'infer') throw new AdaptError('misfit', `${method} has no answer without a model`);
    const jsonEnd = jsonLength(head, plain.length);
    return inferJsonReply(source, readInferJson(plain, 0, jsonEnd, plain.length, source.answer.wanted));
  } catch (error) {
    throw misfitOf(error);
  }
}

/** The constant answer of a route. */
export function replyWithDocument({ answer, versionOutput, versionText }: LocalSource): Buffer {
  const document = answer.policy.document ?? '{}';
  if (versionOutput === '') return Buffer.from(document);
  return Buffer.from(JSON.stringify({ ...(JSON.parse(document) as object), [versionOutput]: versionText }));
}

function outputsOf({ answer, versionOutput, versionText }: LocalSource, request: LocalRequest): JsonOutput[] {
  const outputs = answer.compute(request);
  if (versionOutput === '') return outputs;
  const { rows } = request;
  const data = new Array<string>(rows).fill(versionText);
  outputs.push({ name: versionOutput, dtype: DataType.STRING, dims: [rows], data, from: 0, count: rows });
  return outputs;
}

function predictReply(source: LocalSource, request: LocalRequest): Buffer {
  const outputs = outputsOf(source, request);
  predictWriter.begin(modelSpecField(2, source.model, null, request.signature || DEFAULT_SIGNATURE));
  for (const { name, dtype, dims, data, count } of outputs) {
    predictWriter.add(tensorKey(name), dtype, dims, -1, data, 0, count);
  }
  return framedBy((out) => {
    out.reserve(predictWriter.byteLength);
    out.length = predictWriter.write(out.bytes, out.length);
  });
}

function inferReply(source: LocalSource, request: LocalRequest, isStreamed: boolean): Buffer {
  const outputs = outputsOf(source, request);
  const raw = request.raw || outputs.some(({ dtype }) => !hasContents(dtype));
  inferWriter.begin(inferHead(source.model, '', request.id), raw);
  for (const output of outputs) inferWriter.add(output);
  const { byteLength } = inferWriter;
  return framedBy((out) => {
    out.reserve(byteLength + 1 + varintBytes(byteLength));
    if (isStreamed) {
      out.bytes[out.length] = TAG_INFER_RESPONSE;
      out.length = putVarint(out.bytes, out.length + 1, byteLength);
    }
    out.length = inferWriter.write(out.bytes, out.length);
  });
}

function inferJsonReply(source: LocalSource, request: LocalRequest): RestReply {
  const outputs = outputsOf(source, request);
  const binary = outputs.map(
    ({ name, dtype }) =>
      dtype === DataType.HALF || dtype === DataType.BFLOAT16 || (request.binary.get(name) ?? request.raw),
  );
  sink.clear();
  putInferJson(sink, source.model, '', request.id, outputs, binary);
  const jsonBytes = sink.length;
  for (const [i, output] of outputs.entries()) {
    if (!binary[i]) continue;
    sink.reserve(rawBytes(output));
    sink.length = putRaw(sink.bytes, sink.length, output);
  }
  return { body: sink.take(), jsonBytes: binary.includes(true) ? jsonBytes : -1 };
}
