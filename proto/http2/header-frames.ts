/**
 * HEADERS and CONTINUATION (RFC 9113, section 6.2 and 6.10): from their frames to a stream's event. A complete block is
 * decoded whatever becomes of its stream, because the HPACK table must follow the peer's.
 */
import type { Http2Connection } from './connection.ts';
import { Http2Counter } from './counters.ts';
import { ErrorCode, Flag } from './frames.ts';
import { HEADER_LIST_TOO_LARGE, HeaderList } from './header-list.ts';
import { isInformational, isRequest, isResponse, isTrailers, statusOf } from './header-validation.ts';
import { Flood } from './limits.ts';
import { Http2Stream, type StreamHandler } from './stream.ts';

const PRIORITY_BYTES = 5;
const STATUS_431 = HeaderList.of([':status', '431']);

export function headersFrame(
  connection: Http2Connection,
  flags: number,
  streamId: number,
  buffer: Buffer,
  start: number,
  end: number,
): void {
  if (streamId === 0) {
    connection.fail(ErrorCode.PROTOCOL_ERROR, 'HEADERS on stream 0');
    return;
  }
  if ((flags & (Flag.PADDED | Flag.PRIORITY)) !== 0) {
    let padding = 0;
    if ((flags & Flag.PADDED) !== 0) padding = end > start ? buffer[start++]! : -1;
    if ((flags & Flag.PRIORITY) !== 0) start += PRIORITY_BYTES;
    if (padding < 0 || start > end) {
      connection.fail(ErrorCode.FRAME_SIZE_ERROR, 'HEADERS shorter than its flags say');
      return;
    }
    end -= padding;
    if (start > end) {
      connection.fail(ErrorCode.PROTOCOL_ERROR, 'HEADERS padding longer than its frame');
      return;
    }
  }
  const endStream = (flags & Flag.END_STREAM) !== 0;
  if ((flags & Flag.END_HEADERS) !== 0) headerBlock(connection, streamId, endStream, buffer, start, end);
  else if (!connection.block.begin(streamId, endStream, buffer, start, end)) failFlood(connection);
}

export function continuationFrame(
  connection: Http2Connection,
  flags: number,
  buffer: Buffer,
  start: number,
  end: number,
): void {
  const { block } = connection;
  if (block.streamId === 0) {
    connection.fail(ErrorCode.PROTOCOL_ERROR, 'CONTINUATION without HEADERS');
    return;
  }
  if (!block.add(buffer, start, end)) {
    failFlood(connection);
    return;
  }
  if ((flags & Flag.END_HEADERS) === 0) return;
  const { streamId } = block;
  const bytes = block.finish();
  headerBlock(connection, streamId, block.endStream, bytes, 0, bytes.length);
}

function failFlood(connection: Http2Connection): void {
  connection.counters[Http2Counter.CONTINUATION_FLOODS]!++;
  connection.fail(ErrorCode.ENHANCE_YOUR_CALM, 'header block too long');
}

function headerBlock(
  connection: Http2Connection,
  streamId: number,
  endStream: boolean,
  buffer: Buffer,
  start: number,
  end: number,
): void {
  let list: HeaderList;
  try {
    list = connection.decoder.decode(buffer, start, end);
  } catch (error) {
    connection.fail(ErrorCode.COMPRESSION_ERROR, (error as Error).message);
    return;
  }
  let stream = connection.table.find(streamId);
  if (stream === null) {
    if (connection.client) connection.judgeAbsent(streamId, 'HEADERS');
    else stream = admitStream(connection, streamId);
    if (stream === null) return;
  } else if (stream.remoteEnded) {
    connection.failStream(stream, ErrorCode.STREAM_CLOSED);
    return;
  }
  if (list === HEADER_LIST_TOO_LARGE) refuseHeaderList(connection, stream);
  else if (stream.headReceived) deliverTrailers(connection, stream, list, endStream);
  else if (connection.client) deliverResponse(connection, stream, list, endStream);
  else deliverRequest(connection, stream, list, endStream);
}

