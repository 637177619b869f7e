// Frames in any order with any content, whole or in pieces, and recorded conversations with bytes changed: never a crash
// or a hang, and the engine's accounts are right afterwards. Rounds: UNDERSTUDY_FUZZ_RUNS, 300 by default.

import fc from 'fast-check';
import t from 'tap';
import { Http2Connection } from '../../proto/http2/connection.ts';
import { HTTP2_COUNTER_SLOTS } from '../../proto/http2/counters.ts';
import { DEFAULT_HTTP2_LIMITS } from '../../proto/http2/limits.ts';
import { ByteSocket } from '../../proto/io/byte-socket.ts';
import { threadMemory } from '../../proto/io/memory-budget.ts';
import {
  block,
  data,
  END_HEADERS,
  END_STREAM,
  type Fields,
  frame,
  goaway,
  headers,
  PREFACE,
  ping,
  REQUEST,
  rst,
  settings,
  settingsAck,
  Type,
  windowUpdate,
} from '../support/frame-peer.ts';
import { runs, seedFor } from '../support/fuzz-runs.ts';
import { CALL, echo, OK, RecordedCall, RecordingOwner, TRAILERS } from '../support/http2-lab.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const RUNS = Number(process.env['UNDERSTUDY_FUZZ_RUNS'] ?? 300);
// A long run by hand takes its time; tap's limit of 30 s is for the short one.
if (RUNS > 300) t.setTimeout(0);
const SEED = 20260731;
const WINDOW = 100_000;
const LIMITS = {
  ...DEFAULT_HTTP2_LIMITS,
  maxConcurrentStreams: 8,
  streamWindowBytes: 20_000,
  connectionWindowBytes: WINDOW,
  floodBurst: 50,
};
const IDS = fc.constantFrom(0, 1, 2, 3, 5, 7, 9, 11, 13, 15, 17, 19, 101, 0x7fffffff);
const FLAGS = fc.constantFrom(0, 1, 4, 5, 8, 9, 0x20, 0x25, 0x2d, 0xff);
const RESPONSES: readonly Fields[] = [
  [[':status', '200']],
  [[':status', '103']],
  [
    [':status', '200'],
    ['content-length', '10'],
  ],
  [['grpc-status', '0']],
];
const REQUESTS: readonly Fields[] = [
  REQUEST,
  [...REQUEST, ['content-length', '40']],
  [['x', 'y']],
  [...REQUEST, ['X', 'y']],
];

/** Makes one frame of a conversation; `fresh` gives the next identifier, `used` one of the latest. */
type Step = (fresh: () => number, used: (back: number) => number) => Buffer;

