/** Floods against the whole proxy: each ends its connection or its streams, is counted, and an honest caller is served. */
import t from 'tap';
import {
  block,
  data,
  END_HEADERS,
  END_STREAM,
  FramePeer,
  frame,
  headers,
  ping,
  REQUEST,
  rst,
  settings,
  Type,
  windowUpdate,
} from '../support/frame-peer.ts';
import { GrpcCaller } from '../support/grpc-caller.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { ScriptedUpstream } from '../support/scripted-upstream.ts';

const WHOLE = END_HEADERS | END_STREAM;
/** More than the burst of any kind, with time to spare for a slow machine. */
const FRAMES = 20_000;
const EVENTS = 'understudy_downstream_http2_events_total';

const upstream = await ScriptedUpstream.start(t, 'upstream', { forget: true });
const proxy = await ProxyProgram.start(t, {
  env: { UNDERSTUDY_CONCURRENCY: '1' },
  document: { models: [{ name: 'm', split: [{ model: `m@1 via ${upstream.address}` }] }] },
});
const honest = GrpcCaller.to(t, proxy.address);
const [host = '', port = ''] = proxy.address.split(':');
const address = { kind: 'tcp', host, port: Number(port) } as const;

const floods: [string, string, (i: number) => Buffer][] = [
  ['rapid reset', 'rapid_reset_floods', (i) => Buffer.concat([headers(i * 2 + 3, REQUEST, WHOLE), rst(i * 2 + 3, 8)])],
  ['SETTINGS', 'settings_floods', () => settings([1, 4096])],
  ['PING', 'ping_floods', () => ping()],
  ['empty DATA', 'empty_data_floods', () => data(1, 0)],
  ['WINDOW_UPDATE', 'window_update_floods', () => windowUpdate(0, 1)],
  [
    'CONTINUATION',
    'continuation_floods',
    (i) => frame(i === 0 ? Type.HEADERS : Type.CONTINUATION, 0, 3, i === 0 ? block(REQUEST) : Buffer.alloc(1, 0x82)),
  ],
];

for (const [what, kind, make] of floods) {
  t.test(`a flood of ${what} ends its connection, is counted, and an honest caller is served`, async (test) => {
    const before = (await proxy.metrics()).sum(EVENTS, { kind });
    const peer = await FramePeer.connect(address);
    test.teardown(() => peer.destroy());
    peer.send(headers(1, REQUEST));
    let flooding = true;
    const took: number[] = [];
    const calling = (async () => {
      while (flooding || took.length < 20) {
        const answer = await honest.predict('m');
        if (answer.status !== 0) test.fail(`${answer.status} ${answer.message}`);
        took.push(answer.tookMs);
      }
    })();
    for (let i = 0; i < FRAMES && !peer.ended; i += 500) {
      peer.send(Buffer.concat(Array.from({ length: 500 }, (_, j) => make(i + j))));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await peer.closed();
    flooding = false;
    await calling;
    took.sort((a, b) => a - b);
    const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))]!.toFixed(2);
    test.comment(`honest caller: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms over ${took.length} calls`);
    const after = await proxy.metricsOnce((reading) => reading.sum(EVENTS, { kind }) > before, 10_000);
    test.equal(after.sum(EVENTS, { kind }), before + 1);
  });
}
