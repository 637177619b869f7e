// RFC 9113 section 5.1.1, 5.1.2 and 6.8: GOAWAY both ways with no lost request, stream limits, identifiers that run out.
import t from 'tap';
import { Http2Counter } from '../../../proto/http2/counters.ts';
import { ErrorCode } from '../../../proto/http2/frames.ts';
import {
  ACK,
  data,
  END_HEADERS,
  END_STREAM,
  FramePeer,
  FrameServer,
  goaway,
  headers,
  ping,
  REQUEST,
  RESPONSE,
  rst,
  Type,
  windowUpdate,
} from '../../support/frame-peer.ts';
import { CALL, dial, echo, OK, RecordedCall, serve } from '../../support/http2-lab.ts';
import { until } from '../../support/patience.ts';

const WHOLE = END_HEADERS | END_STREAM;

t.test('drain serves what the peer opened before it knew, and ignores the rest without harm', async (t) => {
  const lab = await serve(t, () => {});
  const peer = await FramePeer.connect(lab.address);
  peer.send(headers(1, REQUEST));
  await peer.settle();
  const drained = lab.server.drain(3000);
  const first = await peer.next(Type.GOAWAY);
  t.equal(first.payload.readUInt32BE(0), 0x7fffffff);
  const probe = await peer.next(Type.PING, (f) => f.flags === 0);
  // Opened after the first GOAWAY was written, before the peer read it: it must be served.
  peer.send(headers(3, REQUEST), ping(probe.payload.toString('latin1'), ACK));
  const last = await peer.next(Type.GOAWAY);
  t.equal(last.payload.readUInt32BE(0), 3);
  t.equal(last.payload.readUInt32BE(4), ErrorCode.NO_ERROR);
  // Opened after: ignored, with everything that was under way on it.
  peer.send(headers(5, REQUEST), data(5, 100), windowUpdate(5, 1), rst(5, 8));
  await peer.settle();
  t.equal(lab.calls.length, 2);
  for (const call of lab.calls) {
    t.equal(call.resetCode, null);
    call.stream!.sendHeaders(OK, true);
  }
  await peer.next(Type.HEADERS, (f) => f.streamId === 3);
  peer.send(data(1, 0, END_STREAM), data(3, 4, END_STREAM));
  await peer.closed();
  t.equal(lab.calls[1]!.body.length, 4);
  await drained;
  t.equal(lab.counters[Http2Counter.CONNECTION_ERRORS], 0);
});

t.test('an idle connection closes as soon as the peer has read the first GOAWAY', async (t) => {
  const lab = await serve(t);
  const peer = await FramePeer.connect(lab.address);
  const drained = lab.server.drain(3000);
  const probe = await peer.next(Type.PING, (f) => f.flags === 0);
  peer.send(ping(probe.payload.toString('latin1'), ACK));
  await peer.closed();
  await drained;
});

t.test('a peer that never answers is cut at the drain’s deadline', async (t) => {
  const lab = await serve(t, () => {});
  const peer = await FramePeer.connect(lab.address);
  peer.send(headers(1, REQUEST));
  await peer.settle();
  await lab.server.drain(50);
  await peer.closed();
  t.equal(lab.calls[0]!.resetCode, ErrorCode.NO_ERROR);
});

t.test('two of our own: no request is lost while the server drains under load', async (t) => {
  const lab = await serve(t);
  const client = dial(t, lab.address);
  const calls: RecordedCall[] = [];
  let draining: Promise<void> | null = null;
  for (let round = 0; round < 30; round++) {
    for (let i = 0; i < 5; i++) {
      const call = new RecordedCall();
      const stream = client.connection.openStream(call, CALL, false);
      if (stream === null) continue;
      calls.push(call);
      stream.sendData(Buffer.from('abc'), 0, 3, true);
    }
    if (round === 15) draining = lab.server.drain(3000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await draining;
  await until(() => client.owner.closed);
  t.ok(calls.length >= 80);
  const answered = calls.filter((call) => call.ended).length;
  const refused = calls.filter((call) => call.refused).length;
  t.equal(answered + refused, calls.length, 'each is answered, or may safely go elsewhere');
  t.equal(client.owner.draining > 0, true);
});

t.test('client: streams above GOAWAY’s last one are refused, those below go on', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address);
  const calls = [0, 1, 2, 3].map(() => new RecordedCall());
  for (const call of calls) client.connection.openStream(call, CALL, true);
  const peer = await server.greet();
  peer.send(goaway(0x7fffffff, 0), goaway(3, 0));
  await until(() => calls[2]!.resetCode !== null);
  t.same(
    calls.map((call) => call.refused),
    [false, false, true, true],
  );
  t.notOk(client.connection.canOpen);
  t.equal(client.connection.openStream(new RecordedCall(), CALL, true), null);
  peer.send(headers(1, RESPONSE, WHOLE), headers(3, RESPONSE, WHOLE));
  await until(() => client.owner.closed);
  t.ok(calls[0]!.ended && calls[1]!.ended);
  t.equal(client.owner.error, null);
});

