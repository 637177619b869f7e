/** Our engine's two roles, put up for tests: a server whose calls are recorded, and client connections. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { connectHttp2 } from '../../proto/http2/client.ts';
import type { ConnectionOwner, Http2Connection } from '../../proto/http2/connection.ts';
import { HTTP2_COUNTER_SLOTS } from '../../proto/http2/counters.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { DEFAULT_HTTP2_LIMITS, type Http2Limits } from '../../proto/http2/limits.ts';
import { Http2Server } from '../../proto/http2/server.ts';
import type { Http2Stream, StreamHandler } from '../../proto/http2/stream.ts';
import type { ConnectAddress } from '../../proto/io/adopt.ts';

export const OK: HeaderList = HeaderList.of([':status', '200'], ['content-type', 'application/grpc']);
export const TRAILERS: HeaderList = HeaderList.of(['grpc-status', '0']);
export const CALL: HeaderList = HeaderList.of(
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/a.Service/Call'],
  [':authority', 'model.test'],
  ['te', 'trailers'],
);

/** Records what happens to a stream, and does what `act` says at each event. */
export class RecordedCall implements StreamHandler {
  stream: Http2Stream | null = null;
  readonly events: string[] = [];
  readonly sections: HeaderList[] = [];
  readonly chunks: Buffer[] = [];
  ended = false;
  resetCode: number | null = null;
  refused = false;
  sentBytes = 0;
  /** Consume DATA as it comes. */
  consuming = true;
  act: (call: RecordedCall, event: string) => void;

  constructor(act: (call: RecordedCall, event: string) => void = () => {}) {
    this.act = act;
  }

  get body(): Buffer {
    return Buffer.concat(this.chunks);
  }

  onHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    this.stream = stream;
    this.sections.push(headers);
    this.note('headers', endStream);
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    this.chunks.push(Buffer.from(buffer.subarray(start, end)));
    if (this.consuming) stream.consume(end - start);
    this.note('data', endStream);
  }

  onSent(_stream: Http2Stream, bytes: number): void {
    this.sentBytes += bytes;
    this.note('sent', false);
  }

  onReset(stream: Http2Stream, errorCode: number): void {
    this.resetCode = errorCode;
    this.refused = stream.refused;
    this.note('reset', false);
  }

  private note(event: string, endStream: boolean): void {
    this.events.push(event);
    if (endStream) {
      this.ended = true;
      this.act(this, 'end');
    } else {
      this.act(this, event);
    }
  }
}

/** Answers a finished request with its own body. */
export function echo(call: RecordedCall, event: string): void {
  if (event !== 'end') return;
  const { body } = call;
  const stream = call.stream!;
  stream.sendHeaders(OK, false);
  stream.sendData(body, 0, body.length, false);
  stream.sendHeaders(TRAILERS, true);
}

export interface Lab {
  readonly server: Http2Server;
  readonly address: ConnectAddress;
  readonly calls: RecordedCall[];
  readonly counters: Float64Array;
}

/** Something with an end, as tap's tests have. */
export interface Test {
  teardown(fn: () => unknown): void;
}

export interface LabOptions {
  readonly limits?: Partial<Http2Limits>;
  readonly unix?: boolean;
  readonly clock?: Clock;
  readonly maxConnections?: number;
}

export async function serve(
  t: Test,
  act: (call: RecordedCall, event: string) => void = echo,
  options: LabOptions = {},
): Promise<Lab> {
  const calls: RecordedCall[] = [];
  const server = new Http2Server({
    ...options,
    acceptStream: (stream) => {
      const call = new RecordedCall(act);
      call.stream = stream;
      calls.push(call);
      return call;
    },
  });
  const address = await server.listen(
    options.unix ? { kind: 'unix', path: socketPath(t) } : { kind: 'tcp', host: '127.0.0.1', port: 0 },
  );
  t.teardown(() => server.close());
  return { server, address, calls, counters: server.counters };
}

/** A fresh path for a Unix socket. */
export function socketPath(t: Test): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'h2-'));
  t.teardown(() => fs.rmSync(folder, { recursive: true, force: true }));
  return path.join(folder, 's');
}

export class RecordingOwner implements ConnectionOwner {
  draining = 0;
  capacity = 0;
  closed = false;
  error: Error | null = null;
  onGone: () => void = () => {};

  acceptStream(): StreamHandler {
    throw new Error('a client accepts no streams');
  }

  onDraining(): void {
    this.draining++;
  }

  onCapacity(): void {
    this.capacity++;
  }

  onClosed(_connection: Http2Connection, error: Error | null): void {
    this.closed = true;
    this.error = error;
    this.onGone();
  }
}

export interface Client {
  readonly connection: Http2Connection;
  readonly owner: RecordingOwner;
  readonly counters: Float64Array;
}

export function dial(t: Test, address: ConnectAddress, limits: Partial<Http2Limits> = {}, clock?: Clock): Client {
  const owner = new RecordingOwner();
  const counters = new Float64Array(HTTP2_COUNTER_SLOTS);
  const connection = connectHttp2(address, { owner, counters, limits: { ...DEFAULT_HTTP2_LIMITS, ...limits }, clock });
  t.teardown(() => connection.io.destroy());
  return { connection, owner, counters };
}

/** A client that calls and calls again while something else goes on, over a connection of its own. */
export class HonestClient {
  private readonly connection: Http2Connection;
  private readonly took: number[] = [];
  private stopping = false;
  private readonly done: Promise<void>;

  constructor(t: Test, lab: Lab) {
    this.connection = dial(t, lab.address).connection;
    this.done = this.callOn();
    this.done.catch(() => {});
  }

  /** Ends it once it has made some calls; resolves with the milliseconds each took, sorted. Rejects if one failed. */
  async stop(): Promise<number[]> {
    this.stopping = true;
    await this.done;
    return this.took.sort((a, b) => a - b);
  }

  private async callOn(): Promise<void> {
    while (!this.stopping || this.took.length < LEAST_CALLS) {
      const begun = performance.now();
      await new Promise<void>((resolve, reject) => {
        const call = new RecordedCall((_call, event) => {
          if (event === 'end') resolve();
          else if (event === 'reset') reject(new Error('the honest client was reset'));
        });
        this.connection.openStream(call, CALL, true);
      });
      this.took.push(performance.now() - begun);
    }
  }
}

const LEAST_CALLS = 40;

/** Calls of an honest client while whatever was begun before goes on. */
export function honestCalls(t: Test, lab: Lab): Promise<number[]> {
  return new HonestClient(t, lab).stop();
}

/** Whether a call is one of an honest client's: attackers send fewer fields. */
export function isHonest(call: RecordedCall): boolean {
  return call.sections[0]!.length > 4;
}

/** Prints what an honest client met. */
export function noteTimes(t: { comment(text: string): void }, took: readonly number[]): void {
  const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))]!.toFixed(2);
  t.comment(`honest client: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms over ${took.length} calls`);
}
