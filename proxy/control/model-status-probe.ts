/**
 * Asks a worker whether it has a model loaded: `tensorflow.serving.ModelService/GetModelStatus`, for the
 * control thread's readiness. A worker that accepts connections may still be loading, or may have lost the version that
 * this proxy calls; only what it clearly says about that counts. No connection is "unreachable"; an answer that says
 * nothing about the model (no such service, another protocol, silence) is "unknown", and its port is taken for an answer.
 */
import { connect, type Socket } from 'node:net';
import { GrpcStatus } from '../../base/grpc-status.ts';
import { PeerTimeout } from '../../base/peer-timeout.ts';
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import { connectHttp2 } from '../../proto/http2/client.ts';
import type { ConnectionOwner, Http2Connection } from '../../proto/http2/connection.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../../proto/http2/stream.ts';
import { WireReader, WireType } from '../../proto/tensor/wire.ts';
import type { EndpointAddress } from '../config/snapshot.ts';

/** `loading` stands for every state before AVAILABLE and after it. */
export type ModelStatus = 'available' | 'loading' | 'missing' | 'unknown' | 'unreachable';

const PATH = '/tensorflow.serving.ModelService/GetModelStatus';
const AVAILABLE = 30;
/** A status takes some bytes for each version; this is thousands of them. */
const MAX_ANSWER_BYTES = 256 * 1024;

/** Whether an endpoint accepts connections, within `timeoutMs`. */
export function accepts(address: EndpointAddress, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = open(address);
    const settle = (reached: boolean) => {
      timer.clear();
      socket.destroy();
      resolve(reached);
    };
    const timer = new PeerTimeout(() => settle(false), timeoutMs);
    socket.once('connect', () => settle(true));
    socket.once('error', () => settle(false));
  });
}

/** The state of `model`, of the version written or, with '', of the best one, at a worker's address. */
export function askModelStatus(
  address: EndpointAddress,
  model: string,
  version: string,
  timeoutMs: number,
): Promise<ModelStatus> {
  return new Promise((resolve) => {
    const call = new StatusCall(resolve, timeoutMs);
    const connection = connectHttp2(address, { owner: call, onConnected: () => (call.connected = true) });
    call.connection = connection;
    const stream = connection.openStream(call, REQUEST_HEAD, false);
    const request = statusRequest(model, version);
    stream?.sendData(request, 0, request.length, true);
  });
}

const REQUEST_HEAD = HeaderList.of(
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', PATH],
  [':authority', 'worker'],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
);

/** One question over a connection of its own; settles once. */
class StatusCall implements ConnectionOwner, StreamHandler {
  connection: Http2Connection | null = null;
  connected = false;
  private readonly resolve: (status: ModelStatus) => void;
  private readonly timer: PeerTimeout;
  private readonly chunks: Buffer[] = [];
  private bytes = 0;
  private grpcStatus: number | null = null;

  constructor(resolve: (status: ModelStatus) => void, timeoutMs: number) {
    this.resolve = resolve;
    this.timer = new PeerTimeout(() => this.giveUp(), timeoutMs);
  }

  onHeaders(_stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    const status = headers.get('grpc-status');
    if (status !== undefined) this.grpcStatus = Number(status);
    if (endStream) this.answered();
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    stream.consume(end - start);
    this.bytes += end - start;
    if (this.bytes > MAX_ANSWER_BYTES) {
      this.settle('unknown');
      return;
    }
    this.chunks.push(Buffer.from(buffer.subarray(start, end)));
    if (endStream) this.answered();
  }

  onSent(): void {}

  onReset(): void {
    this.giveUp();
  }

  onClosed(): void {
    this.giveUp();
  }

  onDraining(): void {}

  onCapacity(): void {}

  acceptStream(): StreamHandler {
    throw new Error('a client connection accepts no streams');
  }

  private answered(): void {
    this.settle(verdictOf(this.grpcStatus, Buffer.concat(this.chunks)));
  }

  private giveUp(): void {
    this.settle(this.connected ? 'unknown' : 'unreachable');
  }

  private settle(status: ModelStatus): void {
    this.timer.clear();
    this.resolve(status);
    this.connection?.close();
    this.connection?.io.destroy();
  }
}

function open(address: EndpointAddress): Socket {
  return connect(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port });
}

/** GetModelStatusRequest { model_spec { name = 1, version = 2 { value = 1 } } } as a gRPC message. */
export function statusRequest(model: string, version: string): Buffer {
  const parts = [lengthDelimited(1, Buffer.from(model))];
  if (version !== '') parts.push(lengthDelimited(2, Buffer.from([1 << 3, ...varint(BigInt(version))])));
  const message = lengthDelimited(1, Buffer.concat(parts));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function lengthDelimited(field: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | WireType.bytes, ...varint(BigInt(bytes.length))]), bytes]);
}

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  for (; value >= 0x80n; value >>= 7n) bytes.push(Number(value & 0x7fn) | 0x80);
  return [...bytes, Number(value)];
}

/** What an answer says. Exported for its test. */
export function verdictOf(grpcStatus: number | null, answer: Buffer): ModelStatus {
  if (grpcStatus === GrpcStatus.NOT_FOUND) return 'missing';
  if (grpcStatus !== GrpcStatus.OK || answer.length < PREFIX_BYTES || answer[0] !== 0) return 'unknown';
  try {
    const states = statesIn(answer);
    if (states.length === 0) return 'unknown';
    return states.includes(AVAILABLE) ? 'available' : 'loading';
  } catch {
    return 'unknown';
  }
}

/** `state` (2) of each `model_version_status` (1). Throws for what is no such message. */
function statesIn(answer: Buffer): number[] {
  const states: number[] = [];
  const outer = new WireReader();
  const inner = new WireReader();
  outer.reset(answer, PREFIX_BYTES, answer.length, 'GetModelStatusResponse');
  while (outer.pos < outer.end) {
    const tag = outer.readTag();
    if (tag !== ((1 << 3) | WireType.bytes)) {
      outer.skip(tag);
      continue;
    }
    const length = outer.readVarint();
    inner.reset(answer, outer.pos, outer.pos + length, 'ModelVersionStatus');
    while (inner.pos < inner.end) {
      const field = inner.readTag();
      if (field === ((2 << 3) | WireType.varint)) states.push(inner.readVarint());
      else inner.skip(field);
    }
    outer.pos += length;
  }
  return states;
}
