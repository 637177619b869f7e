/**
 * DATA (RFC 9113, section 6.1), which comes piece by piece: its frame is charged to the windows when it begins, its
 * bytes are delivered as they come, and those that nobody will take are credited as they come.
 */
import type { Http2Connection } from './connection.ts';
import { ErrorCode } from './frames.ts';
import { Flood } from './limits.ts';
import type { Http2Stream } from './stream.ts';

/** A DATA frame begins. Returns the stream its content is for, or null when that is to be dropped. */
export function beginData(
  connection: Http2Connection,
  streamId: number,
  frameBytes: number,
  padBytes: number,
): Http2Stream | null {
  const { receive } = connection;
  receive.window -= frameBytes;
  if (receive.window < 0) {
    connection.fail(ErrorCode.FLOW_CONTROL_ERROR, 'more DATA than the connection window allows');
    return null;
  }
  if (!connection.settingsSeen || connection.block.streamId !== 0) {
    connection.fail(ErrorCode.PROTOCOL_ERROR, 'DATA where another frame was due');
    return null;
  }
  const stream = connection.table.find(streamId);
  if (stream === null) {
    if (padBytes > 0) receive.credit(padBytes);
    connection.judgeAbsent(streamId, 'DATA');
    return null;
  }
  stream.receiveWindow -= frameBytes;
  const error = dataError(stream, frameBytes - padBytes);
  if (error !== ErrorCode.NO_ERROR) {
    if (padBytes > 0) receive.credit(padBytes);
    connection.failStream(stream, error);
    return null;
  }
  if (padBytes > 0) receive.creditStream(stream, padBytes);
  if (frameBytes > padBytes) connection.flood.frames++;
  return stream;
}

/** A piece of the frame's content, for the stream that `beginData` found; `endStream` with the last one. */
export function takeData(
  connection: Http2Connection,
  stream: Http2Stream | null,
  buffer: Buffer,
  start: number,
  end: number,
  endStream: boolean,
): void {
  if (start === end && !endStream) {
    connection.spend(Flood.EMPTY_DATA);
    return;
  }
  if (stream === null || stream.dead) {
    connection.receive.credit(end - start);
    return;
  }
  stream.outstanding += end - start;
  stream.bodyLooks = 0;
  if (endStream) {
    if (stream.contentLeft > 0) {
      connection.failStream(stream, ErrorCode.PROTOCOL_ERROR);
      return;
    }
    stream.remoteEnded = true;
  }
  stream.handler.onData(stream, buffer, start, end, endStream);
  if (endStream) connection.retireIfEnded(stream);
}

/** What is wrong with a DATA frame of an open stream whose window has been charged with it; notes its content. */
function dataError(stream: Http2Stream, contentBytes: number): number {
  if (stream.remoteEnded) return ErrorCode.STREAM_CLOSED;
  if (!stream.headReceived) return ErrorCode.PROTOCOL_ERROR;
  if (stream.receiveWindow < 0) return ErrorCode.FLOW_CONTROL_ERROR;
  if (stream.contentLeft >= 0) {
    stream.contentLeft -= contentBytes;
    if (stream.contentLeft < 0) return ErrorCode.PROTOCOL_ERROR;
  }
  return ErrorCode.NO_ERROR;
}
