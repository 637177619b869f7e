/**
 * One request on a stream of requests: a call of its own in all but its transport. It is with one cluster at a time, is
 * counted there like a single call, and is answered exactly once; its bytes are kept until then, so that another cluster
 * can be asked.
 */

import type { Clock } from '../../base/clock.ts';
import type { ProxyError } from '../../base/proxy-error.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { DegradationGate } from '../degradation/gate.ts';
import type { MeshCluster, MeshModel } from '../mesh.ts';
import { Outcome } from '../policy/circuit-breaker.ts';
import type { HedgeTiming } from '../policy/hedge-timing.ts';
import { endRequest } from '../request/request-accounts.ts';
import type { MirroredPair } from '../shadowing/mirrored-pair.ts';
import { AnswerReason, RequestOutcome } from '../stats/slots.ts';
import type { StreamLeg } from './stream-leg.ts';

/** One try of a message with one cluster. */
export interface StreamTry {
  /** 0: the primary; n: fallback n - 1. */
  step: number;
  /** `AnswerReason`. */
  reason: number;
  leg: StreamLeg | null;
  cluster: MeshCluster | null;
  verdict: number;
  epoch: number;
  startedMs: number;
  stepDueMs: number;
}

export class StreamMessage implements StreamTry {
  /** With its gRPC prefix, as the caller sent it; empty once nobody can need it. */
  bytes: Buffer;
  readonly id: string;
  readonly arrivedMs: number;
  /** When its caller stops waiting, and when the cluster it is with must have answered; 0 for never. */
  dueMs = 0;
  stepDueMs = 0;
  /** 0: the primary; n: fallback n - 1. */
  step = 0;
  /** `AnswerReason`: why it is not with the primary. */
  reason: number = AnswerReason.PRIMARY;
  /** Where it is; null before it was sent, and once it is answered. */
  leg: StreamLeg | null = null;
  cluster: MeshCluster | null = null;
  verdict = 0;
  epoch = 0;
  startedMs = 0;
  /** Where its primary's answers are judged for degradation; null where they are not. */
  gate: DegradationGate | null = null;
  outOfMemory = false;
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
  /** The other try under way: a hedge beside the primary's. Whichever ends first is put in this message's place. */
  rival: StreamTry | null = null;
  /** A hedge was begun whose outcome is not yet counted. */
  hedgeOpen = false;
  /** The step its hedge was with: not asked again. */
  hedgedStep = 0;
  /** How the primary failed while its hedge was under way. */
  failedFor: number = AnswerReason.PRIMARY;
  /** Where the primary's latency is kept for hedging; null where it is not. */
  timing: HedgeTiming | null = null;
  /** The primary answered an error that does not say whose fault it is: judged by what a fallback makes of the request. */
  suspect: MeshCluster | null = null;
  suspectVerdict = 0;
  suspectEpoch = 0;
  suspectStartedMs = 0;
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

/** Closes the books of a message with the cluster it is with, if it is with one. */
export function settle(books: Books, message: StreamMessage, result: number, outcome: number, status: number): void {
  const { cluster, verdict, epoch, startedMs } = message;
  if (cluster === null) return;
  message.cluster = null;
  const nowMs = books.clock.nowMs();
  endRequest(books.cells, cluster, verdict, epoch, result, outcome, status, nowMs - startedMs, nowMs);
  if (message.step !== 0) return;
  message.gate?.record(result, message.outOfMemory, false, nowMs - startedMs, nowMs);
  message.timing?.observe(result, nowMs - startedMs);
}

/** The primary's error says nothing about whose fault it was: the books stay open until a fallback has shown it. */
export function suspectPrimary(message: StreamMessage): void {
  message.suspect = message.cluster;
  message.suspectVerdict = message.verdict;
  message.suspectEpoch = message.epoch;
  message.suspectStartedMs = message.startedMs;
  message.cluster = null;
}

/** A fallback answered what the primary could not: the primary's fault. It could not either: the caller's. */
export function settleSuspect(books: Books, message: StreamMessage, atFault: boolean): void {
  const { suspect, suspectVerdict, suspectEpoch, suspectStartedMs } = message;
  if (suspect === null) return;
  message.suspect = null;
  const nowMs = books.clock.nowMs();
  const result = atFault ? RequestOutcome.UPSTREAM_ERROR : RequestOutcome.CALLER_ERROR;
  const outcome = atFault ? Outcome.FAILURE : Outcome.IGNORED;
  const tookMs = nowMs - suspectStartedMs;
  endRequest(books.cells, suspect, suspectVerdict, suspectEpoch, result, outcome, -1, tookMs, nowMs);
  message.gate?.record(result, false, false, tookMs, nowMs);
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
  message.stepDueMs = message.arrivedMs + (message.dueMs - message.arrivedMs) * share;
}

/** The same for the fallback it goes to now. */
export function setStepDeadline(message: StreamMessage, model: MeshModel, nowMs: number, hasNext: boolean): void {
  if (message.dueMs === 0) return;
  const share = hasNext ? model.config.fallbacks[message.step - 1]!.budgetFraction : 1;
  message.stepDueMs = nowMs + (message.dueMs - nowMs) * share;
}
