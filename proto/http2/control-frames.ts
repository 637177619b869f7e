/**
 * The frames that carry no message: RST_STREAM, WINDOW_UPDATE, SETTINGS, PING, GOAWAY, PRIORITY, PUSH_PROMISE and
 * unknown ones (RFC 9113, section 6). Each that a peer can send for nothing is paid for from a flood budget.
 */
import type { Http2Connection } from './connection.ts';
import { Http2Counter } from './counters.ts';
import { ErrorCode, Flag, FrameType, MAX_STREAM_ID, readUint31, readUint32 } from './frames.ts';
import { Flood } from './limits.ts';

/** The PING that follows our first GOAWAY: its answer tells that the peer has read that. */
export const DRAIN_PING: Buffer = Buffer.from('drain...', 'latin1');

const PING_BYTES = 8;
const PRIORITY_BYTES = 5;

/** Handles any frame but DATA, HEADERS and CONTINUATION; its payload is `buffer[start..end)`. */
export function controlFrame(
  connection: Http2Connection,
  type: number,
  flags: number,
  streamId: number,
  buffer: Buffer,
  start: number,
  end: number,
): void {
  switch (type) {
    case FrameType.WINDOW_UPDATE:
      windowUpdateFrame(connection, streamId, buffer, start, end);
      return;
    case FrameType.RST_STREAM:
      resetFrame(connection, streamId, buffer, start, end);
      return;
    case FrameType.SETTINGS:
      settingsFrame(connection, flags, streamId, buffer, start, end);
      return;
    case FrameType.PING:
      pingFrame(connection, flags, streamId, buffer, start, end);
      return;
    case FrameType.GOAWAY:
      goawayFrame(connection, streamId, buffer, start, end);
      return;
    case FrameType.PRIORITY:
      priorityFrame(connection, streamId, end - start);
      return;
    case FrameType.PUSH_PROMISE:
      connection.fail(ErrorCode.PROTOCOL_ERROR, 'PUSH_PROMISE although push is off');
      return;
    default:
      connection.spend(Flood.UNKNOWN_FRAME);
  }
}

function windowUpdateFrame(
  connection: Http2Connection,
  streamId: number,
  buffer: Buffer,
  start: number,
  end: number,
): void {
  if (end - start !== 4) {
    connection.fail(ErrorCode.FRAME_SIZE_ERROR, 'WINDOW_UPDATE must have 4 bytes');
    return;
  }
  if (!connection.spend(Flood.WINDOW_UPDATE)) return;
  const increment = readUint31(buffer, start);
  if (streamId === 0) {
    if (increment === 0) connection.fail(ErrorCode.PROTOCOL_ERROR, 'WINDOW_UPDATE of 0');
    else if (!connection.send.widen(increment)) {
      connection.fail(ErrorCode.FLOW_CONTROL_ERROR, 'connection window overflow');
    }
    return;
  }
  const stream = connection.table.find(streamId);
  if (stream === null) {
    if (connection.ids.isIdle(streamId)) connection.fail(ErrorCode.PROTOCOL_ERROR, 'WINDOW_UPDATE on an idle stream');
  } else if (increment === 0) {
    connection.failStream(stream, ErrorCode.PROTOCOL_ERROR);
  } else if (!connection.send.widenStream(stream, increment)) {
    connection.failStream(stream, ErrorCode.FLOW_CONTROL_ERROR);
  }
}

function resetFrame(connection: Http2Connection, streamId: number, buffer: Buffer, start: number, end: number): void {
  if (end - start !== 4) {
    connection.fail(ErrorCode.FRAME_SIZE_ERROR, 'RST_STREAM must have 4 bytes');
    return;
  }
  if (streamId === 0 || connection.ids.isIdle(streamId)) {
    connection.fail(ErrorCode.PROTOCOL_ERROR, 'RST_STREAM on an idle stream');
    return;
  }
  const stream = connection.table.find(streamId);
  if (stream !== null) {
    const errorCode = readUint32(buffer, start);
    stream.refused = connection.client && errorCode === ErrorCode.REFUSED_STREAM;
    connection.counters[Http2Counter.STREAMS_RESET_BY_PEER]!++;
    connection.kill(stream);
    stream.handler.onReset(stream, errorCode);
  }
  if (!connection.client) connection.spend(Flood.RESET);
}

