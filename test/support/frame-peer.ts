/**
 * An HTTP/2 peer that speaks frame by frame over a raw socket and does nothing by itself: a test says every frame it
 * sends and sees every frame that comes. It writes header blocks as plain literals of its own, so that nothing of ours
 * checks itself; blocks that come are read with our decoder, which has been proved against another codec.
 */
import { once } from 'node:events';
import net from 'node:net';
import { HpackDecoder } from '../../proto/http2/hpack/decoder.ts';
import type { ConnectAddress } from '../../proto/io/adopt.ts';

export const Type = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const END_STREAM = 0x1;
export const ACK = 0x1;
export const END_HEADERS = 0x4;
export const PADDED = 0x8;
export const PRIORITY = 0x20;

export const PREFACE: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
const WAIT_MS = 10_000;

export type Fields = readonly (readonly [string, string])[];

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
  /** Of a HEADERS frame that is complete in itself. */
  readonly fields: [string, string][] | null;
}

export const REQUEST: Fields = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/a.Service/Call'],
  [':authority', 'model.test'],
];
export const RESPONSE: Fields = [[':status', '200']];

export function frame(type: number, flags: number, streamId: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** A block of literals without indexing, or never-indexed ones. */
export function block(fields: Fields, never = false): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of fields) parts.push(Buffer.from([never ? 0x10 : 0]), text(name), text(value));
  return Buffer.concat(parts);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const prefix = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>>= 7) prefix.push((rest & 127) | 128);
  prefix.push(rest);
  return Buffer.concat([Buffer.from(prefix), bytes]);
}

export function headers(streamId: number, fields: Fields, flags: number = END_HEADERS): Buffer {
  return frame(Type.HEADERS, flags, streamId, block(fields));
}

export function data(streamId: number, bytes: number | Uint8Array, flags = 0): Buffer {
  return frame(Type.DATA, flags, streamId, typeof bytes === 'number' ? Buffer.alloc(bytes, 0x61) : bytes);
}

export function settings(...pairs: [number, number][]): Buffer {
  const payload = Buffer.alloc(pairs.length * 6);
  for (const [i, [id, value]] of pairs.entries()) {
    payload.writeUInt16BE(id, i * 6);
    payload.writeUInt32BE(value, i * 6 + 2);
  }
  return frame(Type.SETTINGS, 0, 0, payload);
}

export function settingsAck(): Buffer {
  return frame(Type.SETTINGS, ACK, 0);
}

export function ping(word = 'pingping', flags = 0): Buffer {
  return frame(Type.PING, flags, 0, Buffer.from(word, 'latin1'));
}

export function word(type: number, streamId: number, value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return frame(type, 0, streamId, payload);
}

export function windowUpdate(streamId: number, increment: number): Buffer {
  return word(Type.WINDOW_UPDATE, streamId, increment);
}

export function rst(streamId: number, errorCode: number): Buffer {
  return word(Type.RST_STREAM, streamId, errorCode);
}

export function goaway(lastStreamId: number, errorCode: number): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeUInt32BE(lastStreamId, 0);
  payload.writeUInt32BE(errorCode, 4);
  return frame(Type.GOAWAY, 0, 0, payload);
}

export class FramePeer {
  readonly socket: net.Socket;
  /** Everything that came and was not asked for yet, in order. */
  readonly inbox: Frame[] = [];
  /** Everything that came. */
  readonly seen: Frame[] = [];
  ended = false;
  private received: Buffer = Buffer.alloc(0);
  private prefaceLeft: number;
  private readonly decoder = new HpackDecoder({ maxTableSize: 4096, maxListSize: 1 << 20, maxFields: 10_000 });
  private waiters: (() => void)[] = [];

  constructor(socket: net.Socket, isServer: boolean) {
    this.socket = socket;
    socket.setNoDelay(true);
    this.prefaceLeft = isServer ? PREFACE.length : 0;
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.on('error', () => {});
    const end = (): void => {
      this.ended = true;
      this.wake();
    };
    socket.on('end', end);
    socket.on('close', end);
  }

  /** A client that has said hello, with these settings, and been answered. */
  static async connect(address: ConnectAddress, ...pairs: [number, number][]): Promise<FramePeer> {
    const peer = await FramePeer.dial(address);
    peer.send(PREFACE, settings(...pairs));
    await peer.next(Type.SETTINGS);
    peer.send(settingsAck());
    await peer.next(Type.SETTINGS, (f) => (f.flags & ACK) !== 0);
    return peer;
  }

  /** A client that has said nothing. */
  static async dial(address: ConnectAddress): Promise<FramePeer> {
    const socket = net.connect(address.kind === 'unix' ? { path: address.path } : address);
    await once(socket, 'connect');
    return new FramePeer(socket, false);
  }

