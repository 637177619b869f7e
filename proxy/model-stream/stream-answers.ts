/** The caller's side of a stream of requests: answers in the order of their requests, and how the stream ends. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import type { ProxyError } from '../../base/proxy-error.ts';
import { PREFIX_BYTES, writeMessagePrefix } from '../../proto/grpc/message-framing.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import type { Http2Stream } from '../../proto/http2/stream.ts';
import { REASON_PARAMETER, STATUS_PARAMETER, streamErrorAnswer } from '../../proto/tensor/oip-stream-message.ts';
import type { MeshCluster } from '../mesh.ts';
import { withServedBy } from '../request/answer-reasons.ts';
import type { Exchange } from '../request/exchange.ts';
import { answerStatus } from '../routing/response-traits.ts';
import { AnswerReason } from '../stats/slots.ts';
import type { StreamMessage } from './stream-message.ts';

const GRPC_HEAD = HeaderList.of([':status', '200'], ['content-type', 'application/grpc']);
const TRAILERS_OK = HeaderList.of(['grpc-status', '0']);
/** What an answer without a status says. */
export const NO_TRAILERS: HeaderList = HeaderList.of(['grpc-status', String(GrpcStatus.UNKNOWN)]);
const ERROR_PARAMETERS: readonly string[] = [STATUS_PARAMETER, REASON_PARAMETER];

/** Messages that wait for their answers, and answers that wait for their turn. */
export class StreamOutbox {
  /** In the order they came; those at the front with an answer have gone. */
  readonly messages: StreamMessage[] = [];
  /** Answers that wait for an earlier one, bytes. */
  heldBytes = 0;
  private readonly exchange: Exchange;
  private readonly down: Http2Stream;
  private readonly primary: MeshCluster;

  constructor(exchange: Exchange, primary: MeshCluster) {
    this.exchange = exchange;
    this.down = exchange.down as Http2Stream;
    this.primary = primary;
  }

  /** A message's answer; it goes out, with those that waited for it, when all before it have gone. */
  give(message: StreamMessage, answer: Buffer): void {
    const { messages } = this;
    message.answer = answer;
    message.attempt.leg = null;
    this.heldBytes += answer.length;
    let count = 0;
    while (count < messages.length && messages[count]!.answer !== null) {
      const next = messages[count++]!.answer!;
      this.heldBytes -= next.length;
      this.relay(next);
    }
    if (count > 0) messages.splice(0, count);
  }

  relay(answer: Buffer): void {
    this.begin();
    this.exchange.answerBytes += answer.length;
    this.down.sendData(answer, 0, answer.length, false);
  }

  /** The head says who answered first; later answers that are not the primary's say so themselves. */
  sendHead(head: HeaderList | null, cluster: MeshCluster, reason: number): void {
    this.exchange.committed = true;
    this.down.sendHeaders(withServedBy(head ?? GRPC_HEAD, cluster, reason), false);
  }

  /** Everything asked is answered. */
  end(): void {
    this.begin();
    this.exchange.status = GrpcStatus.OK;
    this.down.sendHeaders(TRAILERS_OK, true);
  }

  /** Ends the stream as an upstream ended its: with trailers, or with a head that was all. */
  endWith(trailers: HeaderList): void {
    this.exchange.status = answerStatus(trailers, trailers, true);
    if (trailers.get(':status') === undefined) this.begin();
    this.down.sendHeaders(this.exchange.committed ? trailersOf(trailers) : trailers, true);
    this.exchange.committed = true;
  }

  private begin(): void {
    if (!this.exchange.committed) this.sendHead(null, this.primary, AnswerReason.PRIMARY);
  }
}

/** A failure of ours as the answer of one message. */
export function errorAnswer(error: ProxyError, message: string, id: string): Buffer {
  return streamErrorAnswer(message, id, ERROR_PARAMETERS, [String(error.grpcStatus), error.code]);
}

export function framedCopy(buffer: Buffer, start: number, end: number, compressed: boolean): Buffer {
  const out = Buffer.allocUnsafe(PREFIX_BYTES + end - start);
  buffer.copy(out, writeMessagePrefix(out, 0, end - start, compressed), start, end);
  return out;
}

/** The only header section of an answer as trailers of one whose head is out. */
export function trailersOf(list: HeaderList): HeaderList {
  if (list.get(':status') === undefined) return list;
  const names: string[] = [];
  const values: string[] = [];
  for (let i = 0; i < list.length; i++) {
    if (list.names[i] === ':status' || list.names[i] === 'content-type') continue;
    names.push(list.names[i]!);
    values.push(list.values[i]!);
  }
  return new HeaderList(names, values);
}
