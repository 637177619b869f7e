import t, { type Test } from 'tap';
import { HeaderList } from '../../../../../proto/http2/header-list.ts';
import { HpackDecoder } from '../../../../../proto/http2/hpack/decoder.ts';
import { HpackEncoder } from '../../../../../proto/http2/hpack/encoder.ts';

const REQUEST = HeaderList.of(
  [':method', 'POST'],
  [':path', '/tensorflow.serving.PredictionService/Predict'],
  ['user-agent', 'client/1'],
  ['te', 'trailers'],
);

function fresh(list: HeaderList): HeaderList {
  return new HeaderList(list.names, list.values);
}

function hex(encoder: HpackEncoder, list: HeaderList): string {
  return encoder.encode(list).toString('hex');
}

function decoderOf(maxTableSize = 4096): HpackDecoder {
  return new HpackDecoder({ maxTableSize, maxListSize: 1 << 24, maxFields: 1000 });
}

function same(t: Test, decoder: HpackDecoder, block: Buffer, list: HeaderList): void {
  const decoded = decoder.decode(block, 0, block.length);
  t.strictSame(decoded.names, list.names);
  t.strictSame(decoded.values, list.values);
}

t.test('a repeated list becomes indexes, and the same bytes', async (t) => {
  const encoder = new HpackEncoder();
  const list = fresh(REQUEST);
  const inserting = encoder.encode(list);
  const indexed = encoder.encode(list);
  t.not(indexed, inserting, 'a block that inserts is not remembered');
  t.equal(indexed.length, 4);
  t.equal(encoder.encode(list), indexed, 'one that does not is');
});

t.test('an insertion by another list renews the encoding', async (t) => {
  const encoder = new HpackEncoder();
  const decoder = decoderOf();
  const list = fresh(REQUEST);
  const other = HeaderList.of(['x-tenant', 'a']);
  for (const each of [list, list, other, list, list, other]) same(t, decoder, encoder.encode(each), each);
});

t.test('an encoding without dynamic entries outlives insertions', async (t) => {
  const encoder = new HpackEncoder();
  const list = HeaderList.of([':status', '200'], ['content-length', '7']);
  const block = encoder.encode(list);
  encoder.encode(fresh(REQUEST));
  t.equal(encoder.encode(list), block);
});

t.test('a list shared by encoders is remembered by each', async (t) => {
  const encoders = [new HpackEncoder(), new HpackEncoder(), new HpackEncoder()];
  const list = fresh(REQUEST);
  encoders[1]!.encode(HeaderList.of(['x-before', '1']));
  for (const encoder of encoders) encoder.encode(list);
  const blocks = encoders.map((encoder) => encoder.encode(list));
  for (const [i, encoder] of encoders.entries()) t.equal(encoder.encode(list), blocks[i]);
  const decoder = decoderOf();
  const again = new HpackEncoder();
  same(t, decoder, again.encode(list), list);
  same(t, decoder, again.encode(list), list);
  same(t, decoder, again.encode(list), list);
});

t.test('many shared lists never answer for one another', async (t) => {
  const owner = new HpackEncoder();
  const encoder = new HpackEncoder();
  const decoder = decoderOf();
  const lists = Array.from({ length: 200 }, (_, i) => HeaderList.of(['content-length', String(i)]));
  for (const list of lists) owner.encode(list);
  for (let round = 0; round < 2; round++) {
    for (const list of lists) same(t, decoder, encoder.encode(list), list);
  }
});

t.test('never-indexed fields stay so, even where an entry matches', async (t) => {
  const encoder = new HpackEncoder();
  encoder.encode(HeaderList.of(['x-key', 'secret']));
  const list = new HeaderList(['x-key', ':method'], ['secret', 'GET'], [true, true]);
  const block = encoder.encode(list);
  const decoder = decoderOf();
  const seed = new HpackEncoder().encode(HeaderList.of(['x-key', 'secret']));
  decoder.decode(seed, 0, seed.length);
  const decoded = decoder.decode(block, 0, block.length);
  t.strictSame(decoded.values, ['secret', 'GET']);
  t.ok(decoded.isNeverIndexed(0) && decoded.isNeverIndexed(1));
});

t.test('credentials leave as never-indexed literals', async (t) => {
  const block = new HpackEncoder().encode(HeaderList.of(['authorization', 'Bearer abc']));
  t.ok(decoderOf().decode(block, 0, block.length).isNeverIndexed(0));
});

t.test('strings are Huffman coded only where that is shorter', async (t) => {
  const encoder = new HpackEncoder();
  t.equal(hex(encoder, HeaderList.of(['content-length', '\0\0'])), '0f0d020000');
  t.equal(hex(encoder, HeaderList.of(['content-length', '00'])), '0f0d023030', 'equal length stays plain');
  t.equal(hex(encoder, HeaderList.of(['content-length', '000'])), '0f0d820001');
});

t.test('a peer that lowers its table is told at the start of the next block', async (t) => {
  const encoder = new HpackEncoder();
  const list = fresh(REQUEST);
  encoder.encode(list);
  encoder.encode(list);
  encoder.setPeerMaxTableSize(0);
  t.equal(hex(encoder, list).slice(0, 2), '20');
  t.not(hex(encoder, list).slice(0, 2), '20', 'once');
});

t.test('the smallest size passed through is announced before the last', async (t) => {
  const encoder = new HpackEncoder();
  encoder.setPeerMaxTableSize(100);
  encoder.setPeerMaxTableSize(0);
  encoder.setPeerMaxTableSize(100);
  t.equal(hex(encoder, HeaderList.of([':method', 'GET'])), '203f4582');
});

t.test('sizes that come back to the same value announce the dip', async (t) => {
  const encoder = new HpackEncoder();
  const list = fresh(REQUEST);
  const decoder = decoderOf();
  same(t, decoder, encoder.encode(list), list);
  encoder.setPeerMaxTableSize(0);
  encoder.setPeerMaxTableSize(4096);
  decoder.setMaxTableSize(0);
  decoder.setMaxTableSize(4096);
  same(t, decoder, encoder.encode(list), list);
});

t.test('a generous peer is answered with our own bound, without an update', async (t) => {
  const encoder = new HpackEncoder();
  encoder.setPeerMaxTableSize(0xffffffff);
  t.equal(hex(encoder, HeaderList.of([':method', 'GET'])), '82');
});

t.test('our own bound below the protocol default is announced first', async (t) => {
  const encoder = new HpackEncoder({ maxTableSize: 100 });
  t.equal(hex(encoder, HeaderList.of([':method', 'GET'])), '3f4582');
  encoder.setPeerMaxTableSize(4096);
  t.equal(hex(encoder, HeaderList.of([':method', 'GET'])), '82');
});

t.test('characters beyond latin1 cannot become other octets', async (t) => {
  const encoder = new HpackEncoder();
  const decoder = decoderOf();
  for (let i = 0; i < 2; i++) {
    const block = encoder.encode(new HeaderList(['x-name'], ['a\u010ab\u010d']));
    t.equal(decoder.decode(block, 0, block.length).get('x-name'), 'a?b?');
  }
});

t.test('blocks larger than a slab are whole, and earlier blocks stay as they were', async (t) => {
  const encoder = new HpackEncoder();
  const decoder = decoderOf();
  const lists = Array.from({ length: 60 }, (_, i) =>
    HeaderList.of(['x-blob', String(i).repeat(i === 30 ? 40_000 : 700)]),
  );
  const blocks = lists.map((list) => encoder.encode(list));
  for (const [i, list] of lists.entries()) same(t, decoder, blocks[i]!, list);
});
