/**
 * Steps of a fallback list that need the whole request: answers made here, and fallbacks that get the request edited. Until
 * it has come the request is with the step, in an attempt that asks nobody, and its bytes are kept within the model's bound.
 */
import { ProxyErrors } from '../../base/proxy-error.ts';
import type { LocalAnswer } from '../adapt/local-answer.ts';
import type { MeshCluster } from '../mesh.ts';
import { Verdict } from '../policy/circuit-breaker.ts';
import { LocalResult } from '../stats/slots.ts';
import type { DataPlane } from './data-plane.ts';
import { Attempt, type Exchange, Stage } from './exchange.ts';
import { answerLocally, giveUp } from './local-answers.ts';

/** The request is with this step now; `local` is its answer, null where the cluster is asked. */
export function waitForWhole(
  plane: DataPlane,
  exchange: Exchange,
  cluster: MeshCluster,
  local: LocalAnswer | null,
  reason: number,
): void {
  const attempt = new Attempt(exchange, cluster, reason, Verdict.ADMIT, 0, plane.clock.nowMs());
  attempt.settled = true;
  exchange.attempt = attempt;
  exchange.local = local;
  exchange.waitsForBody = true;
  if (exchange.bodyEnded) goOnSoon(plane, exchange);
  else exchange.down.consume(exchange.down.outstanding);
}

/** More of the request has come, `bytes` of it just now. */
export function progress(plane: DataPlane, exchange: Exchange, bytes: number): void {
  exchange.down.consume(bytes);
  if (exchange.body === null && exchange.bodyBytes > 0) tooLarge(plane, exchange);
  else if (exchange.bodyEnded) goOnSoon(plane, exchange);
}

/** Whoever else is to see the request (a shadow, a probe) has it before its end. */
function goOnSoon(plane: DataPlane, exchange: Exchange): void {
  const { attempt } = exchange;
  queueMicrotask(() => {
    if (exchange.stage === Stage.DONE || exchange.attempt !== attempt || !exchange.waitsForBody) return;
    exchange.waitsForBody = false;
    if (exchange.local !== null) answerLocally(plane, exchange);
    else plane.attemptWith(exchange, attempt!.cluster, attempt!.reason);
  });
}

function tooLarge(plane: DataPlane, exchange: Exchange): void {
  exchange.waitsForBody = false;
  if (exchange.local !== null) giveUp(plane, exchange, LocalResult.TOO_LARGE);
  else plane.refused(exchange, exchange.attempt!.reason, ProxyErrors.badOutput);
}
