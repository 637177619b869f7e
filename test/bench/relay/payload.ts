/**
 * The messages of the relay bench: Predict requests of exact sizes and the one reply, as framed gRPC bodies.
 *
 * A request starts with the model spec, as clients write it, and a proxy may rewrite that; everything behind it must
 * arrive as it was sent. The spec names no version, so that choosing one is part of the work.
 */
import { modelSpecField, PredictMessageWriter, tensorKey } from '../../../proto/tensor/tensor-writer.ts';

export const MODEL_NAME = 'bench';
export const MODEL_VERSION = 1;
export const PREDICT_PATH = '/tensorflow.serving.PredictionService/Predict';

/** Bytes of the gRPC prefix: a flag and the message length. */
export const PREFIX_BYTES = 5;

const DT_FLOAT = 1;
const REPLY_VALUES = 16;
const NAME_FILL = 'features_of_one_applicant';

/** A framed PredictRequest of exactly `bytes` bytes, prefix included; at least 200. */
export function requestBody(bytes: number): Buffer {
  // Floats come in fours; the input's name takes up the rest.
  for (let nameLength = 8; nameLength < 16; nameLength++) {
    const writer = new PredictMessageWriter('request');
    for (let count = (bytes - 100) >> 2; count <= bytes >> 2; count++) {
      writer.begin(Buffer.alloc(0));
      writer.add(tensorKey(NAME_FILL.slice(0, nameLength)), DT_FLOAT, [1, count], -1, numbers(count), 0, count);
      const spec = requestSpec();
      if (PREFIX_BYTES + spec.length + writer.byteLength !== bytes) continue;
      const body = Buffer.alloc(bytes);
      body.writeUInt32BE(bytes - PREFIX_BYTES, 1);
      spec.copy(body, PREFIX_BYTES);
      writer.write(body, PREFIX_BYTES + spec.length);
      return body;
    }
  }
  throw new Error(`no request has ${bytes} bytes`);
}

/** Where in a request the bytes begin that no proxy may change. */
export function fixedPartStart(): number {
  return PREFIX_BYTES + requestSpec().length;
}

/** The framed PredictResponse every request is answered with. */
export function replyBody(): Buffer {
  const writer = new PredictMessageWriter('response');
  writer.begin(modelSpecField(2, MODEL_NAME, BigInt(MODEL_VERSION), 'serving_default'));
  writer.add(tensorKey('scores'), DT_FLOAT, [1, REPLY_VALUES], -1, numbers(REPLY_VALUES), 0, REPLY_VALUES);
  const body = Buffer.alloc(PREFIX_BYTES + writer.byteLength);
  body.writeUInt32BE(writer.byteLength, 1);
  writer.write(body, PREFIX_BYTES);
  return body;
}

function requestSpec(): Buffer {
  return modelSpecField(1, MODEL_NAME, null, 'serving_default');
}

function numbers(count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(i));
}
