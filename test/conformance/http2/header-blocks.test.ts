// RFC 9113 section 4.3 and 6.10, RFC 7541: header blocks over several frames, in step whatever becomes of them.
import fc from 'fast-check';
import t from 'tap';
import { Http2Counter } from '../../../proto/http2/counters.ts';
import { ErrorCode } from '../../../proto/http2/frames.ts';
import { HeaderList } from '../../../proto/http2/header-list.ts';
import {
  block,
  data,
  END_HEADERS,
  END_STREAM,
  FramePeer,
  frame,
  headers,
  PRIORITY,
  ping,
  REQUEST,
  Type,
} from '../../support/frame-peer.ts';
import { runs, seedFor } from '../../support/fuzz-runs.ts';
import { CALL, dial, OK, RecordedCall, serve, TRAILERS } from '../../support/http2-lab.ts';
import { until } from '../../support/patience.ts';

const WHOLE = END_HEADERS | END_STREAM;

t.test('a block may be cut anywhere, into empty CONTINUATION frames too', async (t) => {
  const lab = await serve(t, (call, event) => {
    if (event === 'end') call.stream!.sendHeaders(OK, true);
  });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  const bytes = block(REQUEST);
  let id = 1;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(bytes.length), { maxLength: 12 }), fc.boolean(), async (cuts, withPriority) => {
      const at = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      const parts = at.slice(1).map((end, i) => bytes.subarray(at[i], end));
      const first = withPriority ? Buffer.concat([Buffer.alloc(5), parts[0]!]) : parts[0]!;
      const one = parts.length === 1 ? END_HEADERS : 0;
      const frames = [frame(Type.HEADERS, END_STREAM | one | (withPriority ? PRIORITY : 0), id, first)];
      for (const [i, part] of parts.slice(1).entries()) {
        frames.push(frame(Type.CONTINUATION, i === parts.length - 2 ? END_HEADERS : 0, id, part));
      }
      peer.send(...frames);
      const answer = await peer.response(id);
      id += 2;
      return answer[0]![1] === '200';
    }),
    { numRuns: runs(60), seed: seedFor(9113) },
  );
});

t.test('nothing may come between a block’s frames', async (t) => {
  const lab = await serve(t, () => {});
  const begun = frame(Type.HEADERS, 0, 3, block(REQUEST));
  for (const between of [
    ping(),
    data(1, 1),
    headers(5, REQUEST),
    frame(Type.CONTINUATION, END_HEADERS, 1, Buffer.alloc(0)),
    frame(0xfe, 0, 0),
  ]) {
    const peer = await FramePeer.connect(lab.address);
    peer.send(headers(1, REQUEST), begun, between);
    t.equal(await peer.goaway(), ErrorCode.PROTOCOL_ERROR);
  }
});

t.test('a broken header block ends the connection with COMPRESSION_ERROR', async (t) => {
  const lab = await serve(t);
  for (const bad of [Buffer.from([0x80]), Buffer.from([0xff, 0xff]), Buffer.from([0x00, 0x7f])]) {
    const peer = await FramePeer.connect(lab.address);
    peer.send(frame(Type.HEADERS, WHOLE, 1, bad));
    t.equal(await peer.goaway(), ErrorCode.COMPRESSION_ERROR);
  }
});

t.test('our long header sections go out over CONTINUATION and come in again', async (t) => {
  const long = HeaderList.of([':status', '200'], ...longFields(4, 12_000));
  const lab = await serve(t, (call, event) => {
    if (event === 'end') {
      call.stream!.sendHeaders(long, false);
      call.stream!.sendHeaders(TRAILERS, true);
    }
  });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST, WHOLE));
  await peer.next(Type.HEADERS, (f) => (f.flags & END_STREAM) !== 0);
  const kinds = peer.seen.filter((f) => f.streamId === 1).map((f) => f.type);
  t.same(kinds, [Type.HEADERS, Type.CONTINUATION, Type.CONTINUATION, Type.HEADERS]);
  const client = dial(t, lab.address);
  const call = new RecordedCall();
  client.connection.openStream(call, CALL, true);
  await until(() => call.ended);
  t.same(call.sections[0]!.values, long.values);
});

function longFields(count: number, bytes: number): [string, string][] {
  return Array.from({ length: count }, (_, i) => [`x-long-${i}`, '~'.repeat(bytes)]);
}

t.test('never-indexed fields stay so on their way through', async (t) => {
  let seen: HeaderList | null = null;
  const lab = await serve(t, (call, event) => {
    if (event !== 'end') return;
    seen = call.sections[0]!;
    const { names, values } = seen;
    const from = names.indexOf('authorization');
    call.stream!.sendHeaders(
      new HeaderList([':status', names[from]!], ['200', values[from]!], [false, seen.isNeverIndexed(from)]),
      true,
    );
  });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  const secret = Buffer.concat([block(REQUEST), block([['authorization', 'Bearer abc']], true)]);
  for (const id of [1, 3]) {
    peer.send(frame(Type.HEADERS, WHOLE, id, secret));
    const answer = await peer.next(Type.HEADERS);
    t.same(answer.fields![1], ['authorization', 'Bearer abc']);
    // 0001 and the static name's index 23 in a 4-bit prefix: 0x1f 0x08.
    t.ok(answer.payload.includes(Buffer.from([0x1f, 0x08])), 'a never-indexed literal, each time');
  }
  t.ok(seen!.sensitive);
});

t.test('a section beyond the limit is answered 431, its stream reset, and HPACK stays in step', async (t) => {
  const lab = await serve(t, undefined, { limits: { maxHeaderListBytes: 2000 } });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, [...REQUEST, ['x-big', 'b'.repeat(2000)]]));
  t.same(await peer.response(1), [[':status', '431']]);
  t.equal(await peer.reset(1), ErrorCode.NO_ERROR);
  peer.send(headers(3, REQUEST), headers(3, [['x-big', 'b'.repeat(2000)]], WHOLE));
  t.equal(await peer.reset(3), ErrorCode.ENHANCE_YOUR_CALM, 'trailers have no answer of their own');
  t.equal(lab.counters[Http2Counter.HEADER_LISTS_TOO_LARGE], 2);
  peer.send(headers(5, REQUEST, WHOLE));
  await peer.response(5);
});
