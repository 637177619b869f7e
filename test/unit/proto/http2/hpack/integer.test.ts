import fc from 'fast-check';
import t from 'tap';
import { HpackError } from '../../../../../proto/http2/hpack/hpack-error.ts';
import {
  type ByteCursor,
  INTEGER_MAX,
  INTEGER_MAX_BYTES,
  readInteger,
  writeInteger,
} from '../../../../../proto/http2/hpack/integer.ts';

function cursorOver(...octets: number[]): ByteCursor {
  return { bytes: Buffer.from(octets), position: 0, end: octets.length };
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof HpackError ? error.code : `unexpected ${error}`;
  }
  return 'no error';
}

t.test('what is written is read back, for every prefix', async (t) => {
  const values = fc.oneof(fc.nat(300), fc.nat(INTEGER_MAX), fc.constantFrom(30, 31, 32, 126, 127, 128, INTEGER_MAX));
  fc.assert(
    fc.property(values, fc.integer({ min: 1, max: 8 }), fc.nat(0xff), (value, prefixBits, noise) => {
      const mask = (1 << prefixBits) - 1;
      const flags = noise & ~mask & 0xff;
      const out = Buffer.alloc(INTEGER_MAX_BYTES);
      const end = writeInteger(out, 0, flags, mask, value);
      const cursor: ByteCursor = { bytes: out, position: 0, end };
      return readInteger(cursor, mask) === value && cursor.position === end && (out[0]! & ~mask & 0xff) === flags;
    }),
  );
  t.pass('round trips');
});

t.test('padded integers within five continuation octets are read', async (t) => {
  t.equal(readInteger(cursorOver(0x1f, 0x80, 0x80, 0x80, 0x80, 0x00), 0x1f), 31);
});

t.test('integers beyond 31 bits or five octets are refused', async (t) => {
  const overflow = [
    cursorOver(0x1f, 0xff, 0xff, 0xff, 0xff, 0x7f),
    cursorOver(0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00),
    cursorOver(0x1f, 0xe1, 0xff, 0xff, 0xff, 0x07), // 2^31
  ];
  for (const cursor of overflow)
    t.equal(
      codeOf(() => readInteger(cursor, 0x1f)),
      'hpack_integer_overflow',
    );
  t.equal(readInteger(cursorOver(0x1f, 0xe0, 0xff, 0xff, 0xff, 0x07), 0x1f), INTEGER_MAX);
});

t.test('integers cut off anywhere are refused', async (t) => {
  t.equal(
    codeOf(() => readInteger(cursorOver(), 0x1f)),
    'hpack_truncated',
  );
  t.equal(
    codeOf(() => readInteger(cursorOver(0x1f), 0x1f)),
    'hpack_truncated',
  );
  t.equal(
    codeOf(() => readInteger(cursorOver(0x1f, 0x9a), 0x1f)),
    'hpack_truncated',
  );
});
