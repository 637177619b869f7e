/**
 * The readers of model names of one data thread. Most messages come whole and share one reader; one that comes in pieces
 * keeps a reader of its own until its request ends.
 */

import { SpecReader } from '../routing/spec-reader.ts';
import type { Exchange } from './exchange.ts';

/** Readers kept for messages that come in several pieces. */
const MAX_IDLE = 64;

export class SpecReaders {
  shared = new SpecReader();
  /** The request that `shared` has read last. */
  sharedBy: Exchange | null = null;
  private readonly idle: SpecReader[] = [];

  /** The shared reader becomes the request's own: its message comes in several pieces. */
  give(exchange: Exchange): void {
    exchange.reader = this.shared;
    this.shared = this.idle.pop() ?? new SpecReader();
  }

  /** The request is over. */
  takeBack(exchange: Exchange): void {
    if (exchange.reader !== null && this.idle.length < MAX_IDLE) this.idle.push(exchange.reader);
    exchange.reader = null;
  }
}
