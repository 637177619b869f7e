/** The messages of the HTTP/1.1 workload: a TensorFlow Serving REST call of an exact size and its one reply, as JSON. */
import { MODEL_NAME } from './payload.ts';

/** Names no version, so that choosing one is part of the work. */
export const REST_PATH = `/v1/models/${MODEL_NAME}:predict`;

const REPLY_VALUES = 16;
const START = '{"signature_name":"serving_default","instances":[[';
const END = ']]}';

/** A JSON request of exactly `bytes` bytes; at least 100. */
export function restRequestBody(bytes: number): Buffer {
  let numbers = '0.5';
  while (START.length + numbers.length + ',0.25'.length + END.length <= bytes) numbers += ',0.25';
  // JSON allows white space here, and it fills what is left.
  return Buffer.from((START + numbers + END[0]).padEnd(bytes - 2) + END.slice(1));
}

/** What every right request is answered with. */
export function restReplyBody(): Buffer {
  const scores = Array.from({ length: REPLY_VALUES }, (_, i) => (i + 1) / REPLY_VALUES);
  return Buffer.from(JSON.stringify({ predictions: [scores] }));
}
