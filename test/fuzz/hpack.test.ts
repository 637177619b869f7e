// Property tests of the HPACK codec against a reading of RFC 7541 that is as plain as it can be: a writer that picks
// representations at random and a table that is an array.

import fc from 'fast-check';
import t from 'tap';
import { HEADER_LIST_TOO_LARGE, HeaderList } from '../../proto/http2/header-list.ts';
import { HpackDecoder } from '../../proto/http2/hpack/decoder.ts';
import { HpackEncoder } from '../../proto/http2/hpack/encoder.ts';
import { HpackError } from '../../proto/http2/hpack/hpack-error.ts';
import { encodeHuffman } from '../../proto/http2/hpack/huffman.ts';
import { STATIC_COUNT, STATIC_NAMES, STATIC_VALUES } from '../../proto/http2/hpack/static-table.ts';
import { runs } from '../support/fuzz-runs.ts';

const LIMIT = 1000;

interface Instruction {
  kind: 'indexed' | 'insert' | 'plain' | 'never';
  /** Picks a table entry, modulo how many there are; negative for a name in full. */
  pick: number;
  name: string;
  value: string;
  huffman: boolean;
}

/** Writes blocks the plain way and knows what they mean. */
class PlainWriter {
  private table: [string, string][] = [];
  private maxSize = LIMIT;

  write(instructions: Instruction[], resize: number | null): { block: Buffer; expected: [string, string, boolean][] } {
    const bytes: number[] = [];
    const expected: [string, string, boolean][] = [];
    if (resize !== null) {
      this.maxSize = resize;
      this.trim();
      integer(bytes, 0x20, 5, resize);
    }
    for (const instruction of instructions) expected.push(this.writeOne(bytes, instruction));
    return { block: Buffer.from(bytes), expected };
  }

  private writeOne(bytes: number[], { kind, pick, name, value, huffman }: Instruction): [string, string, boolean] {
    const index = pick < 0 && kind !== 'indexed' ? 0 : 1 + (Math.abs(pick) % (STATIC_COUNT + this.table.length));
    if (index > 0) name = this.entry(index)[0];
    if (kind === 'indexed') {
      integer(bytes, 0x80, 7, index);
      return [name, this.entry(index)[1], false];
    }
    if (kind === 'insert') integer(bytes, 0x40, 6, index);
    else integer(bytes, kind === 'never' ? 0x10 : 0, 4, index);
    if (index === 0) text(bytes, name, huffman);
    text(bytes, value, huffman);
    if (kind === 'insert') {
      this.table.unshift([name, value]);
      this.trim();
    }
    return [name, value, kind === 'never'];
  }

  private entry(index: number): [string, string] {
    if (index <= STATIC_COUNT) return [STATIC_NAMES[index]!, STATIC_VALUES[index]!];
    return this.table[index - STATIC_COUNT - 1]!;
  }

  private trim(): void {
    while (this.table.reduce((sum, field) => sum + field[0].length + field[1].length + 32, 0) > this.maxSize) {
      this.table.pop();
    }
  }
}

function integer(bytes: number[], flags: number, prefixBits: number, value: number): void {
  const mask = 2 ** prefixBits - 1;
  bytes.push(flags | Math.min(value, mask));
  if (value < mask) return;
  for (value -= mask; value >= 128; value = Math.floor(value / 128)) bytes.push(128 + (value % 128));
  bytes.push(value);
}

function text(bytes: number[], value: string, huffman: boolean): void {
  let octets = Buffer.from(value, 'latin1');
  if (huffman) {
    const out = Buffer.alloc(value.length * 4 + 4);
    octets = out.subarray(0, encodeHuffman(value, out, 0));
  }
  integer(bytes, huffman ? 0x80 : 0, 7, octets.length);
  bytes.push(...octets);
}

const latin1 = (maxLength: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.nat(255).map((octet) => String.fromCharCode(octet)), maxLength });
const instruction: fc.Arbitrary<Instruction> = fc.record({
  kind: fc.constantFrom('indexed', 'indexed', 'insert', 'insert', 'plain', 'never'),
  pick: fc.integer({ min: -40, max: 120 }),
  name: fc.oneof(fc.constantFrom('a', 'x-name', ''), latin1(12)),
  value: fc.oneof(fc.constantFrom('', '1', 'value'), latin1(300)),
  huffman: fc.boolean(),
});
const section = fc.record({
  instructions: fc.array(instruction, { maxLength: 8 }),
  resize: fc.option(fc.nat(LIMIT), { freq: 6 }),
});

function decoderOf(cacheEntries: number, maxTableSize = LIMIT): HpackDecoder {
  return new HpackDecoder({ maxTableSize, maxListSize: 1 << 20, maxFields: 1000, cacheEntries });
}

function describe(list: HeaderList): string {
  return JSON.stringify(list.names.map((name, i) => [name, list.values[i], list.isNeverIndexed(i)]));
}

