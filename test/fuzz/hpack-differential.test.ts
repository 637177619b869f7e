// The HPACK codec against the one inside node:http2 (nghttp2), over a raw socket in both directions: what we encode it
// must read, and what it encodes we must read, while table sizes change under both.

import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { HpackDecoder } from '../../proto/http2/hpack/decoder.ts';
import { HpackEncoder } from '../../proto/http2/hpack/encoder.ts';
import { runs, seedFor } from '../support/fuzz-runs.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
const DATA_END = 0x01;
const END_HEADERS = 0x04;
const PRIORITY = 0x20;
const ACK = 0x01;
const FrameType = { HEADERS: 1, SETTINGS: 4, CONTINUATION: 9 } as const;
const TABLE_SIZE_SETTING = 1;
const SEED = 20240607;
const ROUNDS = 250;

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function tableSizeSetting(size: number): Buffer {
  const payload = Buffer.alloc(6);
  payload.writeUInt16BE(TABLE_SIZE_SETTING, 0);
  payload.writeUInt32BE(size, 2);
  return frame(FrameType.SETTINGS, 0, 0, payload);
}

/** Calls back for each frame, in order. */
function onFrames(
  socket: net.Socket,
  prefaceBytes: number,
  handle: (type: number, flags: number, payload: Buffer) => void,
) {
  let pending = Buffer.alloc(0);
  let skip = prefaceBytes;
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    if (pending.length < skip) return;
    pending = pending.subarray(skip);
    skip = 0;
    while (pending.length >= 9 && pending.length >= 9 + pending.readUIntBE(0, 3)) {
      const end = 9 + pending.readUIntBE(0, 3);
      handle(pending[3]!, pending[4]!, pending.subarray(9, end));
      pending = pending.subarray(end);
    }
  });
}

const nameText = fc.string({
  unit: fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz0123456789-_'),
  minLength: 1,
  maxLength: 14,
});
const visible = fc.integer({ min: 0x21, max: 0xff }).filter((octet) => octet !== 0x7f);
const valueText = fc.string({ unit: visible.map((octet) => String.fromCharCode(octet)), maxLength: 90 });
const fields = fc.uniqueArray(
  fc.tuple(
    fc.oneof(
      { weight: 2, arbitrary: fc.constantFrom('x-a', 'x-b', 'user-agent', 'authorization', 'cookie', 'etag', 'date') },
      { weight: 1, arbitrary: nameText.map((text) => `x-${text}`) },
    ),
    fc.oneof(fc.constantFrom('1', 'same value', 'gzip'), valueText),
  ),
  { maxLength: 8, selector: (field) => field[0] },
);