  send(...parts: Uint8Array[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  /** The next frame of a type that fits; others before it stay in the inbox. */
  async next(type: number, fits: (frame: Frame) => boolean = () => true): Promise<Frame> {
    const deadline = Date.now() + WAIT_MS;
    for (;;) {
      const at = this.inbox.findIndex((f) => f.type === type && fits(f));
      if (at >= 0) return this.inbox.splice(at, 1)[0]!;
      if (this.ended) throw new Error(`connection ended before a frame of type ${type}; got ${this.describe()}`);
      await this.change(deadline - Date.now(), `a frame of type ${type}`);
    }
  }

  /** The error code of the GOAWAY that ends the connection. */
  async goaway(): Promise<number> {
    return (await this.next(Type.GOAWAY)).payload.readUInt32BE(4);
  }

  /** The error code of the RST_STREAM for a stream. */
  async reset(streamId: number): Promise<number> {
    return (await this.next(Type.RST_STREAM, (f) => f.streamId === streamId)).payload.readUInt32BE(0);
  }

  async response(streamId: number): Promise<[string, string][]> {
    return (await this.next(Type.HEADERS, (f) => f.streamId === streamId)).fields!;
  }

  /** Everything sent so far has been handled by the other side: a PING came back. */
  async settle(word = 'settled!'): Promise<void> {
    this.send(ping(word));
    await this.next(Type.PING, (f) => (f.flags & ACK) !== 0 && f.payload.toString('latin1') === word);
  }

  /** The other side has closed the connection. */
  async closed(): Promise<void> {
    const deadline = Date.now() + WAIT_MS;
    while (!this.ended) await this.change(deadline - Date.now(), 'the end');
  }

  destroy(): void {
    this.socket.destroy();
  }

  private take(chunk: Buffer): void {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
    if (this.prefaceLeft > 0) {
      const size = Math.min(this.prefaceLeft, this.received.length);
      this.received = this.received.subarray(size);
      this.prefaceLeft -= size;
    }
    while (this.received.length >= 9) {
      const end = 9 + this.received.readUIntBE(0, 3);
      if (this.received.length < end) break;
      this.keep(this.received.subarray(0, end));
      this.received = this.received.subarray(end);
    }
    this.wake();
  }

  private keep(bytes: Buffer): void {
    const payload = Buffer.from(bytes.subarray(9));
    const type = bytes[3]!;
    const flags = bytes[4]!;
    let fields: [string, string][] | null = null;
    if (type === Type.HEADERS && (flags & END_HEADERS) !== 0) {
      const list = this.decoder.decode(payload, 0, payload.length);
      fields = list.names.map((name, i) => [name, list.values[i]!]);
    }
    const read: Frame = { type, flags, streamId: bytes.readUInt32BE(5), payload, fields };
    this.inbox.push(read);
    this.seen.push(read);
  }

  private async change(ms: number, what: string): Promise<void> {
    if (ms <= 0) throw new Error(`waited in vain for ${what}; got ${this.describe()}`);
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.waiters.push(resolve);
      timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
  }

  private wake(): void {
    const { waiters } = this;
    this.waiters = [];
    for (const waiter of waiters) waiter();
  }

  private describe(): string {
    return this.seen.map((f) => `${f.type}/${f.flags}/${f.streamId}/${f.payload.length}`).join(' ');
  }
}

/** A listening server of raw peers. */
export class FrameServer {
  readonly address: ConnectAddress;
  private readonly server: net.Server;
  private readonly arrived: FramePeer[] = [];
  private readonly waiters: ((peer: FramePeer) => void)[] = [];
  private readonly all = new Set<FramePeer>();

  private constructor(server: net.Server, address: ConnectAddress) {
    this.server = server;
    this.address = address;
    server.on('connection', (socket: net.Socket) => {
      const peer = new FramePeer(socket, true);
      this.all.add(peer);
      const waiter = this.waiters.shift();
      if (waiter === undefined) this.arrived.push(peer);
      else waiter(peer);
    });
  }

  static async listen(path?: string): Promise<FrameServer> {
    const server = net.createServer();
    if (path === undefined) server.listen(0, '127.0.0.1');
    else server.listen(path);
    await once(server, 'listening');
    const bound = server.address() as net.AddressInfo | string;
    if (typeof bound === 'string') return new FrameServer(server, { kind: 'unix', path: bound });
    return new FrameServer(server, { kind: 'tcp', host: '127.0.0.1', port: bound.port });
  }

  /** The next client, not yet greeted. */
  accept(): Promise<FramePeer> {
    const peer = this.arrived.shift();
    if (peer !== undefined) return Promise.resolve(peer);
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  /** The next client, greeted with these settings. */
  async greet(...pairs: [number, number][]): Promise<FramePeer> {
    const peer = await this.accept();
    peer.send(settings(...pairs), settingsAck());
    await peer.next(Type.SETTINGS, (f) => (f.flags & ACK) !== 0);
    return peer;
  }

  close(): void {
    for (const peer of this.all) peer.destroy();
    this.server.close();
  }
}
