/**
 * The copy of a request that is kept to send it again, and to show it to shadows: what is added to it, and when it is given
 * up. A request that outgrows it is from then on shown to its shadows as it comes (`StreamedCopy`).
 */

import { ClusterSlot, MirrorDrop } from '../stats/slots.ts';
import type { DataPlane } from './data-plane.ts';
import type { Exchange } from './exchange.ts';

/** Adds to the kept body; gives the copy up where a bound is reached, unless the bytes are needed to be sent at all. */
export function keepBody(
  plane: DataPlane,
  exchange: Exchange,
  buffer: Buffer,
  start: number,
  end: number,
  unsent: boolean,
): void {
  const body = exchange.body!;
  const { model } = exchange;
  const limit = model === null ? 0 : model.config.maxReplayBytes;
  const tooLarge = body.length + end - start > limit;
  const isShort = plane.bodies.bytes > plane.mesh.snapshot.maxReplayBytesTotal;
  if (unsent || !(tooLarge || isShort)) {
    plane.bodies.append(exchange, body, buffer, start, end);
    return;
  }
  if (exchange.mirrored !== null && !isShort) {
    plane.bodies.append(exchange, body, buffer, start, end);
    exchange.copy = plane.mirroring.begin(exchange);
  }
  giveUpCopy(plane, exchange, isShort ? MirrorDrop.PRESSURE : MirrorDrop.TOO_LARGE);
}

/** What had to be kept to be sent at all has been sent: its copy stays within the bounds like any other. */
export function boundCopy(plane: DataPlane, exchange: Exchange): void {
  const { model, mirrored } = exchange;
  if (model === null || mirrored !== null || (model.fallbacks.length === 0 && model.hedgeTiming === null)) return;
  const isShort = plane.bodies.bytes > plane.mesh.snapshot.maxReplayBytesTotal;
  if (isShort || exchange.body!.length > model.config.maxReplayBytes)
    giveUpCopy(plane, exchange, isShort ? MirrorDrop.PRESSURE : MirrorDrop.TOO_LARGE);
}

/** The request is complete: shadows that have not been shown it as it came are shown it now. */
export function showComplete(plane: DataPlane, exchange: Exchange): void {
  const { copy } = exchange;
  exchange.copy = null;
  if (copy === null) plane.mirroring.send(exchange, null);
  else copy.complete();
}

/** The request goes on without the copy: it cannot be sent again, nor shown to a shadow that has not seen it yet. */
export function giveUpCopy(plane: DataPlane, exchange: Exchange, reason: number): void {
  const { model, mirrored } = exchange;
  if (model !== null) plane.cells[exchange.attempt!.cluster.config.statsBase + ClusterSlot.NOT_REPLAYABLE]! += 1;
  exchange.replayable = false;
  if (mirrored !== null && exchange.copy === null && !exchange.bodyEnded) {
    plane.mirroring.drop(mirrored, reason);
    plane.mirroring.release(mirrored);
    exchange.mirrored = null;
  }
  plane.bodies.drop(exchange);
}
