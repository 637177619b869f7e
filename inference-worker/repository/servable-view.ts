/**
 * What requests look servables up in: an immutable picture of the versions that are AVAILABLE, built aside and replaced
 * whole by the repository. A request takes the picture once and keeps the servable it found.
 */
import type { Servable } from '../batching/batcher.ts';

/** The serving versions of one model. A model without any is still in the view: it is known, and nothing serves. */
export interface ModelView {
  readonly name: string;
  /** Highest serving version. */
  readonly latest: Servable | null;
  readonly byVersion: ReadonlyMap<bigint, Servable>;
  readonly labels: ReadonlyMap<string, bigint>;
}

export type ServableView = ReadonlyMap<string, ModelView>;

export const EMPTY_VIEW: ServableView = new Map();

/** A model's view from its serving versions. */
export function modelView(name: string, serving: Iterable<Servable>, labels: ReadonlyMap<string, bigint>): ModelView {
  const byVersion = new Map<bigint, Servable>();
  let latest: Servable | null = null;
  for (const servable of serving) {
    byVersion.set(servable.version, servable);
    if (latest === null || servable.version > latest.version) latest = servable;
  }
  return { name, latest, byVersion, labels };
}
