import t from 'tap';
import { HEADER_LIST_TOO_LARGE, type HeaderList } from '../../../../../proto/http2/header-list.ts';
import { HpackDecoder } from '../../../../../proto/http2/hpack/decoder.ts';
import { HpackError } from '../../../../../proto/http2/hpack/hpack-error.ts';

function decoderOf(options: Partial<{ maxTableSize: number; maxListSize: number; maxFields: number }> = {}) {
  return new HpackDecoder({ maxTableSize: 4096, maxListSize: 65536, maxFields: 100, ...options });
}

function decode(decoder: HpackDecoder, hex: string): HeaderList {
  const block = Buffer.from(hex, 'hex');
  return decoder.decode(block, 0, block.length);
}

function codeOf(decoder: HpackDecoder, hex: string): string {
  try {
    decode(decoder, hex);
  } catch (error) {
    return error instanceof HpackError ? error.code : `unexpected ${error}`;
  }
  return 'no error';
}

const INSERT_AB = '400161' + '0162'; // a: b, added to the table
const NEWEST = 'be'; // index 62

t.test('malformed blocks are refused, each with its code', async (t) => {
  const cases: [string, string][] = [
    ['80', 'hpack_index_zero'],
    ['be', 'hpack_index_out_of_range'],
    ['ffffffff7f', 'hpack_index_out_of_range'],
    ['ffffffffff7f', 'hpack_integer_overflow'],
    ['ff', 'hpack_truncated'],
    ['ff80', 'hpack_truncated'],
    ['40', 'hpack_truncated'],
    ['400161', 'hpack_truncated'],
    ['41', 'hpack_truncated'],
    ['7f2001', 'hpack_index_out_of_range'],
    ['0f3001', 'hpack_index_out_of_range'],
    ['1f3001', 'hpack_index_out_of_range'],
    ['4002', 'hpack_string_overrun'],
    ['40026161', 'hpack_truncated'],
    ['4001610262', 'hpack_string_overrun'],
    ['400161ff', 'hpack_truncated'],
    ['4001617f80ffffff07', 'hpack_string_overrun'],
    ['4001617fffffffff7f', 'hpack_integer_overflow'],
    ['41821fff', 'hpack_huffman_padding'],
    ['4184ffffffff', 'hpack_huffman_eos'],
    ['3fe21f', 'hpack_table_update_too_large'],
    ['8220', 'hpack_table_update_late'],
    [`${INSERT_AB}3f00`, 'hpack_table_update_late'],
  ];
  for (const [hex, code] of cases) t.equal(codeOf(decoderOf(), hex), code, hex);
});

t.test('an empty block is an empty list', async (t) => {
  t.equal(decode(decoderOf(), '').length, 0);
});

t.test('only the given range of the buffer is read', async (t) => {
  const decoder = decoderOf();
  const buffer = Buffer.from('ff82ff', 'hex');
  t.equal(decoder.decode(buffer, 1, 2).get(':method'), 'GET');
  t.throws(() => decoder.decode(Buffer.from('41036162', 'hex'), 0, 3), { code: 'hpack_string_overrun' });
});

t.test('the buffer may be reused after decoding, even for a remembered block', async (t) => {
  const decoder = decoderOf();
  const buffer = Buffer.from('0001610162', 'hex');
  const list = decoder.decode(buffer, 0, buffer.length);
  buffer[4] = 0x63;
  t.equal(decoder.decode(buffer, 0, buffer.length).get('a'), 'c');
  t.equal(list.get('a'), 'b');
});

t.test('after an error the decoder refuses to go on', async (t) => {
  const decoder = decoderOf();
  decode(decoder, '82');
  t.equal(codeOf(decoder, '80'), 'hpack_index_zero');
  t.equal(codeOf(decoder, '82'), 'hpack_decoder_failed');
});

t.test('strings keep every octet as one character', async (t) => {
  t.equal(decode(decoderOf(), '00016103e90041').get('a'), '\u00e9\0A');
});

t.test('a name may refer to the entry that its own insertion evicts', async (t) => {
  const decoder = decoderOf({ maxTableSize: 40 });
  decode(decoder, INSERT_AB);
  const list = decode(decoder, `7e0763${'63'.repeat(6)}`); // index 62 for the name; 1 + 7 + 32 octets
  t.equal(list.get('a'), 'ccccccc');
  t.equal(decode(decoder, NEWEST).get('a'), 'ccccccc');
  t.equal(codeOf(decoder, 'bf'), 'hpack_index_out_of_range', 'the older one is gone');
});

t.test('a list beyond its size limit leaves the table in step', async (t) => {
  const decoder = decoderOf({ maxListSize: 100 });
  t.equal(decode(decoder, `${INSERT_AB}${NEWEST}${NEWEST}`), HEADER_LIST_TOO_LARGE, '102 octets');
  t.equal(decode(decoder, `${NEWEST}${NEWEST}`).length, 2, '68 octets');
  const exact = decoderOf({ maxListSize: 34 });
  t.equal(decode(exact, INSERT_AB).length, 1, 'a list as large as the limit passes');
});

t.test('a list with too many fields leaves the table in step', async (t) => {
  const decoder = decoderOf({ maxFields: 2 });
  t.equal(decode(decoder, `8286${INSERT_AB}`), HEADER_LIST_TOO_LARGE);
  t.equal(decode(decoder, `82${NEWEST}`).get('a'), 'b');
});

