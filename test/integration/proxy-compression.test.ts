/** Compressed requests: read for their spec, forwarded as they came when nothing is rewritten, plain when it is. */
import { deflateSync, gzipSync } from 'node:zlib';
import * as grpc from '@grpc/grpc-js';
import t from 'tap';
import { GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { framed, predictResponse, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { fieldsOf } from '../support/wire-fields.ts';

const kept = await ScriptedUpstream.start(t, 'kept');
const changed = await ScriptedUpstream.start(t, 'changed');
const shadow = await ScriptedUpstream.start(t, 'shadow');
const proxy = await ProxyProgram.start(t, {
  env: { UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: kept.address },
  document: {
    models: [
      { name: 'kept', split: [{ model: `kept via ${kept.address}` }] },
      {
        name: 'changed',
        split: [{ model: `changed@1 via ${changed.address}` }],
        shadows: [{ model: `changed@2 via ${shadow.address}` }],
      },
    ],
  },
});
const caller = GrpcCaller.to(t, proxy.address);
const plain = (model: string, values = [1, 2, 3]) => predictRequest(model, values).subarray(5);
const coders = { gzip: gzipSync, deflate: deflateSync } as const;
// The upstreams cannot read a compressed request; all they need to know is its model.
kept.script = async (call) => call.answer(predictResponse('kept', await call.body));

for (const [encoding, compress] of Object.entries(coders)) {
  t.test(`${encoding} that needs no change is forwarded as it came`, async (test) => {
    for (const model of ['kept', 'of-no-entry']) {
      const body = framed(compress(plain(model)), true);
      for (const pieces of [[body], [body.subarray(0, 3), body.subarray(3, 20), body.subarray(20)]]) {
        const answer = await caller.call(pieces, { 'grpc-encoding': encoding });
        test.equal(servedBy(answer), 'kept', answer.message);
        const call = kept.calls.at(-1)!;
        test.ok((await call.body).equals(body));
        test.equal(call.headers['grpc-encoding'], encoding);
      }
    }
  });

  t.test(`${encoding} whose spec is rewritten goes on as plain bytes, to shadows too`, async (test) => {
    const original = plain(
      'changed',
      Array.from({ length: 40_000 }, (_, i) => i),
    );
    const body = framed(compress(original), true);
    const answer = await caller.call(body, { 'grpc-encoding': encoding, 'content-length': String(body.length) });
    test.equal(servedBy(answer), 'changed', answer.message);
    await until(() => shadow.calls.length > 0, 'the shadow is asked');
    for (const [upstream, version] of [
      [changed, '1'],
      [shadow, '2'],
    ] as const) {
      const call = upstream.calls.at(-1)!;
      const seen = await call.body;
      test.equal(seen[0], 0);
      test.equal(seen.readUInt32BE(1), seen.length - 5);
      test.equal(call.headers['grpc-encoding'], undefined);
      test.equal(call.headers['content-length'], undefined);
      test.equal((await call.request()).model_spec.version.value, version);
      const others = (message: Buffer) =>
        fieldsOf(message)
          .filter(({ number }) => number !== 1)
          .map(({ bytes }) => bytes);
      test.ok(Buffer.concat(others(seen.subarray(5))).equals(Buffer.concat(others(original))));
    }
  });
}

t.test('a message that is not compressed under grpc-encoding is read as it is', async (test) => {
  const body = predictRequest('changed');
  test.equal(servedBy(await caller.call(body, { 'grpc-encoding': 'gzip' })), 'changed');
  test.equal(servedBy(await caller.call(body, { 'grpc-encoding': 'identity' })), 'changed');
});

t.test('an unknown encoding is UNIMPLEMENTED, and the answer names the known ones', async (test) => {
  for (const encoding of ['snappy', 'br', 'zstd']) {
    const answer = await caller.call(framed(plain('changed'), true), { 'grpc-encoding': encoding });
    test.equal(answer.status, 12);
    test.same(String(answer.head['grpc-accept-encoding']).split(','), ['identity', 'deflate', 'gzip']);
  }
});

t.test('a message marked as compressed without an encoding, or that does not inflate, is refused', async (test) => {
  const broken = framed(gzipSync(plain('changed')).subarray(0, 30), true);
  test.not((await caller.call(framed(gzipSync(plain('changed')), true))).status, 0);
  test.equal((await caller.call(broken, { 'grpc-encoding': 'gzip' })).status, 3);
  test.equal((await caller.call(framed(Buffer.from('no gzip'), true), { 'grpc-encoding': 'gzip' })).status, 3);
});

t.test('a message that inflates without measure is refused', async (test) => {
  const before = proxy.rssBytes();
  const bomb = framed(gzipSync(Buffer.alloc(200 * 1024 * 1024)), true);
  const answer = await caller.call(bomb, { 'grpc-encoding': 'gzip' });
  test.equal(answer.status, 8, answer.message);
  test.ok(proxy.peakRssBytes() - before < 150 * 1024 * 1024);
  test.equal(servedBy(await caller.predict('changed')), 'changed');
});

t.test('a grpc-js client that compresses is served', async (test) => {
  const client = new grpc.Client(proxy.address, grpc.credentials.createInsecure(), {
    'grpc.default_compression_algorithm': 2,
  });
  test.teardown(() => client.close());
  const bytes = (value: Buffer) => value;
  const reply = await new Promise<Buffer>((resolve, reject) => {
    client.makeUnaryRequest(
      '/tensorflow.serving.PredictionService/Predict',
      bytes,
      bytes,
      plain(
        'changed',
        Array.from({ length: 5000 }, () => 1),
      ),
      (error, value) => (error === null ? resolve(value!) : reject(error)),
    );
  });
  test.ok(reply.length > 0);
  test.equal((await changed.calls.at(-1)!.request()).inputs.x.float_val.length, 5000);
});
