/** Takes a protobuf message apart into its top-level fields, bytes as they stand: the eye that checks rewriting. */

export interface WireField {
  readonly number: number;
  /** Tag, length and payload. */
  readonly bytes: Buffer;
  readonly payload: Buffer;
}

export function fieldsOf(message: Buffer): WireField[] {
  const fields: WireField[] = [];
  let at = 0;
  while (at < message.length) {
    const start = at;
    const [tag, afterTag] = varint(message, at);
    at = afterTag;
    let payload = at;
    const wireType = Number(tag & 7n);
    if (wireType === 0) at = varint(message, at)[1];
    else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else {
      const [length, afterLength] = varint(message, at);
      payload = afterLength;
      at = afterLength + Number(length);
    }
    if (at > message.length) throw new Error(`field at ${start} is longer than its message`);
    fields.push({
      number: Number(tag >> 3n),
      bytes: message.subarray(start, at),
      payload: message.subarray(payload, at),
    });
  }
  return fields;
}

/** A length-delimited field. */
export function bytesField(number: number, payload: Buffer): Buffer {
  return Buffer.concat([varintBytes((number << 3) | 2), varintBytes(payload.length), payload]);
}

export function varintBytes(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

function varint(buffer: Buffer, at: number): [bigint, number] {
  let value = 0n;
  for (let shift = 0n; ; shift += 7n) {
    const byte = buffer[at++]!;
    value |= BigInt(byte & 127) << shift;
    if (byte < 128) return [value, at];
  }
}
