/** Messages of 100 MB through the proxy, both ways: unharmed, and without the proxy holding them. */
import { createHash, type Hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { ClientHttp2Stream } from 'node:http2';
import t, { type Test } from 'tap';
import { answerOf, GrpcCaller } from '../support/grpc-caller.ts';
import { encodeMessage } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { framed, type Script, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { bytesField, fieldsOf, varintBytes } from '../support/wire-fields.ts';

const MiB = 1024 * 1024;
const BIG = 100 * MiB;

const upstream = await ScriptedUpstream.start(t, 'upstream', { forget: true });

function start(test: Test, maxBuffered: string): Promise<ProxyProgram> {
  return ProxyProgram.start(test, {
    env: {
      UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: upstream.address,
      UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: upstream.address,
      UNDERSTUDY_OUTBOUND_MAX_BUFFERED_MESSAGE_SIZE: maxBuffered,
      UNDERSTUDY_OUTBOUND_MAX_WAITING_SIZE: '128MiB',
      UNDERSTUDY_OUTBOUND_MAX_HELD_SIZE: '512MiB',
    },
    // Copying 100 MB takes longer, and that is not the upstream's fault.
    document: {
      defaults: { timeouts: { connect: '60ms' } },
      models: [{ name: 'm', split: [{ model: `m@1 via ${upstream.address}` }], fallback: [{ model: 'm@2' }] }],
    },
  });
}

const proxy = await start(t, '16MiB');
const caller = GrpcCaller.to(t, proxy.address);

const echo: Script = (call) => {
  call.stream.respond(
    { ':status': 200, 'content-type': String(call.headers['content-type']) },
    { waitForTrailers: true },
  );
  call.stream.on('wantTrailers', () => call.stream.sendTrailers({ 'grpc-status': '0', 'x-end': 'kept' }));
  call.stream.pipe(call.stream);
};

/** Writes a body in pieces, waiting for room; calls `written` with each. */
async function send(
  stream: ClientHttp2Stream,
  pieces: Iterable<Buffer>,
  written?: (piece: Buffer) => void,
): Promise<void> {
  for (const piece of pieces) {
    if (stream.destroyed) return;
    written?.(piece);
    if (!stream.write(piece)) await room(stream);
  }
  stream.end();
}

function room(stream: ClientHttp2Stream): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done);
      stream.off('close', done);
      resolve();
    };
    stream.on('drain', done);
    stream.on('close', done);
  });
}

const chunk = randomBytes(MiB);
function* bulk(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= chunk.length) yield chunk.subarray(0, Math.min(left, chunk.length));
}

/** The most memory that the proxy had during a call, above what it had before. */
async function growth(call: () => Promise<unknown>, of = proxy): Promise<number> {
  const before = of.rssBytes();
  let most = before;
  const timer = setInterval(() => {
    most = Math.max(most, of.rssBytes());
  }, 20);
  await call();
  clearInterval(timer);
  return (most - before) / MiB;
}

t.test('a message of 100 MB passes both ways unharmed in bounded memory', async (test) => {
  upstream.script = echo;
  const sent = createHash('sha256');
  const got = createHash('sha256');
  let bytes = 0;
  const grown = await growth(async () => {
    const stream = caller.open({ ':path': '/other.Service/Echo', 'x-odd': 'a  b' });
    stream.on('data', (piece: Buffer) => {
      bytes += piece.length;
      got.update(piece);
    });
    const ended = once(stream, 'trailers');
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(BIG, 1);
    await send(
      stream,
      (function* () {
        yield prefix;
        yield* bulk(BIG);
      })(),
      (piece) => sent.update(piece),
    );
    const [trailers] = await ended;
    test.match(trailers, { 'grpc-status': '0', 'x-end': 'kept' });
  });
  test.equal(bytes, BIG + 5);
  test.equal(got.digest('hex'), sent.digest('hex'));
  test.ok(grown < 60, `${grown} MiB`);
});

const spec = bytesField(1, encodeMessage('tensorflow.serving.ModelSpec', { name: 'm' }));
const bulkHead = Buffer.concat([varintBytes((2 << 3) | 2), varintBytes(BIG)]);

/** A framed Predict of 100 MB with its spec before or behind the bulk. */
function* bigPredict(specFirst: boolean): Generator<Buffer> {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(BIG + bulkHead.length + spec.length, 1);
  yield prefix;
  if (specFirst) yield spec;
  yield bulkHead;
  yield* bulk(BIG);
  if (!specFirst) yield spec;
}

