/**
 * How a pair of answers travels from a data thread to the analysis thread: records in a transferred buffer.
 *
 *   u32 record length (this field included)
 *   i32 primary gRPC status   i32 shadow gRPC status   (-1: no answer)
 *   f64 primary latency ms    f64 shadow latency ms
 *   u8 protocol (`PairProtocol`)
 *   3 x u32                   bytes of JSON at the start of request, primary and shadow body (0: all of it); see below
 *   7 x (u16 length, latin1)  model, primary cluster, shadow cluster, cohort header value, encoding of the primary's
 *                             answer and of the shadow's, method
 *   i32 secondary gRPC status
 *   4 x (u32 length, bytes)   request body, primary body, shadow body, secondary body: gRPC messages with their 5-byte
 *                             prefix, REST bodies as they were
 *
 * A REST body of the Open Inference Protocol may carry tensors as bytes behind its JSON (`Inference-Header-Content-Length`).
 * Numbers are little-endian and unaligned. A record that does not fit is refused whole, never cut.
 */

/** Most characters of a string field; longer ones are cut (names are bounded by the configuration, cohorts here). */
const MAX_TEXT = 256;
const FIXED_BYTES = 4 + 8 + 16 + 1 + 12;
const TEXTS = 7;
const BODIES = 4;
/** A record with empty fields. */
const MIN_RECORD_BYTES = FIXED_BYTES + TEXTS * 2 + 4 + BODIES * 4;
const NO_BYTES = new Uint8Array(0);

/** What the bodies of a pair are written in. */
export const PairProtocol = { TFS_GRPC: 0, OIP_GRPC: 1, TFS_REST: 2, OIP_REST: 3 } as const;

/** One pair, as written and as read. Buffers that are read are views of the record. */
export interface PairRecord {
  readonly model: string;
  readonly primary: string;
  readonly shadow: string;
  /** Value of the cohort header; '' when the cohort comes from elsewhere or there is none. */
  readonly cohort: string;
  /** One of `PairProtocol`. */
  readonly protocol: number;
  /** Predict, Classify, Regress, MultiInference; `infer` in both forms of the Open Inference Protocol. */
  readonly method: string;
  /** grpc-encoding or content-encoding of the primary's answer, '' for none; gRPC messages carry a flag of their own. */
  readonly primaryEncoding: string;
  /** The same of the shadow's answer. */
  readonly encoding: string;
  /** Bytes of JSON at the start of each body when tensors follow as bytes; 0 when they do not. */
  readonly requestJsonBytes: number;
  readonly primaryJsonBytes: number;
  readonly shadowJsonBytes: number;
  readonly primaryStatus: number;
  readonly shadowStatus: number;
  readonly primaryLatencyMs: number;
  readonly shadowLatencyMs: number;
  /** The request as the caller sent it; empty unless the comparison needs its inputs. */
  readonly request: Uint8Array;
  readonly primaryBody: Uint8Array;
  readonly shadowBody: Uint8Array;
  /** The primary's answer to the same request sent to it again, for the noise floor; -1 and empty where it was not. */
  readonly secondaryStatus?: number;
  readonly secondaryBody?: Uint8Array;
}

/** Bytes the record takes. */
export function recordSize(pair: PairRecord): number {
  let size = FIXED_BYTES;
  for (const text of texts(pair)) size += 2 + Math.min(text.length, MAX_TEXT);
  size += 4 + BODIES * 4 + (pair.secondaryBody ?? NO_BYTES).length;
  return size + pair.request.length + pair.primaryBody.length + pair.shadowBody.length;
}

/** Writes a record at `at` and returns where the next one goes; the caller has checked that `recordSize` fits. */
export function writeRecord(out: Buffer, at: number, pair: PairRecord): number {
  const start = at;
  at += 4;
  at = out.writeInt32LE(pair.primaryStatus, at);
  at = out.writeInt32LE(pair.shadowStatus, at);
  at = out.writeDoubleLE(pair.primaryLatencyMs, at);
  at = out.writeDoubleLE(pair.shadowLatencyMs, at);
  at = out.writeUInt8(pair.protocol, at);
  at = out.writeUInt32LE(pair.requestJsonBytes, at);
  at = out.writeUInt32LE(pair.primaryJsonBytes, at);
  at = out.writeUInt32LE(pair.shadowJsonBytes, at);
  for (const text of texts(pair)) {
    const cut = text.length > MAX_TEXT ? text.slice(0, MAX_TEXT) : text;
    at = out.writeUInt16LE(cut.length, at);
    at += out.write(cut, at, 'latin1');
  }
  at = out.writeInt32LE(pair.secondaryStatus ?? -1, at);
  for (const bytes of [pair.request, pair.primaryBody, pair.shadowBody, pair.secondaryBody ?? NO_BYTES]) {
    at = out.writeUInt32LE(bytes.length, at);
    out.set(bytes, at);
    at += bytes.length;
  }
  out.writeUInt32LE(at - start, start);
  return at;
}

/** Reads the records in `buffer[0..length)` one after the other. Throws a RangeError where a record cannot be one. */
export function* readRecords(buffer: Buffer, length: number): Generator<PairRecord> {
  for (let start = 0; start < length; ) {
    const size = buffer.readUInt32LE(start);
    // A size that cannot be would send the loop round for ever, or out of the buffer.
    if (size < MIN_RECORD_BYTES || size > length - start) throw new RangeError(`record of ${size} bytes`);
    let at = start + FIXED_BYTES;
    const text: string[] = [];
    for (let i = 0; i < TEXTS; i++) {
      const bytes = buffer.readUInt16LE(at);
      text.push(buffer.toString('latin1', at + 2, at + 2 + bytes));
      at += 2 + bytes;
    }
    const secondaryStatus = buffer.readInt32LE(at);
    at += 4;
    const bodies: Uint8Array[] = [];
    for (let i = 0; i < BODIES; i++) {
      const bytes = buffer.readUInt32LE(at);
      bodies.push(buffer.subarray(at + 4, at + 4 + bytes));
      at += 4 + bytes;
    }
    yield {
      model: text[0]!,
      primary: text[1]!,
      shadow: text[2]!,
      cohort: text[3]!,
      protocol: buffer.readUInt8(start + 28),
      requestJsonBytes: buffer.readUInt32LE(start + 29),
      primaryJsonBytes: buffer.readUInt32LE(start + 33),
      shadowJsonBytes: buffer.readUInt32LE(start + 37),
      primaryEncoding: text[4]!,
      encoding: text[5]!,
      method: text[6]!,
      primaryStatus: buffer.readInt32LE(start + 4),
      shadowStatus: buffer.readInt32LE(start + 8),
      primaryLatencyMs: buffer.readDoubleLE(start + 12),
      shadowLatencyMs: buffer.readDoubleLE(start + 20),
      request: bodies[0]!,
      primaryBody: bodies[1]!,
      shadowBody: bodies[2]!,
      secondaryStatus,
      secondaryBody: bodies[3]!,
    };
    start += size;
  }
}

function texts(pair: PairRecord): readonly string[] {
  const { model, primary, shadow, cohort, primaryEncoding, encoding, method } = pair;
  return [model, primary, shadow, cohort, primaryEncoding, encoding, method];
}
