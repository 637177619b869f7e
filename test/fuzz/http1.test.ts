// Properties of the HTTP/1.1 engine: how bytes are cut never matters, what one end writes the other reads, and nothing
// that comes over the wire throws or hangs.

import fc from 'fast-check';
import t from 'tap';
import { HeadParser } from '../../proto/http1/head-parser.ts';
import { DEFAULT_HTTP1_LIMITS } from '../../proto/http1/limits.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { runs } from '../support/fuzz-runs.ts';
import { answer, ClientHarness, pairs, type Recorder, ServerHarness } from '../unit/proto/http1/support.ts';

const RUN = { numRuns: runs(300), interruptAfterTimeLimit: 4000 };
const TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const OWNED = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'te', 'host']);
const SPECIAL = new Set([...OWNED, 'content-length', 'expect', 'cookie', 'trailer']);

const token = fc.string({ unit: fc.constantFrom(...TOKEN), minLength: 1, maxLength: 12 });
const octet = fc.integer({ min: 0x20, max: 0xff }).filter((c) => c !== 0x7f);
const value = fc.array(octet, { maxLength: 20 }).map((codes) => String.fromCharCode(...codes).replace(/^ +| +$/g, ''));
const field = fc.tuple(
  token.filter((name) => !SPECIAL.has(name.toLowerCase())),
  value,
);
const path = fc
  .array(
    fc.integer({ min: 0x21, max: 0x7e }).filter((c) => c !== 0x23),
    { maxLength: 15 },
  )
  .map((codes) => `/${String.fromCharCode(...codes)}`);
const body = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString('latin1'));

interface Message {
  method: string;
  path: string;
  fields: [string, string][];
  body: string;
  /** Sizes of chunks; null for content-length. */
  chunks: number[] | null;
  trailers: [string, string][];
}

const message: fc.Arbitrary<Message> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'QUERY'),
  path,
  fields: fc.array(field, { maxLength: 8 }),
  body,
  chunks: fc.option(fc.array(fc.integer({ min: 1, max: 80 }), { minLength: 1, maxLength: 6 })),
  trailers: fc.array(field, { maxLength: 3 }),
});

function write(m: Message): string {
  let text = `${m.method} ${m.path} HTTP/1.1\r\nHost: h\r\n`;
  for (const [name, v] of m.fields) text += `${name}: ${v}\r\n`;
  if (m.chunks === null) return `${text}Content-Length: ${m.body.length}\r\n\r\n${m.body}`;
  text += 'Transfer-Encoding: chunked\r\n\r\n';
  for (let at = 0, i = 0; at < m.body.length; i++) {
    const piece = m.body.slice(at, at + m.chunks[i % m.chunks.length]!);
    text += `${piece.length.toString(16)}\r\n${piece}\r\n`;
    at += piece.length;
  }
  text += '0\r\n';
  for (const [name, v] of m.trailers) text += `${name}: ${v}\r\n`;
  return `${text}\r\n`;
}