t.test('a block of references to one large field costs no more than the list limit', async (t) => {
  const decoder = decoderOf({ maxFields: 1_000_000 });
  const large = Buffer.concat([Buffer.from('4001617fa11e', 'hex'), Buffer.alloc(127 + 0x1e * 128 + 0x21, 0x62)]);
  t.equal(decoder.decode(large, 0, large.length).length, 1);
  const bomb = Buffer.alloc(60_000, 0xbe);
  t.equal(decoder.decode(bomb, 0, bomb.length), HEADER_LIST_TOO_LARGE);
});

t.test('size updates shrink, grow and empty the table', async (t) => {
  const decoder = decoderOf();
  decode(decoder, INSERT_AB);
  t.equal(decode(decoder, `3f03${NEWEST}`).get('a'), 'b', '34 octets keep the entry');
  t.equal(codeOf(decoder, `3f02${NEWEST}`), 'hpack_index_out_of_range', '33 do not');
  const emptied = decoderOf();
  decode(emptied, INSERT_AB);
  t.equal(codeOf(emptied, `203fe11f${NEWEST}`), 'hpack_index_out_of_range', 'zero, then 4096 again');
});

t.test('a lowered limit must be acknowledged at the start of the next block', async (t) => {
  const silent = decoderOf();
  silent.setMaxTableSize(100);
  t.equal(codeOf(silent, '82'), 'hpack_table_update_missing');
  const empty = decoderOf();
  empty.setMaxTableSize(100);
  t.equal(codeOf(empty, ''), 'hpack_table_update_missing');
  const defiant = decoderOf();
  defiant.setMaxTableSize(100);
  t.equal(codeOf(defiant, '3f4682'), 'hpack_table_update_too_large', '101');
  const obedient = decoderOf();
  decode(obedient, '82');
  obedient.setMaxTableSize(100);
  t.equal(decode(obedient, '3f4582').get(':method'), 'GET');
  t.equal(decode(obedient, '82').get(':method'), 'GET');
});

t.test('a limit lowered and raised again demands the lowest first', async (t) => {
  const decoder = decoderOf();
  decoder.setMaxTableSize(0);
  decoder.setMaxTableSize(4096);
  t.equal(decode(decoder, '203fe11f82').get(':method'), 'GET');
  const skipped = decoderOf();
  skipped.setMaxTableSize(0);
  skipped.setMaxTableSize(4096);
  t.equal(codeOf(skipped, '3fe11f82'), 'hpack_table_update_too_large');
});

t.test('a limit lowered twice demands the lower one', async (t) => {
  const decoder = decoderOf();
  decoder.setMaxTableSize(200);
  decoder.setMaxTableSize(100);
  t.equal(codeOf(decoder, '3f4682'), 'hpack_table_update_too_large');
});

t.test('a raised limit needs no acknowledgement and permits more', async (t) => {
  const decoder = decoderOf();
  decoder.setMaxTableSize(8192);
  t.equal(decode(decoder, '82').length, 1);
  t.equal(decode(decoder, '3fe13f82').length, 1, '8192');
  t.equal(codeOf(decoder, '3fe23f82'), 'hpack_table_update_too_large', '8193');
});

t.test('a limit lowered to what the peer already uses needs no acknowledgement', async (t) => {
  const decoder = decoderOf();
  decode(decoder, '3f4582');
  decoder.setMaxTableSize(100);
  t.equal(decode(decoder, '82').length, 1);
});

t.test('a repeated block answers the same list until the table changes', async (t) => {
  const decoder = decoderOf();
  decode(decoder, INSERT_AB);
  const first = decode(decoder, `82${NEWEST}`);
  t.equal(decode(decoder, `82${NEWEST}`), first);
  decode(decoder, '4001630164'); // c: d
  t.equal(decode(decoder, `82${NEWEST}`).get('c'), 'd');
  t.equal(decode(decoder, '82bf').get('a'), 'b');
});

t.test('a block without dynamic entries is remembered across table changes', async (t) => {
  const decoder = decoderOf();
  const first = decode(decoder, '8286');
  decode(decoder, INSERT_AB);
  t.equal(decode(decoder, '8286'), first);
});

t.test('blocks that change the table are never answered from memory', async (t) => {
  const decoder = decoderOf();
  t.not(decode(decoder, INSERT_AB), decode(decoder, INSERT_AB));
  t.equal(decode(decoder, 'bebf').length, 2, 'both were inserted');
  decode(decoder, '20');
  decode(decoder, '20'); // empty already: nothing changes but what the block would do later
  decode(decoder, `3fe11f${INSERT_AB}`);
  decode(decoder, '20');
  t.equal(codeOf(decoder, NEWEST), 'hpack_index_out_of_range', 'the last emptying counted');
});

t.test('a remembered block does not hide a missing acknowledgement', async (t) => {
  const decoder = decoderOf();
  decode(decoder, '82');
  decoder.setMaxTableSize(100);
  t.equal(codeOf(decoder, '82'), 'hpack_table_update_missing');
});

t.test('never-indexed marks follow their fields', async (t) => {
  const list = decode(decoderOf(), '82' + '1001610162' + '0001630164' + '1001650166');
  t.strictSame(
    list.names.map((_, i) => list.isNeverIndexed(i)),
    [false, true, false, true],
  );
});
