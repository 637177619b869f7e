/** Builders for pairs of answers, encoded by protobufjs and not by our own writer. */
import { gzipSync } from 'node:zlib';
import { writeMessagePrefix } from '../../../../proto/grpc/message-framing.ts';
import { DataType } from '../../../../proto/tensor/dtype.ts';
import { type PairRecord, recordSize, writeRecord } from '../../../../proxy/mirror/pair-record.ts';
import { encodeMessage } from '../../../support/proto-codecs.ts';

export const NOTHING = Buffer.alloc(0);

/** TensorProtos as plain objects for proto-loader. */
export function tensor(dtype: number, dims: readonly number[], values: object): object {
  return { dtype, tensor_shape: { dim: dims.map((size) => ({ size })) }, ...values };
}

export function floats(dims: readonly number[], values: readonly number[]): object {
  return tensor(DataType.FLOAT, dims, { float_val: values });
}

export function integers(dims: readonly number[], values: readonly number[]): object {
  return tensor(DataType.INT64, dims, { int64_val: values });
}

export function strings(dims: readonly number[], values: readonly string[]): object {
  return tensor(DataType.STRING, dims, { string_val: values.map((value) => Buffer.from(value)) });
}

/** A message with its gRPC prefix. */
export function framed(message: Buffer, compressed = false): Buffer {
  const prefix = Buffer.alloc(5);
  writeMessagePrefix(prefix, 0, message.length, compressed);
  return Buffer.concat([prefix, message]);
}

export function answer(outputs: object): Buffer {
  return framed(encodeMessage('tensorflow.serving.PredictResponse', { outputs }));
}

export function gzipped(outputs: object): Buffer {
  return framed(gzipSync(encodeMessage('tensorflow.serving.PredictResponse', { outputs })), true);
}

export function request(inputs: object): Buffer {
  return framed(encodeMessage('tensorflow.serving.PredictRequest', { model_spec: { name: 'm' }, inputs }));
}

/** A pair in which both sides answered, with what the test says otherwise. */
export function pair(fields: Partial<PairRecord> = {}): PairRecord {
  return {
    model: 'm',
    primary: 'm@1',
    shadow: 'm@2',
    cohort: '',
    protocol: 0,
    method: 'Predict',
    primaryEncoding: '',
    encoding: '',
    requestJsonBytes: 0,
    primaryJsonBytes: 0,
    shadowJsonBytes: 0,
    primaryStatus: 0,
    shadowStatus: 0,
    primaryLatencyMs: 2,
    shadowLatencyMs: 5,
    request: NOTHING,
    primaryBody: NOTHING,
    shadowBody: NOTHING,
    ...fields,
  };
}

/** A pair of answers with these outputs. */
export function outputs(primary: object, shadow: object, fields: Partial<PairRecord> = {}): PairRecord {
  return pair({ primaryBody: answer(primary), shadowBody: answer(shadow), ...fields });
}

/** The records in a buffer of their own, as a data thread would transfer it. */
export function batch(pairs: readonly PairRecord[]): { buffer: ArrayBuffer; length: number } {
  const length = pairs.reduce((sum, one) => sum + recordSize(one), 0);
  const buffer = new ArrayBuffer(length + 64);
  const bytes = Buffer.from(buffer);
  let at = 0;
  for (const one of pairs) at = writeRecord(bytes, at, one);
  return { buffer, length };
}

/** Numbers in [0, 1) that are the same in every run (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
