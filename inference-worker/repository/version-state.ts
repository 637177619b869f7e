/**
 * The life of one version of one model, with the names TensorFlow Serving gives its states. `VersionHarness` holds the
 * state; every change goes through `move`, which asserts that the change is in `LEGAL_TRANSITIONS`. END is for ever: a
 * version that comes back gets a new harness.
 */
import { assert } from '../../base/assert.ts';
import type { Servable } from '../batching/batcher.ts';
import type { ModelCard } from './model-card.ts';
import type { FoundVersion } from './model-directory.ts';

/** Why a version failed: what GetModelStatus shows, and what is logged. */
export interface VersionError {
  readonly code: number;
  readonly message: string;
}

export type VersionState =
  /** Wanted, waiting for its turn to load. */
  | { readonly kind: 'START' }
  /** Being loaded; `attempt` counts from 1. `error` is what the previous attempt ran into. */
  | { readonly kind: 'LOADING'; readonly attempt: number; readonly error: VersionError | null }
  /** Serving. */
  | { readonly kind: 'AVAILABLE'; readonly servable: Servable }
  /** Out of the lookup; accepted calls are being finished. */
  | { readonly kind: 'UNLOADING'; readonly servable: Servable }
  /** Gone, or never came: `error` is kept for status calls. */
  | { readonly kind: 'END'; readonly error: VersionError | null };

export type VersionStateKind = VersionState['kind'];

/** Every legal change. LOADING to itself is a retry. */
export const LEGAL_TRANSITIONS: Readonly<Record<VersionStateKind, readonly VersionStateKind[]>> = {
  START: ['LOADING', 'END'],
  LOADING: ['LOADING', 'AVAILABLE', 'END'],
  AVAILABLE: ['UNLOADING'],
  UNLOADING: ['END'],
  END: [],
};

/** `state` numbers of `GetModelStatusResponse` (WIRE.md section 1). */
export const STATE_NUMBERS: Readonly<Record<VersionStateKind, number>> = {
  START: 10,
  LOADING: 20,
  AVAILABLE: 30,
  UNLOADING: 40,
  END: 50,
};

/** One version's state and what it was found as. */
export class VersionHarness {
  readonly model: string;
  readonly found: FoundVersion;
  /** What the version's model.yaml says, once it has been read. */
  card: ModelCard | null = null;
  private current: VersionState = { kind: 'START' };
  private readonly onMove: (harness: VersionHarness, from: VersionState) => void;

  constructor(model: string, found: FoundVersion, onMove: (harness: VersionHarness, from: VersionState) => void) {
    this.model = model;
    this.found = found;
    this.onMove = onMove;
  }

  get version(): bigint {
    return this.found.version;
  }

  get state(): VersionState {
    return this.current;
  }

  /** The error kept with the state, if it has one. */
  get error(): VersionError | null {
    return 'error' in this.current ? this.current.error : null;
  }

  /** Changes state and tells the owner. An illegal change is a programmer's error. */
  move(next: VersionState): void {
    const from = this.current;
    const legal = LEGAL_TRANSITIONS[from.kind].includes(next.kind);
    assert(legal, `version ${this.model}@${this.version} cannot go from ${from.kind} to ${next.kind}`);
    this.current = next;
    this.onMove(this, from);
  }
}
