import t from 'tap';
import {
  ACCEPT_ENCODING,
  compressMessage,
  compressMessageSync,
  type InflateBounds,
  inflateMessage,
  inflateMessageSync,
  type MessageEncoding,
  parseEncoding,
  unknownEncodingText,
} from '../../../../proto/grpc/compression.ts';
import type { WireError } from '../../../../proto/tensor/wire-error.ts';

const ENCODINGS: readonly MessageEncoding[] = ['gzip', 'deflate'];
const WIDE: InflateBounds = { maxBytes: 100_000_000, maxRatio: 2000 };

function inflated(encoding: MessageEncoding, bytes: Buffer, bounds = WIDE): Promise<Buffer | WireError> {
  return new Promise((resolve) => {
    inflateMessage(encoding, bytes, 0, bytes.length, bounds, (error, result) => resolve(error ?? result!));
  });
}

function compressed(encoding: MessageEncoding, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve) => {
    compressMessage(encoding, bytes, 0, bytes.length, (_error, result) => resolve(result!));
  });
}

for (const encoding of ENCODINGS) {
  t.test(`${encoding} messages of every size survive`, async (t) => {
    for (const size of [0, 1, 100, 5000, 70000, 1000000]) {
      const message = Buffer.from(Array.from({ length: size }, (_, i) => (i * i) >> 3));
      const packed = await compressed(encoding, message);
      const padded = Buffer.concat([Buffer.from([1]), packed, Buffer.from([2])]);
      t.strictSame(await inflated(encoding, packed), message, `${size} bytes`);
      t.strictSame(inflateMessageSync(encoding, padded, 1, padded.length - 1, WIDE), message);
    }
  });

  t.test(`a small ${encoding} message is inflated before the call returns`, async (t) => {
    const packed = compressMessageSync(encoding, Buffer.from('small'), 0, 5);
    let done = false;
    inflateMessage(encoding, packed, 0, packed.length, WIDE, () => {
      done = true;
    });
    t.equal(done, true);
  });

  t.test(`${encoding} output is bounded by size and by ratio`, async (t) => {
    const zeros = compressMessageSync(encoding, Buffer.alloc(20_000_000), 0, 20_000_000);
    const small = compressMessageSync(encoding, Buffer.alloc(1_000_000), 0, 1_000_000);
    t.match(await inflated(encoding, zeros, { maxBytes: 1_000_000, maxRatio: 2000 }), {
      reason: 'too_large',
      message: /more than 1000000 bytes/,
    });
    t.match(await inflated(encoding, zeros, { maxBytes: 100_000_000, maxRatio: 10 }), { reason: 'too_large' });
    t.match(await inflated(encoding, small, { maxBytes: 100_000_000, maxRatio: 10 }), { reason: 'too_large' });
    t.equal(
      ((await inflated(encoding, small)) as Buffer).length,
      1_000_000,
      'a small bomb within bounds leaves the thread',
    );
    t.throws(() => inflateMessageSync(encoding, small, 0, small.length, { maxBytes: 999_999, maxRatio: 2000 }), {
      reason: 'too_large',
      message: /999999/,
    });
    t.equal(
      inflateMessageSync(encoding, small, 0, small.length, { maxBytes: 1_000_000, maxRatio: 2000 }).length,
      1_000_000,
    );
  });

  t.test(`corrupt, cut and empty ${encoding} messages are refused`, async (t) => {
    const packed = compressMessageSync(encoding, Buffer.from('some text to compress'.repeat(500)), 0, 10_000);
    const large = await compressed(encoding, Buffer.from(Array.from({ length: 50_000 }, (_, i) => (i * 7919) % 251)));
    t.match(await inflated(encoding, packed.subarray(0, packed.length - 8)), { reason: 'compression' });
    t.match(await inflated(encoding, large.subarray(0, large.length - 8)), { reason: 'compression' });
    t.match(await inflated(encoding, Buffer.from('not compressed at all')), { reason: 'compression' });
    t.match(await inflated(encoding, Buffer.alloc(0)), { reason: 'compression' });
    const damaged = Buffer.from(packed);
    damaged[damaged.length - 3] ^= 0xff;
    t.match(await inflated(encoding, damaged), { reason: 'compression' }, 'the checksum is checked');
  });
}

t.test('encodings are known by their exact names', async (t) => {
  t.equal(parseEncoding(undefined), '');
  t.equal(parseEncoding('identity'), '');
  t.equal(parseEncoding('gzip'), 'gzip');
  t.equal(parseEncoding('deflate'), 'deflate');
  for (const value of ['snappy', 'GZIP', 'gzip,deflate', 'br']) t.equal(parseEncoding(value), null, value);
  t.match(unknownEncodingText('snappy'), /'snappy'.*identity,deflate,gzip/);
  t.equal(ACCEPT_ENCODING, 'identity,deflate,gzip');
});
