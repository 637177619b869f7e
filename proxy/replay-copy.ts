/** The copy of a request that is kept to send it again: what is added to it, and when it is given up. */
import type { DataPlane } from './data-plane.ts';
import type { Exchange } from './exchange.ts';
import { ClusterSlot, MirrorDrop } from './stats/slots.ts';

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
  const tooMuch = body.length + end - start > limit || plane.bodies.bytes > plane.mesh.snapshot.maxReplayBytesTotal;
  if (!unsent && tooMuch) {
    giveUpCopy(plane, exchange, MirrorDrop.TOO_LARGE);
    return;
  }
  plane.bodies.append(exchange, body, buffer, start, end);
}

/** The request goes on without the copy: it cannot be sent again, nor shown to a shadow that has not seen it yet. */
export function giveUpCopy(plane: DataPlane, exchange: Exchange, reason: number): void {
  const { model, mirrored } = exchange;
  if (model !== null) plane.cells[exchange.attempt!.cluster.config.statsBase + ClusterSlot.NOT_REPLAYABLE]! += 1;
  exchange.replayable = false;
  if (mirrored !== null && !exchange.bodyEnded) {
    plane.mirroring.drop(mirrored, reason);
    plane.mirroring.release(mirrored);
    exchange.mirrored = null;
  }
  plane.bodies.drop(exchange);
}
