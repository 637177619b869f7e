/**
 * An attempt's answer, held and complete, changed in its place before anybody sees it: see `answer-changes.ts` for what is
 * done to whose. The answer's new head takes the place of the one that came.
 */
import { HeaderList } from '../../proto/http2/header-list.ts';
import { AdaptError } from '../adapt/adapt-error.ts';
import {
  adaptGrpc,
  adaptJson,
  adaptRest,
  changes,
  MAX_ADAPTED_BYTES,
  MAX_ADAPTED_JSON,
} from '../adapt/answer-adapter.ts';
import { ResponseTraits } from '../routing/response-traits.ts';
import { AdaptResult, AnswerReason, ClusterSlot } from '../stats/slots.ts';
import type { ClusterChange } from './answer-changes.ts';
import { clearBody } from './body-buffer.ts';
import type { DataPlane } from './data-plane.ts';
import type { Attempt, Exchange } from './exchange.ts';

/** Answers up to this size are kept back so that a failure at their end can still be replaced, bytes. */
const MAX_HELD_BYTES = 1024 * 1024;

/** Bytes of this attempt's answer that are held at most. What has to be changed is never let go unchanged. */
export function heldLimit(exchange: Exchange, attempt: Attempt): number {
  const change = changeOf(exchange, attempt);
  if (change === null) return MAX_HELD_BYTES;
  const isJson = exchange.model!.config.isRoute || (!change.isRequired && exchange.traits!.call === null);
  return isJson ? MAX_ADAPTED_JSON : MAX_ADAPTED_BYTES;
}

/** Whether the answer is of no use unless it is changed. */
export function mustChange(exchange: Exchange, attempt: Attempt): boolean {
  return changeOf(exchange, attempt)?.isRequired === true;
}

/** An answer grew beyond what is held of it, and may not go on as it is. */
export function countTooLarge(plane: DataPlane, attempt: Attempt): void {
  plane.cells[attempt.cluster.config.statsBase + ClusterSlot.ADAPTATIONS + AdaptResult.TOO_LARGE]! += 1;
}

/** Changes a fallback's answer; false where it does not fit what it should become: a bad answer. */
export function adaptFallback(plane: DataPlane, exchange: Exchange, attempt: Attempt): boolean {
  return attempt.reason === AnswerReason.PRIMARY || adapt(plane, exchange, attempt);
}

/** Changes a primary's answer, which goes on as it came where it cannot be changed. */
export function adaptPrimary(plane: DataPlane, exchange: Exchange, attempt: Attempt): void {
  if (attempt.reason === AnswerReason.PRIMARY) adapt(plane, exchange, attempt);
}

function changeOf(exchange: Exchange, attempt: Attempt): ClusterChange | null {
  const { model, governed, infers } = exchange;
  if (model === null || !model.changes.any || !governed || !infers) return null;
  const change = model.changes.of(attempt.cluster, attempt.reason);
  if (change === null) return null;
  if (model.config.isRoute) return isDocument(attempt) && !isHead(exchange) ? change : null;
  return changes(methodOf(exchange), exchange.traits!.call === null, change) ? change : null;
}

/** Of a route: an answer that holds what was asked for. Errors are passed on as they are. */
function isDocument({ responseHead }: Attempt): boolean {
  const { httpStatus } = ResponseTraits.of(responseHead!);
  return httpStatus >= 200 && httpStatus < 300 && httpStatus !== 204;
}

function isHead({ head }: Exchange): boolean {
  return head!.get(':method') === 'HEAD';
}

function adapt(plane: DataPlane, exchange: Exchange, attempt: Attempt): boolean {
  const change = changeOf(exchange, attempt);
  if (change === null) return true;
  let result: number = AdaptResult.ADAPTED;
  if (exchange.committed || exchange.held === null) {
    result = change.isRequired ? AdaptResult.MISFIT : AdaptResult.SKIPPED;
  } else {
    try {
      replace(plane, exchange, attempt, change);
    } catch (error) {
      if (!(error instanceof AdaptError)) throw error;
      const failed = error.reason === 'too_large' ? AdaptResult.TOO_LARGE : AdaptResult.MISFIT;
      result = change.isRequired ? failed : AdaptResult.SKIPPED;
    }
  }
  plane.cells[attempt.cluster.config.statsBase + ClusterSlot.ADAPTATIONS + result]! += 1;
  return result === AdaptResult.ADAPTED || result === AdaptResult.SKIPPED;
}

/** @throws AdaptError and leaves the answer as it is. */
function replace(plane: DataPlane, exchange: Exchange, attempt: Attempt, change: ClusterChange): void {
  const held = exchange.held!;
  const head = attempt.responseHead!;
  const { call } = exchange.traits!;
  let body: Buffer;
  if (exchange.model!.config.isRoute) {
    const { versionOutput, versionText } = change;
    const answer = adaptJson(head, held.buffer, held.length, change.rules, versionOutput, versionText);
    body = answer.body;
    attempt.responseHead = answer.head;
  } else if (call === null) {
    const answer = adaptRest(methodOf(exchange), head, held.buffer, held.length, change);
    body = answer.body;
    attempt.responseHead = answer.head;
  } else {
    body = adaptGrpc(call.method, held.buffer, held.length, head.get('grpc-encoding'), change);
    if (head.get('content-length') !== undefined) attempt.responseHead = withoutLength(head);
  }
  clearBody(held);
  plane.bodies.appendAnswer(exchange, held, body, 0, body.length);
}

function methodOf({ traits }: Exchange): string {
  const { call, rest } = traits!;
  return call === null ? (rest?.method ?? '') : call.method;
}

function withoutLength(head: HeaderList): HeaderList {
  const kept = Array.from(head.names.keys()).filter((i) => head.names[i] !== 'content-length');
  return new HeaderList(
    kept.map((i) => head.names[i]!),
    kept.map((i) => head.values[i]!),
  );
}