function cut(text: string, cuts: readonly number[]): string[] {
  const at = [...new Set(cuts.map((c) => c % (text.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => text.slice(from, at[i] ?? text.length));
}

const lower = (list: readonly [string, string][]) => list.map(([name, v]) => [name.toLowerCase(), v]);
const plain = (list: HeaderList) => pairs(list).filter(([name]) => name[0] !== ':' && !SPECIAL.has(name));
const parser = new HeadParser(DEFAULT_HTTP1_LIMITS);

t.test('any cutting of valid requests reads as those requests, in order', async () => {
  fc.assert(
    fc.property(
      fc.array(message, { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(4000), { maxLength: 30 }),
      fc.boolean(),
      (messages, cuts, later) => {
        const server = new ServerHarness({ parser, onEnded: later ? () => {} : (recorder) => answer(recorder, '') });
        for (const piece of cut(messages.map(write).join(''), cuts)) server.socket.receive(piece);
        if (later) for (let i = 0; i < messages.length; i++) answer(server.requests[i]!, '');
        if (server.faults.length > 0) throw server.faults[0]!;
        if (server.requests.length !== messages.length) throw new Error(`${server.requests.length} requests`);
        for (const [i, m] of messages.entries()) {
          const request = server.requests[i]!;
          if (!request.ended || request.body !== m.body) throw new Error('body');
          if (request.head.get(':method') !== m.method || request.head.get(':path') !== m.path) throw new Error('line');
          if (JSON.stringify(plain(request.head)) !== JSON.stringify(lower(m.fields))) throw new Error('fields');
          const trailers = m.chunks === null ? [] : lower(m.trailers);
          const seen = request.trailers === null ? [] : pairs(request.trailers);
          if (JSON.stringify(seen) !== JSON.stringify(trailers)) throw new Error('trailers');
        }
      },
    ),
    RUN,
  );
});

t.test('what the client writes the server reads, and its answer the client, however the bytes are cut', async () => {
  fc.assert(
    fc.property(message, message, fc.array(fc.nat(2000), { maxLength: 10 }), fc.nat(300), (m, reply, cuts, split) => {
      const client = new ClientHarness();
      const fields: [string, string][] = [
        [':method', m.method],
        [':path', m.path],
        [':authority', 'h'],
        [':scheme', 'http'],
        ...(lower(m.fields) as [string, string][]),
      ];
      if (m.chunks === null) fields.push(['content-length', String(m.body.length)]);
      const recorder = client.request(fields, false);
      send(recorder, m, split);
      const server = new ServerHarness({ parser });
      for (const piece of cut(client.socket.text(), cuts)) server.socket.receive(piece);
      const request = server.requests[0]!;
      if (!request.ended || request.body !== m.body) throw new Error('body');
      if (JSON.stringify(plain(request.head)) !== JSON.stringify(lower(m.fields))) throw new Error('fields');
      const head: [string, string][] = [[':status', '207'], ...(lower(reply.fields) as [string, string][])];
      if (reply.chunks === null) head.push(['content-length', String(reply.body.length)]);
      request.exchange!.sendHead(HeaderList.of(...head), false);
      send(request, reply, split);
      for (const piece of cut(server.socket.text(), cuts)) client.socket.receive(piece);
      if (!recorder.ended || recorder.body !== reply.body) throw new Error('answer');
      if (JSON.stringify(plain(recorder.head)) !== JSON.stringify(lower(reply.fields)))
        throw new Error('answer fields');
      if (client.idles !== 1) throw new Error('not reusable');
    }),
    RUN,
  );
});

function send(recorder: Recorder, m: Message, split: number): void {
  const bytes = Buffer.from(m.body, 'latin1');
  const at = Math.min(split, bytes.length);
  recorder.exchange!.sendData(bytes, 0, at, false);
  recorder.exchange!.sendData(bytes, at, bytes.length, false);
  recorder.exchange!.sendEnd(m.chunks === null ? null : HeaderList.of(...(lower(m.trailers) as [string, string][])));
}

const junk = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  fc
    .array(
      fc.constantFrom(
        'GET / HTTP/1.1\r\n',
        'HTTP/1.1 200 OK\r\n',
        'Host: h\r\n',
        'Content-Length: 5\r\n',
        'Transfer-Encoding: chunked\r\n',
        'Expect: 100-continue\r\n',
        'Connection: close\r\n',
        '\r\n',
        '\n',
        '\r',
        ' ',
        '\t',
        '0',
        '5',
        'hello',
        ';a=b',
        '\0',
        'HTTP/1.1 100 C\r\n\r\n',
        'Upgrade: x\r\nConnection: upgrade\r\n',
        'CONNECT a:1 HTTP/1.1\r\n',
        '0\r\n\r\n',
      ),
      { maxLength: 20 },
    )
    .map((parts) => parts.join('')),
);

t.test('nothing a client sends throws, and every exchange ends exactly once', async () => {
  fc.assert(
    fc.property(fc.array(junk, { maxLength: 4 }), fc.array(fc.nat(1000), { maxLength: 10 }), (parts, cuts) => {
      const server = new ServerHarness({ parser, onEnded: (recorder) => answer(recorder, recorder.body) });
      for (const piece of cut(parts.join(''), cuts)) server.socket.receive(piece);
      server.socket.receiveEnd();
      server.socket.destroy();
      for (const request of server.requests) {
        const ends = (request.ended ? 1 : 0) + request.resets.length;
        if (ends < 1 || request.resets.length > 1) throw new Error(`ended ${ends} times`);
      }
      if (server.closes !== 1) throw new Error(`closed ${server.closes} times`);
    }),
    { ...RUN, numRuns: runs(1500) },
  );
});

t.test('nothing a server sends throws, and every exchange ends exactly once', async () => {
  fc.assert(
    fc.property(fc.array(junk, { maxLength: 4 }), fc.array(fc.nat(1000), { maxLength: 10 }), (parts, cuts) => {
      const client = new ClientHarness();
      const recorder = client.get();
      for (const piece of cut(parts.join(''), cuts)) client.socket.receive(piece);
      client.socket.receiveEnd();
      client.socket.destroy();
      if ((recorder.ended ? 1 : 0) + recorder.resets.length !== 1) throw new Error('not once');
      if (client.closes !== 1) throw new Error(`closed ${client.closes} times`);
    }),
    { ...RUN, numRuns: runs(1500) },
  );
});
