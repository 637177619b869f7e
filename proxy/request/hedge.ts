/**
 * The hedge of one request: made for requests of models that are hedged, before it is known whether one is needed.
 *
 * While it is under way the exchange has two attempts, each with what is held of its answer: the one in `exchange.attempt`
 * and its rival here. Whichever brings something that ends it (an answer, a failure) is first put in the exchange's place
 * (`changePlaces`), so that everything after it sees an attempt like any other. Rules: a started hedge is counted as won,
 * lost, failed or cancelled exactly once (`close`); nothing is hedged after a byte of an answer was committed.
 */
import { WheelTimer } from '../../base/timer-wheel.ts';
import type { HedgePolicy } from '../config/snapshot.ts';
import type { MeshCluster } from '../mesh.ts';
import type { HedgeTiming } from '../policy/hedge-timing.ts';
import { AnswerReason, ClusterSlot, HedgeEvent } from '../stats/slots.ts';
import type { BodyBuffer } from './body-buffer.ts';
import type { Attempt, Exchange } from './exchange.ts';

export class Hedge extends WheelTimer {
  readonly exchange: Exchange;
  /** The primary's: its budget is spent, its events are counted. */
  readonly cluster: MeshCluster;
  readonly policy: HedgePolicy;
  readonly timing: HedgeTiming;
  /** The attempt that is under way beside `exchange.attempt`; null when there is none. */
  rival: Attempt | null = null;
  /** What is held of its answer. */
  held: BodyBuffer | null = null;
  /** A second attempt was made. */
  started = false;
  /** When the hedge must have answered; 0 for never. */
  dueMs = 0;
  /** `AnswerReason`: how the primary failed while the hedge was under way. */
  failedFor: number = AnswerReason.PRIMARY;
  private open = false;

  constructor(exchange: Exchange, cluster: MeshCluster, policy: HedgePolicy, timing: HedgeTiming) {
    super();
    this.exchange = exchange;
    this.cluster = cluster;
    this.policy = policy;
    this.timing = timing;
  }

  onExpire(nowMs: number): void {
    this.exchange.plane.onHedgeDue(this, nowMs);
  }

  /** The attempt beside the primary's begins. */
  begin(cells: Float64Array, rival: Attempt): void {
    this.rival = rival;
    this.started = true;
    this.exchange.hedged = true;
    this.open = true;
    this.count(cells, HedgeEvent.STARTED);
  }

  /** What became of it is known, as a `HedgeEvent`; later words are not heard. */
  close(cells: Float64Array, event: number): void {
    if (!this.open) return;
    this.open = false;
    this.count(cells, event);
  }

  /** Counts a `HedgeEvent`. */
  count(cells: Float64Array, event: number): void {
    cells[this.cluster.config.statsBase + ClusterSlot.HEDGES + event]! += 1;
  }
}

/** The rival is the exchange's attempt now, and the other way round. */
export function changePlaces(exchange: Exchange, hedge: Hedge): void {
  const { attempt, held } = exchange;
  exchange.attempt = hedge.rival;
  exchange.held = hedge.held;
  hedge.rival = attempt;
  hedge.held = held;
}

/** The exchange's attempt is the hedge, and the primary is still under way. */
export function isHedgeBeforePrimary(exchange: Exchange): boolean {
  return exchange.hedge?.rival != null && exchange.attempt!.reason === AnswerReason.HEDGE;
}
