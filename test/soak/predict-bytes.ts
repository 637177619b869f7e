/**
 * PredictRequests and PredictResponses of the soak as bytes, without a codec: one uint8 tensor that carries the payload.
 * An upstream echoes by giving the fields their numbers in the response, so that a caller can compare byte for byte.
 */

const INPUTS = 0x12; // PredictRequest.inputs, and PredictResponse.model_spec
const SPEC = 0x0a; // PredictRequest.model_spec, and PredictResponse.outputs

/** A field of length-delimited bytes. */
function field(tag: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([tag]), varint(value.length), value]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest & 127) | 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** The map entry that carries the payload: `inputs` of a request, `outputs` of its answer. */
export function tensorEntry(payload: Buffer): Buffer {
  const shape = field(0x12, field(0x12, Buffer.concat([Buffer.from([0x08]), varint(payload.length)])));
  const tensor = Buffer.concat([Buffer.from([0x08, 4]), shape, field(0x22, payload)]);
  return Buffer.concat([field(0x0a, Buffer.from('x')), field(0x12, tensor)]);
}

/** A PredictRequest without its gRPC prefix. */
export function predictMessage(model: string, entry: Buffer): Buffer {
  return Buffer.concat([field(SPEC, field(0x0a, Buffer.from(model))), field(INPUTS, entry)]);
}

/** Both parts of a message whose fields 1 and 2 are bytes; null when it is anything else. */
export function splitMessage(message: Buffer): { first: Buffer; second: Buffer } | null {
  const parts: Record<number, Buffer> = {};
  let at = 0;
  while (at < message.length) {
    const tag = message[at++]!;
    let length = 0;
    for (let shift = 1; ; shift *= 128) {
      if (at >= message.length) return null;
      const byte = message[at++]!;
      length += (byte & 127) * shift;
      if (byte < 128) break;
    }
    if (at + length > message.length || (tag !== SPEC && tag !== INPUTS)) return null;
    parts[tag] = message.subarray(at, at + length);
    at += length;
  }
  const first = parts[SPEC];
  const second = parts[INPUTS];
  return first === undefined || second === undefined ? null : { first, second };
}

/** The answer that echoes a request. */
export function echoMessage(request: { first: Buffer; second: Buffer }): Buffer {
  return Buffer.concat([field(SPEC, request.second), field(INPUTS, request.first)]);
}

/** With the gRPC prefix, uncompressed. */
export function prefixed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}
