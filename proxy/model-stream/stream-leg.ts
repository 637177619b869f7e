/**
 * One upstream stream of a caller's stream: the requests that went to one cluster, and their answers as they come.
 *
 * A leg keeps its requests in the order they were sent. One request has one answer: it belongs to the oldest request with
 * its id, else to the oldest. A request that was taken elsewhere leaves its place, so that a late answer is known for what
 * it is. The leg decides nothing: every event goes to its `ModelStream`.
 */

import { MessageReader } from '../../proto/grpc/message-framing.ts';
import type { Http1ClientConnection } from '../../proto/http1/client-connection.ts';
import { Http2Connection } from '../../proto/http2/connection.ts';
import { ErrorCode } from '../../proto/http2/frames.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { Http2Stream, StreamHandler } from '../../proto/http2/stream.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import type { MeshCluster } from '../mesh.ts';
import { Served } from '../upstream/balancer.ts';
import { Unavailable, Waiter } from '../upstream/wait-queue.ts';
import type { ModelStream } from './model-stream.ts';
import type { StreamMessage } from './stream-message.ts';

/** A stream that the upstream refused unprocessed is opened again this often. */
const MAX_REFUSALS = 2;

/** A request's place in the order of answers. */
interface LegEntry {
  readonly id: string;
  /** Null: taken elsewhere. */
  message: StreamMessage | null;
}

export class StreamLeg extends Waiter implements StreamHandler {
  readonly owner: ModelStream;
  readonly cluster: MeshCluster;
  /** 0: the primary's; n: fallback n - 1. */
  readonly step: number;
  stream: Http2Stream | null = null;
  responseHead: HeaderList | null = null;
  /** Over: nothing more is sent or heard. */
  ended = false;
  readonly entries: LegEntry[] = [];
  private sent = 0;
  private refusals = 0;
  private readonly reader: MessageReader;
  private unconsumed = 0;

  constructor(owner: ModelStream, cluster: MeshCluster, step: number, maxMessageBytes: number) {
    super();
    this.owner = owner;
    this.cluster = cluster;
    this.step = step;
    this.reader = new MessageReader(maxMessageBytes);
  }

  /** Nobody waits for anything it may still say. */
  get isIdle(): boolean {
    for (const { message } of this.entries) if (message !== null) return false;
    return true;
  }

  /** All that was sent could be sent again. */
  private get isKept(): boolean {
    for (const { message } of this.entries) if (message !== null && message.bytes.length === 0) return false;
    return true;
  }

  send(message: StreamMessage): void {
    this.entries.push({ id: message.id, message });
    this.flush();
  }

  /** Sends what is not yet sent, and the end once the caller has ended. */
  flush(): void {
    const { stream, entries, owner } = this;
    if (stream === null) return;
    while (this.sent < entries.length) {
      const { message } = entries[this.sent++]!;
      if (message !== null) owner.write(stream, message, this.cluster);
    }
    // A fallback may be needed for any answer that is still to come.
    if (owner.requestsEnded && this.step === 0 && !stream.localEnded && !stream.endQueued) stream.sendEnd();
  }

  /** Forgets a request; its answer will be dropped. */
  abandon(message: StreamMessage): void {
    for (const entry of this.entries) if (entry.message === message) entry.message = null;
  }

  /** The request an answer with this id is for, taken out; null for one that was abandoned, undefined for none. */
  take(id: string): StreamMessage | null | undefined {
    const { entries } = this;
    let at = id === '' ? 0 : entries.findIndex((entry) => entry.id === id);
    if (at < 0) at = 0;
    const entry = entries[at];
    if (entry === undefined || at >= this.sent) return undefined;
    entries.splice(at, 1);
    this.sent--;
    return entry.message;
  }

  /** The requests that wait for an answer of this leg, all taken out. */
  takeAll(): StreamMessage[] {
    const messages: StreamMessage[] = [];
    for (const { message } of this.entries) if (message !== null) messages.push(message);
    this.entries.length = 0;
    this.sent = 0;
    return messages;
  }

  /** Gives the upstream credit for what it sent, when its owner can take more. */
  credit(): void {
    const { unconsumed, stream } = this;
    if (unconsumed === 0 || stream === null || !this.owner.takesAnswers) return;
    this.unconsumed = 0;
    stream.consume(unconsumed);
  }

  /** Ends the stream in order: nothing more is asked, and what is still said is not heard. */
  leave(): void {
    if (this.ended) return;
    if (this.stream === null) {
      this.end();
      return;
    }
    this.ended = true;
    this.cluster.quit(this, Served.OK);
    this.credit();
    if (!this.stream.localEnded && !this.stream.endQueued) this.stream.sendEnd();
  }

  /** Lets go of the upstream; nothing more is heard. */
  end(): void {
    this.ended = true;
    this.cluster.quit(this, Served.OK);
    if (this.waitingIn !== null) this.waitingIn.forget(this);
    if (this.stream !== null && !this.stream.closed) this.stream.reset(ErrorCode.CANCEL);
  }

  onConnection(connection: Http2Connection | Http1ClientConnection): void {
    if (!(connection instanceof Http2Connection)) return;
    const stream = connection.openStream(this, this.owner.headFor(this), false);
    if (stream === null) {
      if (this.refusals++ < MAX_REFUSALS) this.cluster.request(this, false);
      else this.owner.onLegUnavailable(this, Unavailable.PENDING_FULL);
      return;
    }
    this.stream = stream;
    this.flush();
  }

  onUnavailable(reason: number): void {
    if (!this.ended) this.owner.onLegUnavailable(this, reason);
  }

  onHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (this.ended || !stream.headReceived) return;
    this.responseHead ??= headers;
    if (endStream) this.owner.onLegEnd(this, headers);
  }

  onData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.ended) {
      stream.consume(end - start);
      return;
    }
    this.unconsumed += end - start;
    const { reader } = this;
    try {
      reader.feed(buffer, start, end);
      while (!this.ended && reader.next()) {
        this.owner.onAnswer(this, reader.buffer, reader.start, reader.end, reader.compressed);
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.owner.onLegBroken(this);
    }
    this.credit();
    if (endStream && !this.ended) this.owner.onLegEnd(this, null);
  }

  onSent(): void {
    this.owner.credit();
  }

  onReset(stream: Http2Stream): void {
    if (this.ended) return;
    const isUnseen = stream.refused && stream.connection.established && this.responseHead === null;
    if (isUnseen && this.refusals < MAX_REFUSALS && this.isKept) {
      // The upstream promises that it did not look at it (GOAWAY, REFUSED_STREAM): the same requests, elsewhere.
      this.refusals++;
      this.stream = null;
      this.sent = 0;
      this.cluster.request(this, false);
      return;
    }
    if (stream.refused && !stream.connection.established) this.owner.onLegUnavailable(this, Unavailable.CONNECT_FAILED);
    else this.owner.onLegReset(this);
  }
}