/** Mostly what a peer may say, at an odd time; sometimes what it must not. */
function anyStep(client: boolean): fc.Arbitrary<Step> {
  const good = client ? RESPONSES : REQUESTS;
  const back = fc.nat(5);
  const small = fc.uint8Array({ maxLength: 60 });
  const step = <T>(weight: number, values: fc.Arbitrary<T>, make: (value: T) => Step) => ({
    weight,
    arbitrary: values.map(make),
  });
  const valid = [
    step(
      6,
      fc.tuple(fc.constantFrom(0, 0, 0, 1, 3), fc.constantFrom(4, 4, 5), back),
      ([which, flags, n]) =>
        (fresh, used) =>
          headers(client ? used(n) : fresh(), good[which % good.length]!, flags),
    ),
    step(
      8,
      fc.tuple(back, fc.nat(3000), fc.constantFrom(0, 0, 0, 1)),
      ([n, size, flags]) =>
        (_fresh, used) =>
          data(used(n), size, flags),
    ),
    step(
      2,
      fc.tuple(back, fc.nat(20)),
      ([n, size]) =>
        (_fresh, used) =>
          frame(Type.DATA, 8, used(n), Buffer.concat([Buffer.from([size]), Buffer.alloc(30 + size)])),
    ),
    step(2, back, (n) => (_fresh, used) => headers(used(n), [['a', 'b']], END_HEADERS | END_STREAM)),
    step(
      2,
      fc.tuple(back, fc.constantFrom(0, 7, 8)),
      ([n, code]) =>
        (_fresh, used) =>
          rst(used(n), code),
    ),
    step(
      4,
      fc.tuple(back, fc.constantFrom(1, 500, 20_000)),
      ([n, size]) =>
        (_fresh, used) =>
          windowUpdate(used(n), size),
    ),
    step(2, fc.constantFrom(1, 500, 65_535), (size) => () => windowUpdate(0, size)),
    step(
      1,
      fc.constantFrom<[number, number]>([1, 0], [1, 4096], [3, 2], [4, 0], [4, 700], [4, 90_000], [99, 1]),
      (pair) => () => settings(pair),
    ),
    step(
      1,
      fc.constantFrom(settingsAck(), ping(), frame(Type.PRIORITY, 0, 9, Buffer.alloc(5))),
      (bytes) => () => bytes,
    ),
    step(1, fc.tuple(back, fc.nat(60)), ([n, cut]) => (fresh, used) => {
      const id = client ? used(n) : fresh();
      const bytes = block(good[0]!);
      const first = frame(Type.HEADERS, 0, id, bytes.subarray(0, cut));
      return Buffer.concat([
        first,
        frame(Type.CONTINUATION, END_HEADERS, id, bytes.subarray(Math.min(cut, bytes.length))),
      ]);
    }),
  ];
  const odd = [
    step(
      1,
      fc.tuple(IDS, fc.constantFrom(...good), FLAGS),
      ([id, fields, flags]) =>
        () =>
          headers(id, fields, flags),
    ),
    step(
      1,
      fc.tuple(fc.nat(12), FLAGS, IDS, small),
      ([type, flags, id, b]) =>
        () =>
          frame(type, flags, id, b),
    ),
    step(
      1,
      fc.tuple(IDS, fc.constantFrom(0, 0x7fffffff)),
      ([id, size]) =>
        () =>
          windowUpdate(id, size),
    ),
    step(
      1,
      fc.tuple(IDS, fc.constantFrom(0, 2)),
      ([id, code]) =>
        () =>
          goaway(id, code),
    ),
  ];
  return fc.oneof({ weight: 50, arbitrary: fc.oneof(...valid) }, { weight: 1, arbitrary: fc.oneof(...odd) });
}

function conversation(client: boolean, steps: readonly Step[]): Buffer {
  let last = client ? 11 : 1;
  const fresh = (): number => {
    last += 2;
    return last;
  };
  const used = (back: number): number => Math.max(1, last - back * 2);
  const first = client ? [] : [headers(1, REQUEST)];
  return Buffer.concat([...first, ...steps.map((step) => step(fresh, used))]);
}

/** What the handlers do, by the number of the event: a byte each. */
const SCRIPT = fc.uint8Array({ minLength: 1, maxLength: 40, size: 'max' });

function scripted(script: Uint8Array): (call: RecordedCall, event: string) => void {
  let at = 0;
  return (call, event) => {
    const stream = call.stream;
    const choice = script[at++ % script.length]!;
    call.consuming = choice % 3 !== 0;
    if (stream === null || event === 'reset') return;
    if (choice < 120) {
      if (event === 'end') echo(call, event);
    } else if (choice < 150) stream.reset(8);
    else if (choice < 180) stream.sendData(Buffer.alloc(30_000), 0, 30_000, choice % 2 === 0);
    else if (choice < 200) stream.sendHeaders(choice % 2 === 0 ? OK : TRAILERS, choice % 2 === 1);
    else if (choice < 210) stream.consume(choice * 100);
    else if (choice === 255) stream.connection.drain();
    else if (choice === 254) stream.connection.close();
  };
}

interface Rig {
  readonly connection: Http2Connection;
  readonly calls: RecordedCall[];
  read(bytes: Uint8Array, pieces: readonly number[]): void;
}

