/** SETTINGS (RFC 9113, section 6.5): the peer's values as we apply them, and the frame with ours. */
import {
  DEFAULT_MAX_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  ErrorCode,
  readUint32,
  Setting,
  writeUint32,
} from './frames.ts';
import type { HpackEncoder } from './hpack/encoder.ts';
import type { Http2Limits } from './limits.ts';

const SETTING_BYTES = 6;
/** Size of the peer's compression table: the protocol's initial value, so it needs no announcement. */
export const OWN_TABLE_BYTES = 4096;

/** The peer's settings in force, with the protocol's initial values. */
export class PeerSettings {
  headerTableSize = 4096;
  maxConcurrentStreams = 0xffffffff;
  initialWindowSize = DEFAULT_WINDOW_BYTES;
  maxFrameSize = DEFAULT_MAX_FRAME_BYTES;
  maxHeaderListSize = 0xffffffff;

  /**
   * Applies one SETTINGS payload in order. Returns 0, or the error code that ends the connection.
   * `fromServer`: a server must not switch push on. The encoder is told each header table size, because a size that
   * was passed through evicts entries too (RFC 7541, section 4.2).
   */
  apply(buffer: Uint8Array, start: number, end: number, fromServer: boolean, encoder: HpackEncoder): number {
    if ((end - start) % SETTING_BYTES !== 0) return ErrorCode.FRAME_SIZE_ERROR;
    for (let at = start; at < end; at += SETTING_BYTES) {
      const id = (buffer[at]! << 8) | buffer[at + 1]!;
      const value = readUint32(buffer, at + 2);
      const error = this.set(id, value, fromServer);
      if (error !== 0) return error;
      if (id === Setting.HEADER_TABLE_SIZE) encoder.setPeerMaxTableSize(value);
    }
    return 0;
  }

  private set(id: number, value: number, fromServer: boolean): number {
    switch (id) {
      case Setting.HEADER_TABLE_SIZE:
        this.headerTableSize = value;
        return 0;
      case Setting.ENABLE_PUSH:
        return value > 1 || (fromServer && value === 1) ? ErrorCode.PROTOCOL_ERROR : 0;
      case Setting.MAX_CONCURRENT_STREAMS:
        this.maxConcurrentStreams = value;
        return 0;
      case Setting.INITIAL_WINDOW_SIZE:
        if (value > 0x7fffffff) return ErrorCode.FLOW_CONTROL_ERROR;
        this.initialWindowSize = value;
        return 0;
      case Setting.MAX_FRAME_SIZE:
        if (value < DEFAULT_MAX_FRAME_BYTES || value > 0xffffff) return ErrorCode.PROTOCOL_ERROR;
        this.maxFrameSize = value;
        return 0;
      case Setting.MAX_HEADER_LIST_SIZE:
        this.maxHeaderListSize = value;
        return 0;
      default:
        return 0; // unknown settings are ignored
    }
  }
}

/** The payload of our SETTINGS frame. A client also switches push off. */
export function settingsPayload(limits: Http2Limits, client: boolean): Buffer {
  const pairs: [number, number][] = [
    [Setting.INITIAL_WINDOW_SIZE, limits.streamWindowBytes],
    [Setting.MAX_HEADER_LIST_SIZE, limits.maxHeaderListBytes],
  ];
  if (client) pairs.push([Setting.ENABLE_PUSH, 0]);
  else pairs.push([Setting.MAX_CONCURRENT_STREAMS, limits.maxConcurrentStreams]);
  const payload = Buffer.alloc(pairs.length * SETTING_BYTES);
  for (const [index, [id, value]] of pairs.entries()) {
    payload.writeUInt16BE(id, index * SETTING_BYTES);
    writeUint32(payload, index * SETTING_BYTES + 2, value);
  }
  return payload;
}
