/** Encoders and decoders made from the .proto files by proto-loader: the independent codec that ours is checked against. */
import { loadSync, type MessageTypeDefinition } from '@grpc/proto-loader';
import { PROTO_DIR, ProtoFile } from '../../proto/files.ts';

const definitions = loadSync(Object.values(ProtoFile), {
  includeDirs: [PROTO_DIR],
  keepCase: true,
  longs: String,
  enums: Number,
  bytes: Buffer,
  defaults: true,
  oneofs: true,
});

// biome-ignore lint/suspicious/noExplicitAny: decoded messages are shaped by the schema, which TypeScript does not see
export type Message = any;

function definition(type: string): MessageTypeDefinition<object, object> {
  const found = definitions[type];
  if (found === undefined || !('serialize' in found)) throw new Error(`no message type ${type}`);
  return found as MessageTypeDefinition<object, object>;
}

/** Bytes of `message` as the message type named, for example `tensorflow.serving.PredictRequest`. */
export function encodeMessage(type: string, message: object): Buffer {
  return definition(type).serialize(message);
}

/** Decoded plain object: 64-bit integers as decimal strings, enums as numbers, bytes as Buffers, all fields present. */
export function decodeMessage(type: string, bytes: Buffer): Message {
  return definition(type).deserialize(bytes);
}
