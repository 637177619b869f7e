/**
 * Writes that may wait a little: between `beginDeferring` and `endDeferring`, what is written to a socket does not ask for a
 * flush at the end of the event-loop turn, but leaves with the socket's next write that does, when its buffer is full, or
 * with `flushDeferred`. A turn on a thread that is not busy carries few requests, and a write of its own for a handful of
 * copies costs more than the copies.
 *
 * Rule: who defers flushes, by a timer of its own; nothing else does.
 */

/** A socket with bytes that wait. */
export interface Deferrable {
  flush(): void;
}

/** Read on every write: a plain field of one object, not a call. */
export const deferral: { active: boolean } = { active: false };

const waiting: Deferrable[] = [];

export function beginDeferring(): void {
  deferral.active = true;
}

export function endDeferring(): void {
  deferral.active = false;
}

/** Called by a socket when it is written to while deferring, once until it is flushed. */
export function defer(socket: Deferrable): void {
  waiting.push(socket);
}

/** Whether anything waits. */
export function hasDeferred(): boolean {
  return waiting.length > 0;
}

/** Hands on what waits. */
export function flushDeferred(): void {
  for (let i = 0; i < waiting.length; i++) waiting[i]!.flush();
  waiting.length = 0;
}