t.test('node:http2 reads what our encoder writes', async (t) => {
  const server = http2.createServer({ settings: { headerTableSize: 300 } });
  const received: string[] = [];
  const responses: string[] = [];
  const lists: HeaderList[] = [];
  const order = fc.sample(fc.nat(1000), { numRuns: runs(ROUNDS), seed: seedFor(SEED) });
  const pool = fc.sample(fields, { numRuns: runs(60), seed: seedFor(SEED) });
  let done = (): void => {};
  const finished = new Promise<void>((resolve) => {
    done = resolve;
  });
  server.on('stream', (stream: http2.ServerHttp2Stream, _headers, _flags, raw) => {
    received.push(JSON.stringify(raw));
    stream.respond({ ':status': 200, 'x-count': received.length }, { endStream: true });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  socket.on('close', () => done());
  socket.write(Buffer.concat([PREFACE, frame(FrameType.SETTINGS, 0, 0, Buffer.alloc(0))]));

  const encoder = new HpackEncoder();
  const built = pool.map((extra) =>
    HeaderList.of([':method', 'POST'], [':scheme', 'http'], [':path', '/p'], [':authority', 'a'], ...extra),
  );
  const decoder = new HpackDecoder({ maxTableSize: 4096, maxListSize: 1 << 20, maxFields: 100 });
  onFrames(socket, 0, (type, flags, payload) => {
    if (type === FrameType.HEADERS) {
      responses.push(decoder.decode(payload, 0, payload.length).get('x-count') ?? 'none');
      if (responses.length === ROUNDS) done();
    }
    if (type !== FrameType.SETTINGS || flags & ACK) return;
    encoder.setPeerMaxTableSize(300);
    const writes = [frame(FrameType.SETTINGS, ACK, 0, Buffer.alloc(0))];
    for (let i = 0; i < ROUNDS; i++) {
      // The peer allows 300: less is our choice, and passing through zero empties both tables.
      if (order[i]! % 40 === 0) encoder.setPeerMaxTableSize(0);
      if (order[i]! % 20 === 0) encoder.setPeerMaxTableSize(100 + (order[i]! % 200));
      const list = built[order[i]! % built.length]!;
      lists.push(list);
      writes.push(frame(FrameType.HEADERS, DATA_END | END_HEADERS, 2 * i + 1, encoder.encode(list)));
    }
    socket.write(Buffer.concat(writes));
  });
  await finished;
  socket.destroy();
  server.close();
  t.equal(received.length, ROUNDS);
  t.strictSame(
    responses,
    lists.map((_, i) => String(i + 1)),
    'every response was read as written',
  );
  const sent = lists.map((list) => JSON.stringify(list.names.flatMap((name, i) => [name, list.values[i]])));
  t.equal(
    received.findIndex((text, i) => text !== sent[i]),
    -1,
    'every list arrived as sent',
  );
});

t.test('our decoder reads what node:http2 writes', async (t) => {
  const sizes = [4096, 0, 200, 65536, 100, 4096];
  const samples = fc.sample(fields, { numRuns: runs(ROUNDS), seed: seedFor(SEED + 1) });
  const decoder = new HpackDecoder({ maxTableSize: 4096, maxListSize: 1 << 20, maxFields: 100 });
  const received: HeaderList[] = [];
  let pieces: Buffer[] = [];
  let acknowledged = 0;
  let advance = (): void => {};
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.write(tableSizeSetting(sizes[0]!));
    onFrames(socket, PREFACE.length, (type, flags, payload) => {
      if (type === FrameType.SETTINGS) {
        if ((flags & ACK) === 0) socket.write(frame(FrameType.SETTINGS, ACK, 0, Buffer.alloc(0)));
        else decoder.setMaxTableSize(sizes[acknowledged++]!);
      }
      if (type === FrameType.HEADERS || type === FrameType.CONTINUATION) {
        pieces.push(type === FrameType.HEADERS && flags & PRIORITY ? payload.subarray(5) : payload);
        if ((flags & END_HEADERS) === 0) return;
        const block = Buffer.concat(pieces);
        pieces = [];
        received.push(decoder.decode(block, 0, block.length));
        const turn = ROUNDS / sizes.length;
        const next = Math.floor(received.length / turn);
        if (next > Math.floor((received.length - 1) / turn) && next < sizes.length)
          socket.write(tableSizeSetting(sizes[next]!));
      }
      advance();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = http2.connect(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`);
  client.on('error', () => {});
  for (let i = 0; i < ROUNDS; i++) {
    const arrived = new Promise<void>((resolve) => {
      advance = () => {
        if (received.length > i) resolve();
      };
    });
    const headers: http2.OutgoingHttpHeaders = {
      ':method': 'POST',
      ':path': `/${i % 7}`,
      ...Object.fromEntries(samples[i]!),
    };
    client.request({ ...headers, [http2.sensitiveHeaders]: i % 3 === 0 ? ['x-a'] : [] }).on('error', () => {});
    await arrived;
  }
  client.destroy();
  server.close();
  t.equal(acknowledged, sizes.length, 'every table size was in force');
  const wrong = received.findIndex((list, i) => {
    const expected = samples[i]!;
    if (list.get(':path') !== `/${i % 7}` || list.length !== expected.length + 4) return true;
    const marked = list.names.indexOf('x-a');
    if (i % 3 === 0 && marked >= 0 && !list.isNeverIndexed(marked)) return true;
    return expected.some(([name, value]) => list.get(name) !== value);
  });
  t.equal(wrong, -1, 'every list was read as written');
});
