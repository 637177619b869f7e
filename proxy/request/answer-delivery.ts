/** An answer on its way to the caller: head with who answered, what was held, the end. From `commit` on it stands. */
import { ProxyErrors } from '../../base/proxy-error.ts';
import { withoutHopByHop } from '../../proto/http1/hop-by-hop.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import { ACCESS_FLAG_FALLBACK, ACCESS_FLAG_HEDGE } from '../access-log.ts';
import { ResponseTraits } from '../routing/response-traits.ts';
import { AnswerReason, ClusterSlot, HedgeEvent } from '../stats/slots.ts';
import { withServedBy } from './answer-reasons.ts';
import type { DataPlane } from './data-plane.ts';
import type { Attempt, Exchange } from './exchange.ts';
import { endHedge, failRequest, finishRequest } from './request-ends.ts';

/** Sends the head and what was held: from here on this attempt is the answer. */
export function commit(plane: DataPlane, exchange: Exchange, attempt: Attempt): void {
  exchange.committed = true;
  if (exchange.hedge !== null) endHedge(plane, exchange, exchange.hedge);
  sendHead(exchange, attempt, false);
  const { held } = exchange;
  exchange.answerBytes += held?.length ?? 0;
  if (held !== null && held.length > 0) exchange.down.sendData(held.buffer, 0, held.length, false);
  if (exchange.mirrored === null) plane.bodies.drop(exchange);
}

function sendHead(exchange: Exchange, attempt: Attempt, endStream: boolean): void {
  let head = exchange.http1 ? withoutHopByHop(attempt.responseHead!) : attempt.responseHead!;
  if (exchange.model !== null) {
    const named = withServedBy(head, attempt.cluster, attempt.reason);
    if (exchange.down.takesSection(named)) head = named;
  }
  exchange.httpStatus = ResponseTraits.of(attempt.responseHead!).httpStatus;
  exchange.down.sendHeaders(head, endStream);
}

/** The attempt's answer, complete, to the caller. */
export function deliver(plane: DataPlane, exchange: Exchange, attempt: Attempt, last: HeaderList | null): void {
  const { down } = exchange;
  if (last !== null && last === attempt.responseHead) {
    exchange.committed = true;
    sendHead(exchange, attempt, true);
  } else {
    if (!exchange.committed) commit(plane, exchange, attempt);
    if (last !== null && !down.takesSection(last)) {
      failRequest(plane, exchange, ProxyErrors.answerHeadTooLarge);
      return;
    }
    if (last !== null) down.sendHeaders(last, true);
    else if (!down.localEnded && !down.endQueued) down.sendEnd();
  }
  plane.cells[attempt.cluster.config.statsBase + ClusterSlot.ANSWERS + attempt.reason]! += 1;
  if (attempt.reason === AnswerReason.HEDGE) {
    exchange.flag = ACCESS_FLAG_HEDGE;
    exchange.hedge!.close(plane.cells, HedgeEvent.WON);
  } else if (attempt.reason !== AnswerReason.PRIMARY) {
    exchange.flag = ACCESS_FLAG_FALLBACK;
  }
  finishRequest(plane, exchange);
}