/** What the upstream saw of a call: its length by the prefix, its bytes, and the hash of what follows the new spec. */
interface Sight {
  length: number;
  bytes: number;
  /** Bytes before the bulk field, prefix included. */
  start: Buffer;
  readonly rest: Hash;
}

/** Takes a request apart without keeping it. `startBytes` are kept, the rest is hashed. */
function watching(sight: Sight, startBytes: number): Script {
  return (call) => {
    call.stream.on('data', (piece: Buffer) => {
      const wanted = Math.max(0, Math.min(piece.length, startBytes - sight.bytes));
      sight.start = Buffer.concat([sight.start, piece.subarray(0, wanted)]);
      sight.rest.update(piece.subarray(wanted));
      sight.bytes += piece.length;
    });
    call.stream.on('end', () => {
      if (!call.ended) return;
      sight.length = sight.start.readUInt32BE(1);
      call.answer(Buffer.alloc(0));
    });
  };
}

const newSight = (): Sight => ({ length: 0, bytes: 0, start: Buffer.alloc(0), rest: createHash('sha256') });
/** Length of the spec field as it leaves for version 1. */
const NEW_SPEC = bytesField(1, encodeMessage('tensorflow.serving.ModelSpec', { name: 'm', version: { value: '1' } }));

function bulkHash(): string {
  const hash = createHash('sha256').update(bulkHead);
  for (const piece of bulk(BIG)) hash.update(piece);
  return hash.digest('hex');
}

async function predict(through: GrpcCaller, specFirst: boolean): Promise<number> {
  const stream = through.open();
  const answer = answerOf(stream);
  await send(stream, bigPredict(specFirst));
  return (await answer).status;
}

function checkSight(test: Test, sight: Sight): void {
  test.equal(sight.bytes, sight.length + 5, 'the rewritten length is right');
  const fields = fieldsOf(sight.start.subarray(5));
  test.equal(fields.length, 1, 'the new spec stands first');
  test.ok(sight.start.subarray(5).equals(NEW_SPEC));
  test.equal(sight.rest.digest('hex'), bulkHash(), 'the bulk is unharmed');
}

t.test('a Predict of 100 MB whose spec is first passes in bounded memory', async (test) => {
  const sight = newSight();
  upstream.script = watching(sight, 5 + NEW_SPEC.length);
  const grown = await growth(async () => test.equal(await predict(caller, true), 0));
  checkSight(test, sight);
  test.ok(grown < 80, `${grown} MiB`);
});

t.test('a Predict of 100 MB whose spec is last is refused at its bound', async (test) => {
  const before = upstream.count;
  const grown = await growth(async () => test.equal(await predict(caller, false), 8, 'RESOURCE_EXHAUSTED'));
  test.equal(upstream.count, before);
  test.ok(grown < 80, `${grown} MiB`);
});

t.test('a Predict of 100 MB whose spec is last passes where the bound allows it', async (test) => {
  const roomy = await start(test, '128MiB');
  const sight = newSight();
  // The new spec takes the place of the old one, behind the bulk.
  upstream.script = watching(sight, 5);
  const grown = await growth(
    async () => test.equal(await predict(GrpcCaller.to(test, roomy.address), false), 0),
    roomy,
  );
  test.equal(sight.bytes, sight.length + 5);
  const expected = createHash('sha256').update(bulkHead);
  for (const piece of bulk(BIG)) expected.update(piece);
  test.equal(sight.rest.digest('hex'), expected.update(NEW_SPEC).digest('hex'));
  test.ok(grown < 500, `${grown} MiB`);
});

t.test('an answer of 100 MB passes in bounded memory, also to a slow reader', async (test) => {
  upstream.script = (call) => {
    call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    call.stream.on('wantTrailers', () => call.stream.sendTrailers({ 'grpc-status': '0' }));
    void send(call.stream as unknown as ClientHttp2Stream, bulk(BIG));
  };
  for (const path of ['/other.Service/Bulk', '/tensorflow.serving.PredictionService/Predict']) {
    let bytes = 0;
    const grown = await growth(async () => {
      const stream = caller.open({ ':path': path });
      stream.end(framed(bytesField(1, encodeMessage('tensorflow.serving.ModelSpec', { name: 'm' }))));
      stream.on('data', (piece: Buffer) => {
        if (bytes < 10 * MiB && bytes + piece.length >= 10 * MiB) {
          stream.pause();
          setTimeout(() => stream.resume(), 150);
        }
        bytes += piece.length;
      });
      await once(stream, 'trailers');
    });
    test.equal(bytes, BIG, path);
    test.ok(grown < 60, `${grown} MiB`);
  }
});