function deliverRequest(connection: Http2Connection, stream: Http2Stream, list: HeaderList, endStream: boolean): void {
  if (!isRequest(list) || (endStream && list.contentLength > 0)) {
    connection.failStream(stream, ErrorCode.PROTOCOL_ERROR);
    return;
  }
  stream.contentLeft = list.contentLength;
  stream.headReceived = true;
  stream.remoteEnded = endStream;
  stream.handler = connection.owner.acceptStream(stream);
  if (stream.dead) return; // the owner would not have it
  stream.handler.onHeaders(stream, list, endStream);
  if (endStream) connection.retireIfEnded(stream);
}

function deliverResponse(connection: Http2Connection, stream: Http2Stream, list: HeaderList, endStream: boolean): void {
  if (!isResponse(list)) {
    connection.failStream(stream, ErrorCode.PROTOCOL_ERROR);
    return;
  }
  if (isInformational(list)) {
    // HTTP/2 has no 101 (section 8.6), and an informational head never ends a stream.
    if (endStream || statusOf(list) === '101') connection.failStream(stream, ErrorCode.PROTOCOL_ERROR);
    else if (connection.spend(Flood.INFORMATIONAL)) stream.handler.onHeaders(stream, list, false);
    return;
  }
  // Answers to HEAD and 204 and 304 have no content, whatever length they declare (RFC 9110, section 8.6).
  const status = statusOf(list);
  const bodyless = stream.bodyless || status === '304' || status === '204';
  if (endStream && !bodyless && list.contentLength > 0) {
    connection.failStream(stream, ErrorCode.PROTOCOL_ERROR);
    return;
  }
  stream.contentLeft = bodyless ? 0 : list.contentLength;
  stream.headReceived = true;
  stream.remoteEnded = endStream;
  stream.handler.onHeaders(stream, list, endStream);
  if (endStream) connection.retireIfEnded(stream);
}

function deliverTrailers(connection: Http2Connection, stream: Http2Stream, list: HeaderList, endStream: boolean): void {
  if (!endStream || !isTrailers(list) || stream.contentLeft > 0) {
    connection.failStream(stream, ErrorCode.PROTOCOL_ERROR);
    return;
  }
  stream.remoteEnded = true;
  stream.handler.onHeaders(stream, list, true);
  connection.retireIfEnded(stream);
}

/** Server: a new request's stream, or null when it is refused, ignored or an error. */
function admitStream(connection: Http2Connection, streamId: number): Http2Stream | null {
  const { ids, limits, counters, table } = connection;
  if ((streamId & 1) === 0) {
    connection.fail(ErrorCode.PROTOCOL_ERROR, 'a client used an even stream identifier');
    return null;
  }
  if (streamId <= ids.lastSeen) {
    connection.judgeAbsent(streamId, 'HEADERS');
    return null;
  }
  ids.lastSeen = streamId;
  if (streamId > ids.refuseAbove) return null;
  ids.lastProcessed = streamId;
  if (table.size >= limits.maxConcurrentStreams) {
    counters[Http2Counter.STREAMS_REFUSED]!++;
    connection.writer.reset(streamId, ErrorCode.REFUSED_STREAM);
    ids.noteReset(streamId);
    connection.spend(Flood.RESET);
    return null;
  }
  const window = connection.peer.initialWindowSize;
  const stream = new Http2Stream(connection, streamId, NOBODY, window, connection.receive.initialWindow);
  table.add(stream);
  counters[Http2Counter.STREAMS_OPENED]!++;
  if (ids.used >= limits.maxStreamsPerConnection) connection.drain();
  return stream;
}

/** The section was too large to keep: a request is told so, anything else is reset. */
function refuseHeaderList(connection: Http2Connection, stream: Http2Stream): void {
  connection.counters[Http2Counter.HEADER_LISTS_TOO_LARGE]!++;
  if (connection.client || stream.headReceived) {
    connection.failStream(stream, ErrorCode.ENHANCE_YOUR_CALM);
    return;
  }
  connection.writeHeaders(stream, STATUS_431, true);
  connection.failStream(stream, ErrorCode.NO_ERROR);
}

/** Handler of a stream whose request head has not been accepted yet. */
const NOBODY: StreamHandler = {
  onHeaders(): void {},
  onData(): void {},
  onSent(): void {},
  onReset(): void {},
};
