/**
 * Reads TFRecord files: records one behind another, each with its length and checksums.
 *
 *   u64 length | u32 masked CRC-32C of the length | length bytes | u32 masked CRC-32C of the bytes      (little-endian)
 *
 * Both checksums are checked, and the length against a bound before anything is allocated for it.
 */
import { type FileHandle, open } from 'node:fs/promises';

const HEAD_BYTES = 12;
const TAIL_BYTES = 4;
const MASK_DELTA = 0xa282ead8;
/** CRC-32C's polynomial, bits reversed. */
const POLYNOMIAL = 0x82f63b78;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

/** A file that is no TFRecord file, or was damaged. `recordIndex` counts from 0. */
export class TfRecordError extends Error {
  override readonly name = 'TfRecordError';

  constructor(recordIndex: number, problem: string) {
    super(`record ${recordIndex}: ${problem}`);
  }
}

/** The CRC-32C of bytes, masked as TFRecord stores it: a checksum of data that holds checksums would be weak. */
export function maskedCrc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = TABLE[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;
}

/** The records of a file in order, one in memory at a time. @throws TfRecordError, or the file system's error */
export async function* readTfRecords(path: string, maxRecordBytes: number): AsyncGenerator<Buffer, void, undefined> {
  const file = await open(path, 'r');
  try {
    for (let index = 0; ; index++) {
      const record = await readRecord(file, index, maxRecordBytes);
      if (record === null) return;
      yield record;
    }
  } finally {
    await file.close();
  }
}

/** Null at the end of the file. */
async function readRecord(file: FileHandle, index: number, maxRecordBytes: number): Promise<Buffer | null> {
  const head = Buffer.alloc(HEAD_BYTES);
  const headBytes = await readFully(file, head);
  if (headBytes === 0) return null;
  if (headBytes < HEAD_BYTES) throw new TfRecordError(index, 'cut short in its length');
  if (maskedCrc32c(head.subarray(0, 8)) !== head.readUInt32LE(8)) {
    throw new TfRecordError(index, 'the checksum of its length does not match');
  }
  const length = head.readBigUInt64LE(0);
  if (length > BigInt(maxRecordBytes)) throw new TfRecordError(index, `${length} bytes, more than ${maxRecordBytes}`);
  const body = Buffer.alloc(Number(length) + TAIL_BYTES);
  if ((await readFully(file, body)) < body.length) throw new TfRecordError(index, 'cut short');
  const data = body.subarray(0, Number(length));
  if (maskedCrc32c(data) !== body.readUInt32LE(data.length))
    throw new TfRecordError(index, 'its checksum does not match');
  return data;
}

async function readFully(file: FileHandle, into: Buffer): Promise<number> {
  let filled = 0;
  while (filled < into.length) {
    const { bytesRead } = await file.read(into, filled, into.length - filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}
