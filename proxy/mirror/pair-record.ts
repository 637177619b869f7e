/**
 * How a pair of answers travels from a data thread to the analysis thread: records in a transferred buffer.
 *
 *   u32 record length (this field included)
 *   i32 primary gRPC status   i32 shadow gRPC status   (-1: no answer)
 *   f64 primary latency ms    f64 shadow latency ms
 *   5 x (u16 length, latin1)  model, primary cluster, shadow cluster, cohort header value, grpc-encoding of the answers
 *   3 x (u32 length, bytes)   request body, primary body, shadow body: gRPC messages with their 5-byte prefix
 *
 * Numbers are little-endian and unaligned. A record that does not fit is refused whole, never cut.
 */

/** Most characters of a string field; longer ones are cut (names are bounded by the configuration, cohorts here). */
const MAX_TEXT = 256;
const FIXED_BYTES = 4 + 8 + 16;
/** A record with empty fields. */
const MIN_RECORD_BYTES = FIXED_BYTES + 5 * 2 + 3 * 4;

/** One pair, as written and as read. Buffers that are read are views of the record. */
export interface PairRecord {
  readonly model: string;
  readonly primary: string;
  readonly shadow: string;
  /** Value of the cohort header; '' when the cohort comes from elsewhere or there is none. */
  readonly cohort: string;
  /** grpc-encoding of both answers; messages carry their own compressed flag. */
  readonly encoding: string;
  readonly primaryStatus: number;
  readonly shadowStatus: number;
  readonly primaryLatencyMs: number;
  readonly shadowLatencyMs: number;
  /** The request as the caller sent it; empty unless the comparison needs its inputs. */
  readonly request: Uint8Array;
  readonly primaryBody: Uint8Array;
  readonly shadowBody: Uint8Array;
}

/** Bytes the record takes. */
export function recordSize(pair: PairRecord): number {
  let size = FIXED_BYTES;
  for (const text of texts(pair)) size += 2 + Math.min(text.length, MAX_TEXT);
  return size + 12 + pair.request.length + pair.primaryBody.length + pair.shadowBody.length;
}

/** Writes a record at `at` and returns where the next one goes; the caller has checked that `recordSize` fits. */
export function writeRecord(out: Buffer, at: number, pair: PairRecord): number {
  const start = at;
  at += 4;
  at = out.writeInt32LE(pair.primaryStatus, at);
  at = out.writeInt32LE(pair.shadowStatus, at);
  at = out.writeDoubleLE(pair.primaryLatencyMs, at);
  at = out.writeDoubleLE(pair.shadowLatencyMs, at);
  for (const text of texts(pair)) {
    const cut = text.length > MAX_TEXT ? text.slice(0, MAX_TEXT) : text;
    at = out.writeUInt16LE(cut.length, at);
    at += out.write(cut, at, 'latin1');
  }
  for (const bytes of [pair.request, pair.primaryBody, pair.shadowBody]) {
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
    for (let i = 0; i < 5; i++) {
      const bytes = buffer.readUInt16LE(at);
      text.push(buffer.toString('latin1', at + 2, at + 2 + bytes));
      at += 2 + bytes;
    }
    const bodies: Uint8Array[] = [];
    for (let i = 0; i < 3; i++) {
      const bytes = buffer.readUInt32LE(at);
      bodies.push(buffer.subarray(at + 4, at + 4 + bytes));
      at += 4 + bytes;
    }
    yield {
      model: text[0]!,
      primary: text[1]!,
      shadow: text[2]!,
      cohort: text[3]!,
      encoding: text[4]!,
      primaryStatus: buffer.readInt32LE(start + 4),
      shadowStatus: buffer.readInt32LE(start + 8),
      primaryLatencyMs: buffer.readDoubleLE(start + 12),
      shadowLatencyMs: buffer.readDoubleLE(start + 20),
      request: bodies[0]!,
      primaryBody: bodies[1]!,
      shadowBody: bodies[2]!,
    };
    start += size;
  }
}

function texts(pair: PairRecord): readonly string[] {
  return [pair.model, pair.primary, pair.shadow, pair.cohort, pair.encoding];
}
