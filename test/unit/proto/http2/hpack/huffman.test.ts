import fc from 'fast-check';
import t from 'tap';
import { HpackError } from '../../../../../proto/http2/hpack/hpack-error.ts';
import { decodeHuffman, encodeHuffman, huffmanBytes } from '../../../../../proto/http2/hpack/huffman.ts';
import { CODE_LENGTHS, CODES, EOS } from '../../../../../proto/http2/hpack/huffman-code.ts';
import { runs } from '../../../../support/fuzz-runs.ts';

function encode(text: string): Buffer {
  const out = Buffer.alloc(text.length * 4 + 4);
  return out.subarray(0, encodeHuffman(text, out, 0));
}

function decode(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  try {
    return decodeHuffman(bytes, 0, bytes.length);
  } catch (error) {
    return error instanceof HpackError ? error.code : `unexpected ${error}`;
  }
}

/** Follows the code bit by bit, as the RFC describes it; null where the RFC demands an error. */
function decodeSlowly(bytes: Uint8Array): string | null {
  const symbols = new Map(Array.from(CODES, (code, symbol) => [`${CODE_LENGTHS[symbol]}:${code}`, symbol]));
  let text = '';
  let code = 0;
  let length = 0;
  for (const octet of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code = code * 2 + ((octet >> bit) & 1);
      length++;
      const symbol = symbols.get(`${length}:${code}`);
      if (symbol === EOS) return null;
      if (symbol === undefined) continue;
      text += String.fromCharCode(symbol);
      code = 0;
      length = 0;
    }
  }
  return length < 8 && code === 2 ** length - 1 ? text : null;
}

t.test('the lengths fill the code space exactly', async (t) => {
  let space = 0;
  for (const length of CODE_LENGTHS) space += 2 ** -length;
  t.equal(space, 1);
  t.equal(CODES[EOS], 0x3fffffff);
});

t.test('every octet survives alone and between others', async (t) => {
  for (let octet = 0; octet < 256; octet++) {
    for (const text of [String.fromCharCode(octet), `a${String.fromCharCode(octet)}~`]) {
      const bytes = encode(text);
      if (decodeHuffman(bytes, 0, bytes.length) !== text) t.fail(`octet ${octet}`);
      if (huffmanBytes(text) !== bytes.length) t.fail(`length of octet ${octet}`);
    }
  }
  t.pass('all 256');
});

t.test('latin1 text survives, and the length is foretold', async (t) => {
  const text = fc.string({ unit: fc.nat(255).map((octet) => String.fromCharCode(octet)), maxLength: 60 });
  fc.assert(
    fc.property(text, (text) => {
      const bytes = encode(text);
      return decodeHuffman(bytes, 0, bytes.length) === text && huffmanBytes(text) === bytes.length;
    }),
    { numRuns: runs(300) },
  );
  t.equal(huffmanBytes('caf\u0101'), -1, 'text beyond latin1 has no encoding');
});

t.test('arbitrary octets decode as the bit-by-bit reading does', async (t) => {
  const octets = fc.uint8Array({ maxLength: 24 });
  const padded = octets.map((bytes) => Uint8Array.of(...bytes, 0xff));
  fc.assert(
    fc.property(fc.oneof(octets, padded), (bytes) => {
      const expected = decodeSlowly(bytes);
      const decoded = decode(Buffer.from(bytes).toString('hex'));
      return expected === null ? decoded.startsWith('hpack_huffman_') : decoded === expected;
    }),
    { numRuns: runs(500) },
  );
  t.pass('same answers');
});

t.test('padding must be fewer than eight one bits', async (t) => {
  t.equal(decode(''), '');
  t.equal(decode('1f'), 'a', 'three one bits');
  t.equal(decode('1fff'), 'hpack_huffman_padding', 'a whole octet of padding');
  t.equal(decode('ff'), 'hpack_huffman_padding', 'nothing but padding of eight bits');
  t.equal(decode('18'), 'hpack_huffman_padding', 'zero bits');
  t.equal(decode('1e'), 'hpack_huffman_padding', 'a zero bit at the end');
});

t.test('the EOS symbol is refused wherever it ends', async (t) => {
  t.equal(decode('ffffffff'), 'hpack_huffman_eos');
  t.equal(decode('1fffffffff'), 'hpack_huffman_eos');
  t.equal(decode('fffffffc1f'), 'hpack_huffman_eos');
});

t.test('long strings do not depend on the scratch size', async (t) => {
  const text = '0'.repeat(40_000);
  const bytes = encode(text);
  t.equal(bytes.length, 25_000);
  t.equal(decodeHuffman(bytes, 0, bytes.length), text);
});