t.test('any mixture of representations, resizes and evictions decodes as written', async (t) => {
  fc.assert(
    fc.property(fc.array(section, { maxLength: 12 }), (sections) => {
      const writer = new PlainWriter();
      const decoder = decoderOf(4);
      for (const { instructions, resize } of sections) {
        const { block, expected } = writer.write(instructions, resize);
        const list = decoder.decode(block, 0, block.length);
        if (describe(list) !== JSON.stringify(expected)) return false;
        if (list.listSize !== expected.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0)) {
          return false;
        }
      }
      return true;
    }),
    { numRuns: runs(300) },
  );
  t.pass('same fields');
});

t.test('what the encoder writes, the decoder reads, through changes of the table size', async (t) => {
  const field = fc.record({
    name: fc.oneof(fc.constantFrom(':path', ':method', 'x-a', 'x-b', 'authorization', 'grpc-timeout'), latin1(10)),
    value: fc.oneof(fc.constantFrom('', 'POST', 'v1', 'v2', 'v3'), latin1(80)),
    never: fc.option(fc.constant(true), { freq: 8 }),
  });
  const lists = fc.array(fc.array(field, { maxLength: 6 }), { minLength: 1, maxLength: 8 });
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ pick: fc.nat(100), second: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ sizes: fc.array(fc.nat(6000), { minLength: 1, maxLength: 3 }) }) },
  );
  fc.assert(
    fc.property(lists, fc.array(step, { maxLength: 60 }), fc.nat(5000), (drafts, steps, ownLimit) => {
      const built = drafts.map((draft) => {
        const never = draft.some((each) => each.never) ? draft.map((each) => each.never === true) : null;
        return new HeaderList(
          draft.map((each) => each.name),
          draft.map((each) => each.value),
          never,
        );
      });
      const pairs = [0, 1].map(() => ({
        encoder: new HpackEncoder({ maxTableSize: ownLimit }),
        decoder: decoderOf(8, 4096),
      }));
      for (const each of steps) {
        if ('sizes' in each) {
          for (const size of each.sizes) {
            pairs[0]!.encoder.setPeerMaxTableSize(size);
            pairs[0]!.decoder.setMaxTableSize(size);
          }
          continue;
        }
        const { encoder, decoder } = pairs[each.second ? 1 : 0]!;
        const list = built[each.pick % built.length]!;
        const block = encoder.encode(list);
        const decoded = decoder.decode(block, 0, block.length);
        if (JSON.stringify([decoded.names, decoded.values]) !== JSON.stringify([list.names, list.values])) return false;
        if (list.names.some((_, i) => list.isNeverIndexed(i) && !decoded.isNeverIndexed(i))) return false;
      }
      return true;
    }),
    { numRuns: runs(300) },
  );
  t.pass('same lists');
});

t.test('remembering blocks changes no answer, over repeated, altered and hostile blocks', async (t) => {
  const altered = fc.record({ index: fc.nat(40), at: fc.nat(200), octet: fc.nat(255), alter: fc.nat(9) });
  fc.assert(
    fc.property(
      fc.array(section, { minLength: 1, maxLength: 6 }),
      fc.array(altered, { maxLength: 30 }),
      (drafts, order) => {
        const writer = new PlainWriter();
        const blocks = drafts.map((draft) => writer.write(draft.instructions, draft.resize).block);
        const decoders = [decoderOf(2), decoderOf(0)];
        for (const { index, at, octet, alter } of order) {
          const block = Buffer.from(blocks[index % blocks.length]!);
          if (alter === 0 && block.length > 0) block[at % block.length] = octet;
          const answers = decoders.map((decoder) => answerOf(decoder, block));
          if (answers[0] !== answers[1]) return false;
        }
        return true;
      },
    ),
    { numRuns: runs(300) },
  );
  t.pass('same answers');
});

t.test('arbitrary octets decode or are refused, and never do anything else', async (t) => {
  const likely = fc.constantFrom(0x20, 0x3f, 0x40, 0x41, 0x82, 0xbe, 0xbf, 0xff, 0x80, 0x00, 0x01, 0x61, 0x10, 0x7f);
  const octets = fc.array(fc.oneof(likely, fc.nat(255)), { maxLength: 60 });
  fc.assert(
    fc.property(fc.array(octets, { maxLength: 6 }), (blocks) => {
      const decoder = new HpackDecoder({ maxTableSize: 200, maxListSize: 500, maxFields: 10, cacheEntries: 2 });
      for (const block of blocks) answerOf(decoder, Buffer.from(block));
    }),
    { numRuns: runs(2000) },
  );
  t.pass('nothing but HpackError');
});

/** The list or the refusal, as text; anything thrown but an HpackError goes on. */
function answerOf(decoder: HpackDecoder, block: Buffer): string {
  try {
    const list = decoder.decode(block, 0, block.length);
    return list === HEADER_LIST_TOO_LARGE ? 'too large' : describe(list);
  } catch (error) {
    if (error instanceof HpackError) return error.code;
    throw error;
  }
}
