import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { maskedCrc32c, readTfRecords, TfRecordError } from '../../../../inference-worker/repository/tf-record.ts';
import { runs } from '../../../support/fuzz-runs.ts';
import { tfRecord } from '../../../support/tf-record-writer.ts';

const directory = mkdtempSync(join(tmpdir(), 'understudy-records-'));
const path = join(directory, 'records');
t.teardown(() => rmSync(directory, { recursive: true, force: true }));

async function read(bytes: Buffer, maxRecordBytes = 1000): Promise<Buffer[]> {
  writeFileSync(path, bytes);
  const records: Buffer[] = [];
  for await (const record of readTfRecords(path, maxRecordBytes)) records.push(record);
  return records;
}

t.test('the checksum is CRC-32C, masked', async (t) => {
  // The check value of CRC-32C for "123456789" is e3069283.
  const mask = (crc: number) => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
  t.equal(maskedCrc32c(Buffer.from('123456789')), mask(0xe3069283));
  t.equal(maskedCrc32c(Buffer.alloc(32)), mask(0x8a9136aa), 'RFC 3720, B.4: 32 bytes of zeros');
});

t.test('records come back in order', async (t) => {
  const records = [Buffer.from('one'), Buffer.alloc(0), Buffer.from('three')];
  t.same(await read(Buffer.concat(records.map(tfRecord))), records);
  t.same(await read(Buffer.alloc(0)), []);
});

t.test('damage is found wherever it is, and said which record it is in', async (t) => {
  const whole = Buffer.concat([tfRecord(Buffer.from('first')), tfRecord(Buffer.from('second'))]);
  for (let at = 0; at < whole.length; at++) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 0x10;
    (await t.rejects(read(damaged), TfRecordError)) || t.fail(`byte ${at}`);
  }
  for (let length = 1; length < whole.length; length++) {
    if (length !== tfRecord(Buffer.from('first')).length)
      await t.rejects(read(whole.subarray(0, length)), TfRecordError);
  }
});

t.test('a length beyond the bound is refused before it is allocated', async (t) => {
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(2n ** 62n);
  head.writeUInt32LE(maskedCrc32c(head.subarray(0, 8)), 8);
  await t.rejects(read(head), { message: 'record 0: 4611686018427387904 bytes, more than 1000' });
});

t.test('no bytes make the reader throw anything else', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), async (bytes) => {
      await read(Buffer.from(bytes)).catch((error) => {
        if (!(error instanceof TfRecordError)) throw error;
      });
    }),
    { numRuns: runs(100) },
  );
});
