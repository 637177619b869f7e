/**
 * Where a message of ModelStreamInfer goes: to the primary or, while its model is degraded, past it; to the next fallback
 * when a cluster gave no answer; and what its caller hears when none did.
 */
import { type ProxyError, ProxyErrors } from '../../base/proxy-error.ts';
import { ACCESS_FLAG_FALLBACK } from '../access-log.ts';
import type { LocalAnswer } from '../adapt/local-answer.ts';
import type { MeshCluster } from '../mesh.ts';
import { admit, refusalError, refusalReason } from '../request/admission.ts';
import { answerMessage } from '../request/local-answers.ts';
import { AnswerReason } from '../stats/slots.ts';
import type { ModelStream } from './model-stream.ts';
import { errorAnswer } from './stream-answers.ts';
import { hedgeFailed, hedgeTakesOver } from './stream-hedge.ts';
import { StreamLeg } from './stream-leg.ts';
import { StreamAttempt, type StreamMessage, setStepDeadline, settleSuspect } from './stream-message.ts';

/** While the model is degraded a share of the messages begins with the fallback, and some are shown to the primary. */
export function withholdMessage(stream: ModelStream, message: StreamMessage): void {
  const { plane, model, cluster, exchange } = stream;
  const { gate } = model;
  if (gate === null || !exchange.governed || !model.split.includes(cluster)) return;
  message.gate = gate;
  if (gate.admits(plane.random)) return;
  const nowMs = plane.clock.nowMs();
  message.withheld = true;
  message.attempt = new StreamAttempt(1, AnswerReason.DEGRADED);
  setStepDeadline(message, model, nowMs, hasNextStep(stream, message));
  if (gate.takesProbe(nowMs)) plane.probing.sendMessage(exchange.head!, message.bytes, cluster, gate);
}

/** Admission, breaker, leg: for this step, or the next that takes it. */
export function dispatch(stream: ModelStream, message: StreamMessage): void {
  const { plane } = stream;
  const { attempt } = message;
  const { step } = attempt;
  const cluster = step === 0 ? stream.cluster : stream.model.fallbacks[step - 1]!;
  const local = step === 0 ? null : stream.model.locals[step - 1]!;
  if (local !== null) {
    dispatchLocally(stream, message, local, cluster);
    return;
  }
  const nowMs = plane.clock.nowMs();
  const verdict = admit(plane, cluster, attempt.dueMs, nowMs);
  if (verdict < 0) {
    moveOn(stream, message, refusalReason(verdict), refusalError(verdict));
    return;
  }
  attempt.begin(plane.cells, cluster, verdict, nowMs);
  sendOn(stream, message, attempt, cluster);
}

/** An attempt of a message goes out on the leg of its step: the one that is open, or a new one. */
export function sendOn(
  stream: ModelStream,
  message: StreamMessage,
  attempt: StreamAttempt,
  cluster: MeshCluster,
): void {
  const { step } = attempt;
  let leg = stream.legs[step] ?? null;
  const isNew = leg === null || leg.ended || leg.stream?.localEnded === true || leg.stream?.endQueued === true;
  if (isNew) {
    leg = new StreamLeg(stream, cluster, step, stream.plane.maxScanBytes);
    stream.legs[step] = leg;
  }
  attempt.leg = leg;
  leg!.send(message);
  if (isNew) cluster.request(leg!, false);
}

/** A step that asks nobody: the answer, or the next step. */
function dispatchLocally(stream: ModelStream, message: StreamMessage, local: LocalAnswer, cluster: MeshCluster): void {
  const { plane, model, exchange, outbox } = stream;
  const answer = answerMessage(plane.cells, model, local, cluster, message, exchange.traits!.encoding);
  if (answer === null) {
    moveOn(stream, message, message.attempt.reason, ProxyErrors.badOutput);
    return;
  }
  // It says nothing about whose fault the primary's failure was.
  settleSuspect(plane, message, false);
  if (!exchange.committed) outbox.sendHead(null, cluster, message.attempt.reason);
  exchange.flag = ACCESS_FLAG_FALLBACK;
  stream.give(message, answer);
}

/** This step gave no answer: the next, or the failure itself. */
export function moveOn(stream: ModelStream, message: StreamMessage, reason: number, error: ProxyError): void {
  if (hedgeFailed(stream, message)) return;
  if (message.failure === null && message.failedAnswer === null && message.failedTrailers === null) {
    message.failure = error;
  }
  if (error.fallback && hedgeTakesOver(stream, message, reason)) return;
  if (error.fallback && hasNextStep(stream, message)) {
    const { step, reason: before } = message.attempt;
    const first = before === AnswerReason.HEDGE ? message.failedFor : before;
    const why = first === AnswerReason.PRIMARY ? reason : first;
    message.attempt = new StreamAttempt(Math.max(step, message.hedgedStep) + 1, why);
    setStepDeadline(message, stream.model, stream.plane.clock.nowMs(), hasNextStep(stream, message));
    stream.armBy(message.attempt.dueMs);
    dispatch(stream, message);
    return;
  }
  if (error.fallback && message.withheld && !message.isLast && message.bytes.length > 0) {
    askPrimaryAfterAll(stream, message);
    return;
  }
  giveUp(stream, message);
}

/** Nobody answers for a degraded primary: what it says itself goes to the caller. */
function askPrimaryAfterAll(stream: ModelStream, message: StreamMessage): void {
  message.isLast = true;
  message.attempt = new StreamAttempt(0, AnswerReason.PRIMARY);
  message.failure = null;
  message.failedAnswer = null;
  message.failedTrailers = null;
  message.attempt.dueMs = message.dueMs;
  stream.armBy(message.dueMs);
  dispatch(stream, message);
}

/** Another cluster may be asked: one is left, and the message was kept. */
export function hasNextStep(stream: ModelStream, message: StreamMessage): boolean {
  return (
    stream.exchange.governed &&
    !message.isLast &&
    message.bytes.length > 0 &&
    Math.max(message.attempt.step, message.hedgedStep) < stream.model.fallbacks.length
  );
}

/** Nobody answered: the primary's failure, in the way it failed. */
export function giveUp(stream: ModelStream, message: StreamMessage): void {
  settleSuspect(stream.plane, message, false);
  if (message.failedAnswer !== null) stream.give(message, message.failedAnswer);
  else if (message.failedTrailers !== null) stream.failWithTrailers(message.failedTrailers);
  else if (message.failure === ProxyErrors.connectFailed || message.failure === ProxyErrors.upstreamReset)
    stream.failWith(message.failure!);
  else answerError(stream, message, message.failure!);
}

/** A failure of ours is the message's answer. */
export function answerError(stream: ModelStream, message: StreamMessage, error: ProxyError): void {
  settleSuspect(stream.plane, message, false);
  stream.give(message, errorAnswer(error, error.message, message.id));
}
