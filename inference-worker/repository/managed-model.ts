/**
 * One configured model: the versions found for it, which of them are wanted, and a harness for each one known. What is
 * on disk comes in through `applyScan`; the transition policy is asked by the repository.
 */
import type { Servable } from '../batching/batcher.ts';
import type { FoundVersion } from './model-directory.ts';
import { type ModelView, modelView } from './servable-view.ts';
import type { VersionStanding } from './transition-policy.ts';
import { VersionLabels } from './version-labels.ts';
import { compareDescending, type VersionPolicy, wantedVersions } from './version-policy.ts';
import { VersionHarness, type VersionState, type VersionStateKind } from './version-state.ts';

/** What the flags or a configuration file ask for. */
export interface ModelConfig {
  readonly name: string;
  /** Directory holding the version directories. */
  readonly basePath: string;
  readonly policy: VersionPolicy;
  readonly labels: ReadonlyMap<string, bigint>;
  /** `model_platform` as configured; absent where nothing was said. It may not change while the model is configured. */
  readonly platform?: string;
}

/** Ended versions remembered per model for status calls; beyond it the lowest numbers are forgotten. */
export const MAX_ENDED_VERSIONS = 16;

export class ManagedModel {
  private current: ModelConfig;
  readonly labels: VersionLabels;
  private readonly onMove: (harness: VersionHarness, from: VersionState) => void;
  private readonly harnesses = new Map<bigint, VersionHarness>();
  private wanted: readonly bigint[] = [];
  /** Why the base path could not be read at the last poll; null when it could. */
  unreadable: string | null = null;
  /** No longer configured: what is left of it is unloaded, and its ended versions are remembered for status calls. */
  removed = false;
  /** Unloaded on request although it is configured; nothing is wanted until that is taken back. */
  suspended = false;

  constructor(config: ModelConfig, onMove: (harness: VersionHarness, from: VersionState) => void) {
    this.current = config;
    this.labels = new VersionLabels(config.labels);
    this.onMove = onMove;
  }

  get config(): ModelConfig {
    return this.current;
  }

  /** Follows another configuration of the same model from the next scan on. Labels are assigned by whoever checked them. */
  reconfigure(config: ModelConfig): void {
    this.current = config;
    this.removed = false;
    this.suspended = false;
  }

  get name(): string {
    return this.config.name;
  }

  /** Decides anew which versions are wanted. A version that ended is tried again once its file has changed. */
  applyScan(versions: ReadonlyMap<bigint, FoundVersion>): void {
    this.wanted = this.suspended ? [] : wantedVersions(this.config.policy, versions.keys());
    for (const version of this.wanted) {
      const found = versions.get(version)!;
      const known = this.harnesses.get(version);
      if (known === undefined || isWorthAnotherTry(known, found)) {
        this.harnesses.set(version, new VersionHarness(this.name, found, this.onMove));
      }
    }
    this.forgetOldest();
  }

  /** Nothing of this model is wanted any more: its versions are unloaded at the next steps. */
  retire(): void {
    this.wanted = [];
  }

  isWanted(version: bigint): boolean {
    return this.wanted.includes(version);
  }

  /** The harness of a version that is known, ended ones included. */
  harness(version: bigint): VersionHarness | undefined {
    return this.harnesses.get(version);
  }

  /** Known versions, highest first: the order of TensorFlow Serving's status answers. */
  known(): VersionHarness[] {
    return [...this.harnesses.values()].sort((a, b) => compareDescending(a.version, b.version));
  }

  /** What the transition policy decides on. */
  standings(): VersionStanding[] {
    const standings: VersionStanding[] = [];
    for (const { version, state } of this.harnesses.values()) {
      standings.push({ version, state: state.kind, wanted: this.isWanted(version) });
    }
    return standings;
  }

  /** True when no version can change without a new scan or an event from outside. */
  get settled(): boolean {
    return [...this.harnesses.values()].every((harness) => isSettled(harness.state));
  }

  serves(version: bigint): boolean {
    return this.harnesses.get(version)?.state.kind === 'AVAILABLE';
  }

  /** Whether any version serves. */
  get available(): boolean {
    return [...this.harnesses.values()].some((harness) => harness.state.kind === 'AVAILABLE');
  }

  /** True when every version has ended. */
  get ended(): boolean {
    return [...this.harnesses.values()].every((harness) => harness.state.kind === 'END');
  }

  view(): ModelView {
    const serving: Servable[] = [];
    const labels = new Map<string, bigint>();
    for (const { state, found } of this.harnesses.values()) {
      if (state.kind === 'AVAILABLE') serving.push(state.servable);
      if (found.label !== null) labels.set(found.label, found.version);
    }
    this.labels.settle((version) => this.serves(version));
    for (const [label, version] of this.labels.current) labels.set(label, version);
    return modelView(this.name, serving, labels);
  }

  private forgetOldest(): void {
    const ended = this.known().filter((harness) => harness.state.kind === 'END' && !this.isWanted(harness.version));
    for (const harness of ended.slice(MAX_ENDED_VERSIONS)) this.harnesses.delete(harness.version);
  }
}

/** A version unloaded cleanly is wanted again, or the file that failed was replaced. */
function isWorthAnotherTry(known: VersionHarness, found: FoundVersion): boolean {
  const { state } = known;
  if (state.kind !== 'END') return false;
  return state.error === null || known.found.fingerprint !== found.fingerprint;
}

const RESTING: readonly VersionStateKind[] = ['AVAILABLE', 'END'];

/** At rest, or waiting to try a failed load once more. */
function isSettled(state: VersionState): boolean {
  return RESTING.includes(state.kind) || (state.kind === 'LOADING' && state.attempt > 1);
}
