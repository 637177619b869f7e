// Our client's reading of answers beside undici's, over mutated answers: every answer we take, undici takes too, with the
// same status, fields, body and trailers, and it ends at the same byte. What undici refuses we refuse.
// Answers with 100 or 101 are left out: undici takes neither without having asked for it.

import { type AddressInfo, createServer } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { Client, type Dispatcher } from 'undici';
import { runs } from '../support/fuzz-runs.ts';
import { ClientHarness, pairs } from '../unit/proto/http1/support.ts';

const FUZZ_RUNS = 1500;
const FUZZ_MS = 5000;

interface Answer {
  readonly status: number;
  readonly fields: string;
  readonly body: string;
  readonly trailers: string;
}

/** Answers every request with the bytes of the moment, and ends. */
let bytesToSend = '';
const server = createServer((socket) => {
  socket.on('error', () => {});
  socket.once('data', () => socket.end(Buffer.from(bytesToSend, 'latin1')));
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
t.teardown(() => server.close());
const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

type Raw = Buffer[] | string[] | null | undefined;

function rawPairs(raw: Raw): string {
  const list: [string, string][] = [];
  for (let i = 0; i + 1 < (raw?.length ?? 0); i += 2) {
    const text = (value: Buffer | string) => (typeof value === 'string' ? value : value.toString('latin1'));
    // Whitespace behind a value is none of it (RFC 9110, section 5.5); undici leaves it there.
    list.push([text(raw![i]!).toLowerCase(), text(raw![i + 1]!).replace(/[ \t]+$/, '')]);
  }
  return JSON.stringify(list);
}

/** What undici makes of these bytes and the end of the connection behind them; null when it refuses. */
async function readByUndici(text: string): Promise<Answer | null> {
  bytesToSend = text;
  const client = new Client(origin, { headersTimeout: 0, bodyTimeout: 0, maxHeaderSize: 65_536 });
  const read = await new Promise<Answer | null>((resolve) => {
    let status = 0;
    let fields = '';
    let body = '';
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart: () => {},
      onResponseStart: (controller, statusCode) => {
        status = statusCode;
        fields = rawPairs(controller.rawHeaders as Raw);
      },
      onResponseData: (_controller, chunk) => {
        body += chunk.toString('latin1');
      },
      onResponseEnd: (controller) => {
        resolve({ status, fields, body, trailers: rawPairs(controller.rawTrailers as Raw) });
      },
      onResponseError: () => resolve(null),
    };
    client.dispatch({ method: 'GET', path: '/' }, handler);
  });
  await client.destroy();
  return read;
}

/** What we make of them, and how many bytes the answer took; null when we refuse it or it has a head undici takes from nobody. */
function readByUs(text: string): { answer: Answer; bytes: number } | null {
  const client = new ClientHarness();
  const recorder = client.get();
  let bytes = 0;
  while (bytes < text.length && !recorder.ended && recorder.resets.length === 0) client.socket.receive(text[bytes++]!);
  if (!recorder.ended && recorder.resets.length === 0) client.socket.receiveEnd();
  if (!recorder.ended) return null;
  const statuses = recorder.heads.map((head) => Number(head.get(':status')));
  if (statuses.includes(100) || statuses.includes(101)) return null;
  const answer = {
    status: statuses.at(-1)!,
    fields: JSON.stringify(pairs(recorder.head).filter(([name]) => name[0] !== ':')),
    body: recorder.body,
    trailers: JSON.stringify(recorder.trailers === null ? [] : pairs(recorder.trailers)),
  };
  return { answer, bytes };
}

async function difference(text: string): Promise<string | null> {
  const ours = readByUs(text);
  if (ours === null) return null;
  const theirs = await readByUndici(text.slice(0, ours.bytes));
  if (theirs === null) return `refused by undici: ${JSON.stringify(ours.answer)}`;
  return JSON.stringify(ours.answer) === JSON.stringify(theirs)
    ? null
    : `${JSON.stringify(ours.answer)} but ${JSON.stringify(theirs)}`;
}

const SEEDS = [
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y:  z \r\n\r\nhello',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\na\r\n0123456789\r\n00\r\n\r\n',
  'HTTP/1.1 204 No Content\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n',
  'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: "a"\r\n\r\n',
  'HTTP/1.1 503 \r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
  'HTTP/1.0 200 OK\r\nEmpty:\r\n\r\nuntil the end',
  'HTTP/1.1 200 OK\r\nConnection: close\r\nX: a\r\nX: b\r\n\r\nuntil the end',
];

const SNIPPETS = [
  ...['\r\n', '\n', '\r', ' ', '\t', '\0', ':', ';', ',', '0', '1', 'a', '"', '\x0b', '\x7f', '\xff', '\r\n '],
  ...['0\r\n\r\n', '5\r\n', 'Content-Length: 5\r\n', 'Content-Length: 0\r\n', 'Transfer-Encoding: chunked\r\n'],
  ...['transfer-encoding: gzip, chunked\r\n', 'transfer-encoding: identity\r\n', 'Connection: close\r\n'],
  ...[
    'Connection: keep-alive\r\n',
    'Upgrade: x\r\n',
    'HTTP/1.1',
    'HTTP/1.0',
    ' 200 ',
    ';x="a b"',
    '\r\n\r\n',
    '204',
    '304',
  ],
];

const mutation = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  remove: fc.constantFrom(0, 0, 1, 1, 2, 5),
  insert: fc.oneof(
    fc.constant(''),
    fc.constantFrom(...SNIPPETS),
    fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  ),
});

const stream = fc.tuple(fc.constantFrom(...SEEDS), fc.array(mutation, { maxLength: 3 })).map(([seed, mutations]) =>
  mutations.reduce((text, { at, remove, insert }) => {
    const from = Math.floor(at * text.length);
    return text.slice(0, from) + insert + text.slice(from + remove);
  }, seed),
);

t.test('valid answers are read alike', async (t) => {
  for (const seed of SEEDS) {
    t.not(readByUs(seed), null, seed);
    t.equal(await difference(seed), null);
  }
});

t.test(
  'every answer we take out of mutated bytes, undici takes alike',
  { timeout: FUZZ_MS * runs(1) + 20_000 },
  async (t) => {
    let both = 0;
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(stream, async (text) => {
        if (readByUs(text) === null) refused++;
        else both++;
        const found = await difference(text);
        if (found !== null) throw new Error(found);
      }),
      { numRuns: runs(FUZZ_RUNS), interruptAfterTimeLimit: FUZZ_MS * runs(1) },
    );
    t.ok(both > 50 && refused > 50, `both sides of the property were met: ${both} taken, ${refused} refused`);
  },
);
