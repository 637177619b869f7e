/** What keeps a caller on one version says the same in every protocol: an input's value, or a header that pins. */
import { Readable } from 'node:stream';
import t from 'tap';
import { request } from 'undici';
import { isRest, MatrixCaller, PROTOCOLS } from '../support/fault-matrix.ts';
import { grpcAnswers, restAnswers } from '../support/matrix-servers.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { RestUpstream, restFails } from '../support/rest-upstream.ts';
import { ScriptedUpstream } from '../support/scripted-upstream.ts';

/** Version 1 answers n, version 2 n + 0.5. */
const grpc = [
  await ScriptedUpstream.start(t, 'one', { script: grpcAnswers(0), forget: true }),
  await ScriptedUpstream.start(t, 'two', { script: grpcAnswers(0.5), forget: true }),
];
const rest = [await RestUpstream.start(t, restAnswers(0)), await RestUpstream.start(t, restAnswers(0.5))];
const model = (name: string, servers: readonly { readonly address: string }[]) => ({
  name,
  split: [
    { model: `${name}@1 via ${servers[0]!.address}`, weight: '70%' },
    { model: `${name}@2 via ${servers[1]!.address}`, weight: '30%' },
  ],
  sticky: { input: 'n', salt: 'the same' },
  pins: [{ header: 'x-tester', model: `${name}@2 via ${servers[1]!.address}` }],
});
const proxy = await ProxyProgram.start(t, {
  ready: false,
  document: { models: [model('grpc', grpc), model('rest', rest)] },
});
const caller = new MatrixCaller(t, proxy.address);

const CUSTOMERS = 60;

t.test('a customer known by an input gets one version, whichever protocol is spoken', async (test) => {
  const sides = new Map<bigint, Set<boolean>>();
  for (const protocol of PROTOCOLS) {
    const asked = isRest(protocol) ? 'rest' : 'grpc';
    const seen = async (n: bigint): Promise<void> => {
      const { value, text } = await caller.ask(protocol, asked, n);
      const difference = value - Number(n);
      if (difference !== 0 && difference !== 0.5) test.fail(`${protocol}: ${value} ${text}`);
      sides.set(n, (sides.get(n) ?? new Set()).add(difference === 0.5));
    };
    for (let from = 0; from < CUSTOMERS; from += 10) {
      const numbers = Array.from({ length: 10 }, (_, i) => BigInt(from + i));
      await Promise.all(numbers.map(seen));
    }
  }
  test.equal(sides.size, CUSTOMERS);
  const moved = [...sides].filter(([, both]) => both.size > 1).map(([n]) => n);
  test.same(moved, [], 'nobody changed sides');
  const two = [...sides.values()].filter((side) => side.has(true)).length;
  test.ok(two > 5 && two < 35, `${two} of ${CUSTOMERS} with version 2`);
});

t.test(
  'a REST body that is too long to be looked into, or holds no such input, is answered all the same',
  async (test) => {
    const padding = `"padding":[${Array.from({ length: 40_000 }, () => 1)}]`;
    const long = `{"inputs":{"n":[7],${padding}}}`;
    const pieces = Array.from({ length: Math.ceil(long.length / 9000) }, (_, i) =>
      Buffer.from(long.slice(i * 9000, (i + 1) * 9000)),
    );
    for (const body of [long, Readable.from(pieces)]) {
      const answer = await request(`http://${proxy.address}/v1/models/rest:predict`, { method: 'POST', body });
      const { outputs } = (await answer.body.json()) as { outputs: number[] };
      test.ok(outputs[0] === 7 || outputs[0] === 7.5, `${outputs}`);
    }
    for (const server of rest) server.script = restFails(400, 'says the server');
    const broken = await request(`http://${proxy.address}/v1/models/rest:predict`, { method: 'POST', body: '{' });
    test.same(await broken.body.json(), { error: 'says the server' });
    for (const [i, server] of rest.entries()) server.script = restAnswers(i / 2);
  },
);

t.test('a header pins REST calls as it pins gRPC calls', async (test) => {
  for (let n = 0; n < 12; n++) {
    const answer = await request(`http://${proxy.address}/v1/models/rest:predict`, {
      method: 'POST',
      body: `{"inputs":{"n":[${n}]}}`,
      headers: { 'x-tester': 'me' },
    });
    test.same(await answer.body.json(), { outputs: [n + 0.5] });
    test.equal(answer.headers['x-understudy-model-version'], '2');
  }
});