/** A connection of either role on a socket that leads nowhere. */
function rig(client: boolean, script: Uint8Array): Rig {
  const calls: RecordedCall[] = [];
  const owner = new RecordingOwner();
  const act = scripted(script);
  owner.acceptStream = (stream?: unknown) => {
    const call = new RecordedCall(act);
    call.stream = stream as RecordedCall['stream'];
    calls.push(call);
    return call;
  };
  const io = new ByteSocket({ onBytes() {}, onEnd() {}, onDrained() {}, onClosed() {} });
  const counters = new Float64Array(HTTP2_COUNTER_SLOTS);
  const connection = new Http2Connection(io, { client, limits: LIMITS, clock: new VirtualClock(), owner, counters });
  if (client) {
    for (let i = 0; i < 6; i++) {
      const call = new RecordedCall(act);
      call.stream = connection.openStream(call, CALL, i % 2 === 0);
      calls.push(call);
    }
  }
  const read = (bytes: Uint8Array, pieces: readonly number[]): void => {
    let at = 0;
    for (let i = 0; at < bytes.length; i++) {
      const size = Math.min(bytes.length - at, pieces.length === 0 ? bytes.length : 1 + pieces[i % pieces.length]!);
      // As from a socket: the buffer is reused at once.
      const shared = Buffer.from(bytes.subarray(at, at + size));
      connection.onBytes(shared, size);
      shared.fill(0xee);
      at += size;
    }
    io.flush();
  };
  return { connection, calls, read };
}

/** Accounts after anything: the table counts itself, credit is all there once nobody holds bytes, no queue is left over. */
function audit({ connection, calls }: Rig): string {
  if (connection.activeStreams !== connection.table.list().length) return 'the table miscounts';
  for (const stream of connection.table.list()) {
    if (stream.closed) return `stream ${stream.id} is closed and in the table`;
    if (stream.outstanding < 0 || stream.queuedBytes < 0) return `stream ${stream.id} has negative bytes`;
  }
  if (!connection.dead) {
    for (const { stream } of calls) stream?.consume(stream.outstanding);
    for (const stream of connection.table.list()) stream.reset(8);
    const missing = WINDOW - connection.receive.window - connection.receive.uncredited;
    const underWay = connection.reader.dataBytesLeft;
    if (!connection.dead && missing !== underWay) return `${missing} bytes of credit are missing`;
    connection.close();
  }
  if (connection.activeStreams !== 0) return 'streams outlive their connection';
  if (threadMemory.heldBytes !== 0) return `${threadMemory.heldBytes} bytes are still held`;
  for (const call of calls) {
    const end = call.events.indexOf('reset');
    if (end >= 0 && end !== call.events.length - 1) return `events after a reset: ${call.events}`;
  }
  return 'right';
}

for (const client of [false, true]) {
  const role = client ? 'client' : 'server';
  const hello = client ? settings([3, 100]) : Buffer.concat([PREFACE, settings([4, 1000])]);
  const steps = fc.array(anyStep(client), { minLength: 5, maxLength: 80, size: 'max' });
  const pieces = fc.array(fc.nat(300), { maxLength: 5 });

  t.test(`${role}: frames in any order, cut anywhere`, (t) => {
    let survived = 0;
    let calls = 0;
    fc.assert(
      fc.property(steps, pieces, SCRIPT, (list, cuts, script) => {
        const subject = rig(client, script);
        subject.read(Buffer.concat([hello, conversation(client, list)]), cuts);
        if (!subject.connection.dead) survived++;
        calls += subject.calls.filter((call) => call.ended).length;
        const verdict = audit(subject);
        if (verdict !== 'right') throw new Error(verdict);
      }),
      { numRuns: runs(RUNS), seed: seedFor(SEED) },
    );
    t.ok(survived > RUNS / 10, `${survived} connections lived to the end`);
    t.ok(calls > RUNS / 4, `${calls} messages were complete`);
    t.end();
  });

  t.test(`${role}: a conversation with changed bytes`, (t) => {
    const good = client ? RESPONSES[0]! : REQUEST;
    const words = [hello, settingsAck(), ping(), windowUpdate(0, 9000)];
    for (let id = 1; id < 13; id += 2) {
      words.push(headers(id, good), data(id, 700), headers(id, [['a', 'b']], END_HEADERS | END_STREAM));
      words.push(frame(Type.HEADERS, 0, id + 12, block(good)), frame(Type.CONTINUATION, END_HEADERS, id + 12));
    }
    const recorded = Buffer.concat(words);
    const change = fc.tuple(fc.nat(recorded.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), pieces, SCRIPT, (changes, cuts, script) => {
        const bytes = Buffer.from(recorded);
        for (const [at, value] of changes) bytes[at] = value;
        const subject = rig(client, script);
        subject.read(bytes, cuts);
        const verdict = audit(subject);
        if (verdict !== 'right') throw new Error(verdict);
      }),
      { numRuns: runs(RUNS), seed: seedFor(SEED) },
    );
    t.end();
  });
}