t.test('client: REFUSED_STREAM marks the stream as never processed', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address);
  const calls = [new RecordedCall(), new RecordedCall()];
  for (const call of calls) client.connection.openStream(call, CALL, true);
  const peer = await server.greet();
  peer.send(rst(1, ErrorCode.REFUSED_STREAM), rst(3, ErrorCode.INTERNAL_ERROR));
  await until(() => calls[1]!.resetCode !== null);
  t.same(
    calls.map((call) => call.refused),
    [true, false],
  );
});

t.test('client: requests on a connection that never stood were never processed', async (t) => {
  const server = await FrameServer.listen();
  server.close();
  const client = dial(t, server.address);
  const call = new RecordedCall();
  client.connection.openStream(call, CALL, true);
  await until(() => client.owner.closed);
  t.ok(call.refused);
  t.match(client.owner.error, { code: 'ECONNREFUSED' });
});

t.test('client: drain lets open streams finish and then closes', async (t) => {
  const lab = await serve(t, () => {});
  const client = dial(t, lab.address);
  const call = new RecordedCall();
  client.connection.openStream(call, CALL, true);
  await until(() => lab.calls.length === 1);
  client.connection.drain();
  t.notOk(client.connection.canOpen);
  await until(() => lab.counters[Http2Counter.GOAWAYS_RECEIVED] === 1);
  lab.calls[0]!.stream!.sendHeaders(OK, true);
  await until(() => client.owner.closed);
  t.ok(call.ended);
});

t.test('the server refuses streams beyond its limit, and takes more when some have ended', async (t) => {
  const lab = await serve(t, () => {}, { limits: { maxConcurrentStreams: 2 } });
  const peer = await FramePeer.connect(lab.address);
  t.teardown(() => peer.destroy());
  peer.send(headers(1, REQUEST, WHOLE), headers(3, REQUEST), headers(5, REQUEST), data(5, 50));
  t.equal(await peer.reset(5), ErrorCode.REFUSED_STREAM);
  t.equal(lab.counters[Http2Counter.STREAMS_REFUSED], 1);
  lab.calls[0]!.stream!.sendHeaders(OK, true);
  await peer.response(1);
  peer.send(headers(7, REQUEST, WHOLE));
  await peer.settle();
  t.equal(lab.calls.length, 3);
  const settings = peer.seen[0]!.payload;
  t.ok(settings.includes(Buffer.from([0, 3, 0, 0, 0, 2])), 'and says so in SETTINGS');
});

t.test('the client keeps to the server’s limit and its own', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address, { maxConcurrentStreams: 3 });
  const peer = await server.greet([3, 2]);
  await until(() => client.owner.capacity > 0);
  const open = (): boolean => client.connection.openStream(new RecordedCall(), CALL, true) !== null;
  t.same([open(), open(), open()], [true, true, false]);
  peer.send(headers(1, RESPONSE, WHOLE));
  await until(() => client.connection.canOpen);
  t.same([open(), open()], [true, false]);
});

t.test('a connection that has carried its share of streams drains by itself, in both roles', async (t) => {
  const lab = await serve(t, echo, { limits: { maxStreamsPerConnection: 3 } });
  const peer = await FramePeer.connect(lab.address);
  peer.send(headers(1, REQUEST, WHOLE), headers(3, REQUEST, WHOLE), headers(5, REQUEST, WHOLE));
  await peer.next(Type.GOAWAY);
  const probe = await peer.next(Type.PING, (f) => f.flags === 0);
  peer.send(ping(probe.payload.toString('latin1'), ACK));
  await peer.closed();
  t.ok(lab.calls.every((call) => call.ended));

  const other = await serve(t);
  const client = dial(t, other.address, { maxStreamsPerConnection: 2 });
  const calls = [new RecordedCall(), new RecordedCall(), new RecordedCall()];
  const opened = calls.map((call) => client.connection.openStream(call, CALL, true) !== null);
  t.same(opened, [true, true, false]);
  t.equal(client.owner.draining, 1);
  await until(() => client.owner.closed);
  t.ok(calls[0]!.ended && calls[1]!.ended);
});

t.test('client: when identifiers run out the connection finishes what it has', async (t) => {
  const server = await FrameServer.listen();
  t.teardown(() => server.close());
  const client = dial(t, server.address, { maxStreamsPerConnection: 2 ** 31 });
  client.connection.ids.next = 0x7fffffff;
  const call = new RecordedCall();
  t.ok(client.connection.openStream(call, CALL, true));
  t.ok(client.connection.exhausted);
  t.equal(client.connection.openStream(new RecordedCall(), CALL, true), null);
  const peer = await server.greet();
  peer.send(headers(0x7fffffff, RESPONSE, WHOLE));
  await until(() => client.owner.closed);
  t.ok(call.ended);
});
