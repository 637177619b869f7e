/**
 * One request on a stream of requests: a call of its own in all but its transport. It has one attempt at a time (two while
 * it is hedged, `stream-hedge.ts`), each counted with its cluster like a single call, and is answered exactly once; its
 * bytes are kept until then, so that another cluster can be asked.
 */

import type { Clock } from '../../base/clock.ts';
import type { ProxyError } from '../../base/proxy-error.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { DegradationGate } from '../degradation/gate.ts';
import type { MeshCluster, MeshModel } from '../mesh.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import type { HedgeTiming } from '../policy/hedge-timing.ts';
import { beginRequest, endRequest } from '../request/request-accounts.ts';
import type { MirroredPair } from '../shadowing/mirrored-pair.ts';
import { AnswerReason, RequestOutcome } from '../stats/slots.ts';
import type { StreamLeg } from './stream-leg.ts';

/** One attempt of a message with one step's cluster. Its fields are written by who sends and who settles it. */
export class StreamAttempt {
  /** 0: the primary; n: fallback n - 1. */
  readonly step: number;
  /** `AnswerReason`: why it is not with the primary. */
  readonly reason: number;
  /** Where it is; null before it was sent, and once it is answered. */
  leg: StreamLeg | null = null;
  /** Who it counts with; null before it was admitted, and once it is settled. */
  cluster: MeshCluster | null = null;
  verdict = 0;
  epoch = 0;
  startedMs = 0;
  /** When it must be answered; 0 for never. */
  dueMs = 0;
  /** It failed because a device had no memory left. */
  outOfMemory = false;

  constructor(step: number, reason: number) {
    this.step = step;
    this.reason = reason;
  }

  /** Its cluster admits it, as `verdict` says. */
  begin(cells: Float64Array, cluster: MeshCluster, verdict: number, nowMs: number): void {
    this.cluster = cluster;
    this.verdict = verdict;
    this.epoch = cluster.breaker.epoch;
    this.startedMs = nowMs;
    beginRequest(cells, cluster);
  }
}

export class StreamMessage {
  /** With its gRPC prefix, as the caller sent it; empty once nobody can need it. */
  bytes: Buffer;
  readonly id: string;
  readonly arrivedMs: number;
  /** When its caller stops waiting; 0 for never. */
  dueMs = 0;
  attempt: StreamAttempt = new StreamAttempt(0, AnswerReason.PRIMARY);
  /** Where its primary's answers are judged for degradation; null where they are not. */
  gate: DegradationGate | null = null;
  /** Kept from the primary because the model is degraded; the primary is asked when nobody else answers. */
  withheld = false;
  /** The primary was asked after all: nobody is left. */
  isLast = false;
  /** The answer with its prefix, until its turn comes. */
  answer: Buffer | null = null;
  /** The primary's failure, for when no fallback does better: an error of ours, an answer, or how its stream ended. */
  failure: ProxyError | null = null;
  failedAnswer: Buffer | null = null;
  failedTrailers: HeaderList | null = null;
  /** When its hedge begins; 0 for never. */
  hedgeDueMs = 0;
  /** The other attempt under way: a hedge beside the primary's. Whichever ends first is put in `attempt`. */
  rival: StreamAttempt | null = null;
  /** A hedge was begun whose outcome is not yet counted. */
  hedgeOpen = false;
  /** The step its hedge was with: not asked again. */
  hedgedStep = 0;
  /** How the primary failed while its hedge was under way. */
  failedFor: number = AnswerReason.PRIMARY;
  /** Where the primary's latency is kept for hedging; null where it is not. */
  timing: HedgeTiming | null = null;
  /** The primary answered an error that does not say whose fault it is: judged by what a fallback makes of the request. */
  suspect: StreamAttempt | null = null;
  /** What its shadows are shown, and what they are held against; null when none sees it. */
  mirrored: MirroredPair | null = null;

  constructor(bytes: Buffer, id: string, arrivedMs: number) {
    this.bytes = bytes;
    this.id = id;
    this.arrivedMs = arrivedMs;
  }
}

/** Where accounts are kept. */
interface Books {
  readonly clock: Clock;
  readonly cells: Float64Array;
}

/** Closes the books of a message's attempt, if they are open. */
export function settle(books: Books, message: StreamMessage, result: number, outcome: number, status: number): void {
  settleAttempt(books, message, message.attempt, result, outcome, status);
}

/** The same for either of two attempts. */
export function settleAttempt(
  books: Books,
  message: StreamMessage,
  attempt: StreamAttempt,
  result: number,
  outcome: number,
  status: number,
): void {
  if (attempt.cluster === null || attempt === message.suspect) return;
  const tookMs = closeBooks(books, message, attempt, result, outcome, status);
  if (attempt.step === 0) message.timing?.observe(result, tookMs);
}

/** The primary's error says nothing about whose fault it was: the books stay open until a fallback has shown it. */
export function suspectPrimary(message: StreamMessage): void {
  message.suspect = message.attempt;
}

/** A fallback answered what the primary could not: the primary's fault. It could not either: the caller's. */
export function settleSuspect(books: Books, message: StreamMessage, atFault: boolean): void {
  const { suspect } = message;
  if (suspect === null) return;
  message.suspect = null;
  const result = atFault ? RequestOutcome.UPSTREAM_ERROR : RequestOutcome.CALLER_ERROR;
  closeBooks(books, message, suspect, result, atFault ? Outcome.FAILURE : Outcome.IGNORED, -1);
}

/** Counts an attempt with its cluster, which is done once. Returns how long it took, milliseconds. */
function closeBooks(
  books: Books,
  message: StreamMessage,
  attempt: StreamAttempt,
  result: number,
  outcome: number,
  status: number,
): number {
  const { cluster, verdict, epoch, startedMs, step } = attempt;
  attempt.cluster = null;
  const nowMs = books.clock.nowMs();
  const tookMs = nowMs - startedMs;
  endRequest(books.cells, cluster!, verdict, epoch, result, outcome, status, tookMs, nowMs);
  if (step === 0) message.gate?.record(result, attempt.outOfMemory, false, tookMs, nowMs);
  return tookMs;
}

/**
 * The deadlines of a message that goes to the primary: the cluster's timeout from its arrival or the stream's deadline,
 * whichever is first, and the primary's share of it when a fallback waits.
 */
export function setDeadline(
  message: StreamMessage,
  model: MeshModel,
  cluster: MeshCluster,
  streamDeadlineMs: number,
  hasNext: boolean,
): void {
  const { requestTimeoutMs } = cluster.config;
  const own = requestTimeoutMs > 0 ? message.arrivedMs + requestTimeoutMs : 0;
  message.dueMs = own === 0 || streamDeadlineMs === 0 ? own + streamDeadlineMs : Math.min(own, streamDeadlineMs);
  if (message.dueMs === 0) return;
  const share = hasNext ? model.config.primaryBudgetFraction : 1;
  message.attempt.dueMs = message.arrivedMs + (message.dueMs - message.arrivedMs) * share;
}

/** The same for the fallback it goes to now. */
export function setStepDeadline(message: StreamMessage, model: MeshModel, nowMs: number, hasNext: boolean): void {
  if (message.dueMs === 0) return;
  const share = hasNext ? model.config.fallbacks[message.attempt.step - 1]!.budgetFraction : 1;
  message.attempt.dueMs = nowMs + (message.dueMs - nowMs) * share;
}
