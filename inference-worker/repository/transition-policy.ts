/**
 * What to do next so that a model never stops being served while it changes version: load what is wanted first, unload
 * what is not wanted only once a wanted version serves. A new version that fails to load therefore leaves the old one
 * serving. Stateless and idempotent: asked after every change, it names one step or none.
 */
import type { VersionStateKind } from './version-state.ts';

/** One version as the policy sees it. */
export interface VersionStanding {
  readonly version: bigint;
  readonly state: VersionStateKind;
  readonly wanted: boolean;
}

/** `drop` ends a version that is no longer wanted before its loading began. */
export interface TransitionAction {
  readonly kind: 'load' | 'unload' | 'drop';
  readonly version: bigint;
}

/**
 * The next step for one model, or null. `mayLoad` is false while every load slot is taken: other steps go on.
 * Loads take the highest version first, unloads the lowest.
 */
export function nextTransition(versions: Iterable<VersionStanding>, mayLoad: boolean): TransitionAction | null {
  let anyWanted = false;
  let wantedServing = false;
  let toLoad: bigint | null = null;
  let toUnload: bigint | null = null;
  for (const { version, state, wanted } of versions) {
    if (wanted) {
      anyWanted = true;
      if (state === 'AVAILABLE') wantedServing = true;
      if (state === 'START' && (toLoad === null || version > toLoad)) toLoad = version;
    } else if (state === 'START') {
      return { kind: 'drop', version };
    } else if (state === 'AVAILABLE' && (toUnload === null || version < toUnload)) {
      toUnload = version;
    }
  }
  if (toUnload !== null && (wantedServing || !anyWanted)) return { kind: 'unload', version: toUnload };
  if (toLoad !== null && mayLoad) return { kind: 'load', version: toLoad };
  return null;
}
