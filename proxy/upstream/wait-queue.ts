/** Requests that wait for a connection: a bounded queue in which each can also leave from the middle, at no cost. */
import type { Http1ClientConnection } from '../../proto/http1/client-connection.ts';
import type { Http2Connection } from '../../proto/http2/connection.ts';
import type { Balanced } from './balancer.ts';

/** Why a waiting request was not given a connection. */
export const Unavailable = { CONNECT_FAILED: 0, PENDING_FULL: 1, CLOSED: 2, NO_ENDPOINT: 3 } as const;

/** Bounds how many requests of a cluster wait, whichever endpoints and threads they wait at. */
export interface PendingBound {
  /** One more waits; false when there are enough. */
  tryWait(): boolean;
  stopWaiting(): void;
}

/** A request that wants a connection. Linked into its pool's queue while it waits. */
export abstract class Waiter {
  poolNext: Waiter | null = null;
  poolPrevious: Waiter | null = null;
  waitingIn: WaitQueue | null = null;
  /** Of the cluster it last asked. */
  pendingBound: PendingBound | null = null;
  /** The endpoint it is with, where endpoints are picked one by one, and what that endpoint's guard decided. */
  endpoint: Balanced<unknown> | null = null;
  admission = 0;
  admissionEpoch = 0;
  /** The endpoint it was with before: not picked again while there is another. */
  left: Balanced<unknown> | null = null;

  /** This connection has room: open a stream on it now. */
  abstract onConnection(connection: Http2Connection | Http1ClientConnection): void;
  /** No connection is to be had; `reason` is an `Unavailable`. */
  abstract onUnavailable(reason: number): void;
}

/** First come, first served. Its bounds belong to the clusters of those who wait. */
export class WaitQueue {
  first: Waiter | null = null;
  length = 0;
  private last: Waiter | null = null;

  /** Lets the waiter wait; false when its cluster has enough of them. */
  tryPush(waiter: Waiter): boolean {
    if (waiter.pendingBound?.tryWait() === false) return false;
    waiter.waitingIn = this;
    waiter.poolPrevious = this.last;
    if (this.last === null) this.first = waiter;
    else this.last.poolNext = waiter;
    this.last = waiter;
    this.length++;
    return true;
  }

  /** Takes a waiter out, wherever it stands; does nothing if it is not in this queue. */
  forget(waiter: Waiter): void {
    if (waiter.waitingIn !== this) return;
    if (waiter.poolPrevious === null) this.first = waiter.poolNext;
    else waiter.poolPrevious.poolNext = waiter.poolNext;
    if (waiter.poolNext === null) this.last = waiter.poolPrevious;
    else waiter.poolNext.poolPrevious = waiter.poolPrevious;
    waiter.poolNext = null;
    waiter.poolPrevious = null;
    waiter.waitingIn = null;
    waiter.pendingBound?.stopWaiting();
    this.length--;
  }

  /** Tells everybody that there is no connection. */
  failAll(reason: number): void {
    while (this.first !== null) {
      const waiter = this.first;
      this.forget(waiter);
      waiter.onUnavailable(reason);
    }
  }
}
