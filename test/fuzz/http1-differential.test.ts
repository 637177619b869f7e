// Our parser beside the one in node:http, over mutated requests: every request we take, node:http takes too, with the
// same method, target, fields, body and trailers, and the next one begins at the same byte. What it refuses we refuse.
// Methods that it does not know are left out: we pass on any token.

import { createServer, type IncomingMessage, METHODS } from 'node:http';
import { Duplex } from 'node:stream';
import fc from 'fast-check';
import t from 'tap';
import { HeadParser } from '../../proto/http1/head-parser.ts';
import { DEFAULT_HTTP1_LIMITS } from '../../proto/http1/limits.ts';
import { runs } from '../support/fuzz-runs.ts';
import { answer, pairs, type Recorder, ServerHarness } from '../unit/proto/http1/support.ts';

/** More for a long run by hand. */
const FUZZ_RUNS = Number(process.env['HTTP1_FUZZ_RUNS'] ?? 2500);
const FUZZ_MS = Number(process.env['HTTP1_FUZZ_MS'] ?? 4000);

interface Taken {
  method: string;
  target: string;
  fields: string;
  body: string;
  trailers: string;
}

/** One end of a connection in memory: what the other end wrote comes in, what is written is dropped. */
class Wire extends Duplex {
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done();
  }
}

const taken = new WeakMap<Duplex, Taken[]>();
const reference = createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
  const body: Buffer[] = [];
  request.on('data', (chunk: Buffer) => body.push(chunk));
  request.on('end', () => {
    taken.get(request.socket)!.push(describe(request, Buffer.concat(body).toString('latin1')));
    response.end();
  });
});
reference.on('clientError', (_error, socket) => socket.destroy());
reference.on('connect', (_request, socket) => socket.destroy());
reference.on('checkExpectation', (_request, response) => {
  response.statusCode = 417;
  response.end();
});

function pairsOf(raw: readonly string[]): [string, string][] {
  const list: [string, string][] = [];
  for (let i = 0; i < raw.length; i += 2) list.push([raw[i]!.toLowerCase(), raw[i + 1]!]);
  return list;
}

function describe(request: IncomingMessage, body: string): Taken {
  return {
    method: request.method!,
    target: request.url!,
    fields: JSON.stringify(pairsOf(request.rawHeaders).filter(([name]) => name !== 'host')),
    body,
    trailers: JSON.stringify(pairsOf(request.rawTrailers)),
  };
}

async function readByNode(text: string): Promise<Taken[]> {
  const wire = new Wire();
  const list: Taken[] = [];
  taken.set(wire, list);
  reference.emit('connection', wire);
  wire.push(Buffer.from(text, 'latin1'));
  // A pipelined request is handed out when the one before is answered: some turns each.
  for (let turn = 0; turn < 12; turn++) await new Promise((resolve) => setImmediate(resolve));
  wire.destroy();
  return list;
}

const parser = new HeadParser(DEFAULT_HTTP1_LIMITS);

/** The requests we take up to one of a method that node:http does not know, and how many bytes they are long together. */
function readByUs(text: string): { list: Taken[]; bytes: number } {
  const ended: Recorder[] = [];
  const server = new ServerHarness({
    parser,
    onEnded: (recorder) => {
      ended.push(recorder);
      answer(recorder, '');
    },
  });
  let bytes = 0;
  for (let i = 0; i < text.length && !server.connection.dead; i++) {
    const before = ended.length;
    server.socket.receive(text[i]!);
    if (ended.length === before) continue;
    if (!isKnown(ended.at(-1)!.head.get(':method')!)) {
      ended.pop();
      break;
    }
    bytes = i + 1;
  }
  const list = ended.map((recorder) => ({
    method: recorder.head.get(':method')!,
    target: recorder.head.get(':path') ?? '',
    fields: JSON.stringify(pairs(recorder.head).filter(([name]) => name[0] !== ':')),
    body: recorder.body,
    trailers: JSON.stringify(recorder.trailers === null ? [] : pairs(recorder.trailers)),
  }));
  return { list, bytes };
}