function settingsFrame(
  connection: Http2Connection,
  flags: number,
  streamId: number,
  buffer: Buffer,
  start: number,
  end: number,
): void {
  if (streamId !== 0) {
    connection.fail(ErrorCode.PROTOCOL_ERROR, 'SETTINGS on a stream');
    return;
  }
  if ((flags & Flag.ACK) !== 0) {
    if (end !== start) connection.fail(ErrorCode.FRAME_SIZE_ERROR, 'SETTINGS acknowledgement with content');
    else if (connection.spend(Flood.SETTINGS)) connection.receive.settingsAcknowledged();
    return;
  }
  if (!connection.spend(Flood.SETTINGS)) return;
  const { peer } = connection;
  const windowBefore = peer.initialWindowSize;
  const error = peer.apply(buffer, start, end, connection.client, connection.encoder);
  if (error !== 0) {
    connection.fail(error, 'a setting has an illegal value');
    return;
  }
  connection.settingsSeen = true;
  connection.writer.settingsAck();
  if (peer.initialWindowSize !== windowBefore && !connection.send.shift(peer.initialWindowSize - windowBefore)) {
    connection.fail(ErrorCode.FLOW_CONTROL_ERROR, 'stream window overflow');
    return;
  }
  if (connection.client && !connection.dead) connection.owner.onCapacity(connection);
}

function pingFrame(
  connection: Http2Connection,
  flags: number,
  streamId: number,
  buffer: Buffer,
  start: number,
  end: number,
): void {
  if (streamId !== 0 || end - start !== PING_BYTES) {
    connection.fail(streamId !== 0 ? ErrorCode.PROTOCOL_ERROR : ErrorCode.FRAME_SIZE_ERROR, 'malformed PING');
    return;
  }
  if (!connection.spend(Flood.PING)) return;
  if ((flags & Flag.ACK) === 0) connection.writer.ping(buffer, start, true);
  else if (!connection.client && connection.drainPingSent && DRAIN_PING.compare(buffer, start, end) === 0) {
    finishDrain(connection);
  }
}

/** The peer has read our first GOAWAY: what it opened by now is served, the rest was never sent here. */
function finishDrain(connection: Http2Connection): void {
  const { ids } = connection;
  if (ids.refuseAbove !== MAX_STREAM_ID) return;
  ids.refuseAbove = ids.lastProcessed;
  connection.writer.goaway(ids.lastProcessed, ErrorCode.NO_ERROR, '');
  connection.closeIfDrained();
}

function goawayFrame(connection: Http2Connection, streamId: number, buffer: Buffer, start: number, end: number): void {
  if (streamId !== 0 || end - start < 8) {
    connection.fail(streamId !== 0 ? ErrorCode.PROTOCOL_ERROR : ErrorCode.FRAME_SIZE_ERROR, 'malformed GOAWAY');
    return;
  }
  if (!connection.spend(Flood.GOAWAY)) return;
  const lastStreamId = readUint31(buffer, start);
  connection.draining = true;
  connection.counters[Http2Counter.GOAWAYS_RECEIVED]!++;
  connection.owner.onDraining(connection);
  if (connection.client) refuseAbove(connection, lastStreamId);
  connection.closeIfDrained();
}

/** Client: streams above it were not processed and never will be: they may be sent elsewhere. */
function refuseAbove(connection: Http2Connection, lastStreamId: number): void {
  for (const stream of connection.table.list()) {
    if (stream.id <= lastStreamId || stream.closed) continue;
    stream.refused = true;
    connection.kill(stream);
    stream.handler.onReset(stream, ErrorCode.REFUSED_STREAM);
  }
}

/** Priorities are obsolete (section 5.3.2): the frame is checked and ignored. */
function priorityFrame(connection: Http2Connection, streamId: number, length: number): void {
  if (streamId === 0) {
    connection.fail(ErrorCode.PROTOCOL_ERROR, 'PRIORITY on stream 0');
    return;
  }
  if (!connection.spend(Flood.PRIORITY) || length === PRIORITY_BYTES) return;
  const stream = connection.table.find(streamId);
  if (stream !== null) connection.failStream(stream, ErrorCode.FRAME_SIZE_ERROR);
  else if (connection.ids.isIdle(streamId)) connection.fail(ErrorCode.FRAME_SIZE_ERROR, 'PRIORITY must have 5 bytes');
  else connection.writer.reset(streamId, ErrorCode.FRAME_SIZE_ERROR);
}
