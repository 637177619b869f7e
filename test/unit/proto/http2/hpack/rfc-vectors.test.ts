// The worked examples of RFC 7541 appendix C. Responses (C.5, C.6) run with a table of 256 octets, as there.

import t from 'tap';
import { HeaderList } from '../../../../../proto/http2/header-list.ts';
import { HpackDecoder } from '../../../../../proto/http2/hpack/decoder.ts';
import { HpackEncoder } from '../../../../../proto/http2/hpack/encoder.ts';
import { type ByteCursor, readInteger, writeInteger } from '../../../../../proto/http2/hpack/integer.ts';

type Fields = [string, string][];

const REQUESTS: Fields[] = [
  [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
    [':authority', 'www.example.com'],
  ],
  [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
    [':authority', 'www.example.com'],
    ['cache-control', 'no-cache'],
  ],
  [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':path', '/index.html'],
    [':authority', 'www.example.com'],
    ['custom-key', 'custom-value'],
  ],
];

const RESPONSES: Fields[] = [
  [
    [':status', '302'],
    ['cache-control', 'private'],
    ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
    ['location', 'https://www.example.com'],
  ],
  [
    [':status', '307'],
    ['cache-control', 'private'],
    ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
    ['location', 'https://www.example.com'],
  ],
  [
    [':status', '200'],
    ['cache-control', 'private'],
    ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'],
    ['location', 'https://www.example.com'],
    ['content-encoding', 'gzip'],
    ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
  ],
];

const C3 = [
  '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
  '8286 84be 5808 6e6f 2d63 6163 6865',
  '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
];
const C4 = [
  '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
  '8286 84be 5886 a8eb 1064 9cbf',
  '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
];
const C5 = [
  '4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120' +
    '474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
  '4803 3330 37c1 c0bf',
  '88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970' +
    '7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765' +
    '3d33 3630 303b 2076 6572 7369 6f6e 3d31',
];
const C6 = [
  '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad' +
    '1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
  '4883 640e ffc1 c0bf',
  '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2' +
    'e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
];

function octets(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(' ', ''), 'hex');
}

function decoderOf(maxTableSize: number): HpackDecoder {
  return new HpackDecoder({ maxTableSize, maxListSize: 65536, maxFields: 100 });
}

function fieldsOf(list: HeaderList): Fields {
  return list.names.map((name, i): [string, string] => [name, list.values[i]!]);
}

t.test('C.1 integers read and write as shown', async (t) => {
  const cases = [
    { value: 10, mask: 0x1f, hex: '0a' },
    { value: 1337, mask: 0x1f, hex: '1f9a0a' },
    { value: 42, mask: 0xff, hex: '2a' },
  ];
  for (const { value, mask, hex } of cases) {
    const bytes = octets(hex);
    const cursor: ByteCursor = { bytes, position: 0, end: bytes.length };
    t.equal(readInteger(cursor, mask), value);
    t.equal(cursor.position, bytes.length);
    const out = Buffer.alloc(8);
    t.equal(out.subarray(0, writeInteger(out, 0, 0, mask, value)).toString('hex'), hex);
  }
});

t.test('C.2 each representation decodes to its field', async (t) => {
  const cases: [string, string, string, boolean][] = [
    ['400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572', 'custom-key', 'custom-header', false],
    ['040c 2f73 616d 706c 652f 7061 7468', ':path', '/sample/path', false],
    ['1008 7061 7373 776f 7264 0673 6563 7265 74', 'password', 'secret', true],
    ['82', ':method', 'GET', false],
  ];
  for (const [hex, name, value, neverIndexed] of cases) {
    const block = octets(hex);
    const list = decoderOf(4096).decode(block, 0, block.length);
    t.strictSame(fieldsOf(list), [[name, value]]);
    t.equal(list.isNeverIndexed(0), neverIndexed);
    t.equal(list.sensitive, neverIndexed);
  }
});

for (const [title, blocks, sections, tableSize] of [
  ['C.3 requests without Huffman', C3, REQUESTS, 4096],
  ['C.4 requests with Huffman', C4, REQUESTS, 4096],
  ['C.5 responses without Huffman, evicting', C5, RESPONSES, 256],
  ['C.6 responses with Huffman, evicting', C6, RESPONSES, 256],
] as const) {
  t.test(`${title} decode in sequence`, async (t) => {
    const decoder = decoderOf(tableSize);
    for (const [i, hex] of blocks.entries()) {
      const block = octets(hex);
      t.strictSame(fieldsOf(decoder.decode(block, 0, block.length)), sections[i]);
    }
  });
}

t.test('C.4 requests encode octet for octet', async (t) => {
  const encoder = new HpackEncoder();
  for (const [i, fields] of REQUESTS.entries()) {
    t.equal(encoder.encode(HeaderList.of(...fields)).toString('hex'), octets(C4[i]!).toString('hex'));
  }
});