function isKnown(method: string): boolean {
  return METHODS.includes(method) && method !== 'CONNECT';
}

/** Gives node:http exactly what we took, and describes the first difference. */
async function difference(text: string): Promise<string | null> {
  const ours = readByUs(text);
  const theirs = await readByNode(text.slice(0, ours.bytes));
  for (const [i, mine] of ours.list.entries()) {
    const other = theirs[i];
    if (other === undefined) return `request ${i} is refused by node:http: ${JSON.stringify(mine)}`;
    const target = other.target.startsWith('/') || other.target === '*' ? other.target : mine.target;
    const same = { ...other, target };
    if (JSON.stringify(mine) !== JSON.stringify(same)) return `${JSON.stringify(mine)} but ${JSON.stringify(same)}`;
  }
  return theirs.length > ours.list.length ? 'node:http sees one request more' : null;
}

const SEEDS = [
  'GET /a?b=c HTTP/1.1\r\nHost: h:1\r\nAccept: */*\r\nX-Y:  z \r\n\r\n',
  'POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello',
  'POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n',
  'PUT /e HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok',
  'GET /o HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
  'GET http://h/abs HTTP/1.1\r\nHost: h\r\nEmpty:\r\n\r\n',
  'OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n',
];

const SNIPPETS = [
  '\r\n',
  '\n',
  '\r',
  ' ',
  '\t',
  '\0',
  ':',
  ';',
  ',',
  '0',
  '1',
  'a',
  '"',
  '\x0b',
  '\x7f',
  '\xff',
  '\r\n ',
  '0\r\n\r\n',
  '5\r\n',
  'Content-Length: 5\r\n',
  'Content-Length: 0\r\n',
  'Transfer-Encoding: chunked\r\n',
  'transfer-encoding: identity\r\n',
  'Host: i\r\n',
  'Connection: close\r\n',
  'Upgrade: x\r\n',
  'Expect: 100-continue\r\n',
  'HTTP/1.1',
  ';x="a b"',
  '\r\n\r\n',
];

const mutation = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  remove: fc.constantFrom(0, 0, 1, 1, 2, 5),
  insert: fc.oneof(
    fc.constant(''),
    fc.constantFrom(...SNIPPETS),
    fc.integer({ min: 0, max: 255 }).map((c) => String.fromCharCode(c)),
  ),
});

function mutate(text: string, mutations: readonly { at: number; remove: number; insert: string }[]): string {
  for (const { at, remove, insert } of mutations) {
    const from = Math.floor(at * text.length);
    text = text.slice(0, from) + insert + text.slice(from + remove);
  }
  return text;
}

const stream = fc
  .tuple(fc.array(fc.constantFrom(...SEEDS), { minLength: 1, maxLength: 3 }), fc.array(mutation, { maxLength: 3 }))
  .map(([seeds, mutations]) => mutate(seeds.join(''), mutations));

t.test('valid requests are read alike', async (t) => {
  for (const seed of SEEDS) {
    t.equal(readByUs(seed).list.length, 1);
    t.equal(await difference(seed), null);
  }
  const all = SEEDS.filter((seed) => !seed.includes('close')).join('');
  t.equal(readByUs(all).list.length, SEEDS.length - 1);
  t.equal(await difference(all), null);
});

t.test(
  'every request we take out of a mutated stream, node:http takes alike',
  { timeout: FUZZ_MS + 20_000 },
  async (t) => {
    let both = 0;
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(stream, async (text) => {
        if (readByUs(text).bytes > 0) both++;
        else refused++;
        const found = await difference(text);
        if (found !== null) throw new Error(found);
      }),
      {
        numRuns: runs(FUZZ_RUNS),
        interruptAfterTimeLimit: FUZZ_MS,
      },
    );
    t.ok(both > 50 && refused > 50, `both sides of the property were met: ${both} taken, ${refused} refused`);
  },
);
