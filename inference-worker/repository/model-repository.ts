/**
 * Owns the models of one worker process: polls their directories, asks the version and transition policies, has versions
 * loaded and unloaded, and publishes the view that requests use. Rule: a version is in the view exactly while it is
 * AVAILABLE, and what one model or version runs into changes no other.
 */
import { join } from 'node:path';
import type { Logger } from '../../base/logger.ts';
import { ManagedModel, type ModelConfig } from './managed-model.ts';
import { scanModelDirectory, scanRepositoryDirectory } from './model-directory.ts';
import { EMPTY_VIEW, type ModelView, type ServableView } from './servable-view.ts';
import { nextTransition } from './transition-policy.ts';
import { type LoaderOptions, VersionLoader } from './version-loader.ts';
import type { VersionPolicy } from './version-policy.ts';
import type { VersionError, VersionHarness, VersionState, VersionStateKind } from './version-state.ts';

/** A directory whose every child directory is a model. */
export interface RepositoryDirectory {
  readonly path: string;
  readonly policyOf: (model: string) => VersionPolicy;
  /** Which children this process serves. */
  readonly accepts: (model: string) => boolean;
}

export interface RepositoryOptions extends LoaderOptions {
  readonly models: readonly ModelConfig[];
  readonly directory: RepositoryDirectory | null;
  /** Milliseconds from the end of one poll to the next; 0 polls once, a negative number leaves polling to `poll`. */
  readonly pollMs: number;
  readonly log: Logger;
  /** Told of every change of a version's state. */
  readonly onVersionChange?: (change: VersionChange) => void;
}

export interface VersionChange {
  readonly model: string;
  readonly version: bigint;
  readonly from: VersionStateKind;
  readonly to: VersionStateKind;
  readonly error: VersionError | null;
}

export interface VersionStatus {
  readonly version: bigint;
  readonly state: VersionStateKind;
  readonly error: VersionError | null;
}

export class ModelRepository {
  /** The versions serving now. Replaced whole; take it once per request. */
  view: ServableView = EMPTY_VIEW;
  private readonly options: RepositoryOptions;
  private readonly models = new Map<string, ManagedModel>();
  private readonly loader: VersionLoader;
  private readonly unloading = new Set<Promise<void>>();
  private pollTimer: NodeJS.Timeout | null = null;
  private closed = false;
  private readonly settledWaiters: (() => void)[] = [];

  constructor(options: RepositoryOptions) {
    this.options = options;
    this.loader = new VersionLoader(options, () => this.advance());
    for (const config of options.models) this.add(config);
    this.publish();
  }

  /** First poll, then resolves when every version wanted has loaded or failed its first attempt; polling goes on. */
  async start(): Promise<void> {
    if (this.options.pollMs >= 0) await this.poll();
    await this.whenSettled();
    if (this.options.pollMs > 0) this.schedulePoll();
  }

  /** Reads the directories once and acts on what changed. */
  async poll(): Promise<void> {
    await this.discover();
    for (const model of [...this.models.values()]) {
      const scan = await scanModelDirectory(model.config.basePath);
      if (this.closed) return;
      const reason = scan.kind === 'unreadable' ? scan.reason : null;
      if (reason !== null && model.unreadable === null) {
        this.options.log.warn('model_directory_unreadable', { model: model.name, reason });
      }
      model.unreadable = reason;
      if (scan.kind !== 'found') continue;
      for (const warning of scan.warnings) this.options.log.debug('model_directory_ambiguous', { warning });
      model.applyScan(scan.versions);
    }
    this.advance();
  }

  /** Resolves when nothing is starting, loading for the first time, or unloading. */
  async whenSettled(): Promise<void> {
    if (this.settled) return;
    await new Promise<void>((resolve) => this.settledWaiters.push(resolve));
  }

  /** Known versions of a model, highest first; undefined for a model that is not configured. */
  statusOf(model: string): VersionStatus[] | undefined {
    return this.models
      .get(model)
      ?.known()
      .map(({ version, state, error }) => ({ version, state: state.kind, error }));
  }

  /** Stops polling and loading, then unloads everything. Resolves when the last version has ended; never rejects. */
  async close(): Promise<void> {
    this.closed = true;
    if (this.pollTimer !== null) clearTimeout(this.pollTimer);
    this.loader.close();
    for (const model of this.models.values()) model.retire();
    this.advance();
    await this.whenSettled();
  }

  private get settled(): boolean {
    if (this.unloading.size > 0) return false;
    for (const model of this.models.values()) if (!(this.closed ? model.ended : model.settled)) return false;
    return true;
  }

  private add(config: ModelConfig): void {
    this.models.set(config.name, new ManagedModel(config, (harness, from) => this.moved(harness, from)));
  }

  /** Adds models that appeared in the repository directory, retires those that are gone. */
  private async discover(): Promise<void> {
    const { directory } = this.options;
    if (directory === null) return;
    const names = await scanRepositoryDirectory(directory.path);
    if (typeof names === 'string') {
      this.options.log.warn('repository_directory_unreadable', { reason: names });
      return;
    }
    if (this.closed) return;
    for (const name of names) {
      if (this.models.has(name) || !directory.accepts(name)) continue;
      this.add({
        name,
        basePath: join(directory.path, name),
        policy: directory.policyOf(name),
        labels: new Map(),
      });
    }
    for (const model of this.models.values()) {
      if (names.includes(model.name) || this.isConfigured(model.name)) continue;
      model.retire();
      if (model.ended) this.models.delete(model.name);
    }
    this.publish();
  }

  private isConfigured(name: string): boolean {
    return this.options.models.some((config) => config.name === name);
  }

  /** Takes every step the transition policy names. Each step changes a state, so the loop ends. */
  private advance(): void {
    for (const model of this.models.values()) {
      for (const harness of model.known()) {
        if (this.closed || !model.isWanted(harness.version)) this.loader.abandon(harness);
      }
      for (;;) {
        const action = nextTransition(model.standings(), this.loader.idle);
        if (action === null) break;
        this.perform(action.kind, model.harness(action.version)!);
      }
    }
    this.wakeSettled();
  }

  private perform(kind: 'load' | 'unload' | 'drop', harness: VersionHarness): void {
    if (kind === 'load') {
      this.loader.begin(harness);
    } else if (kind === 'drop') {
      harness.move({ kind: 'END', error: null });
    } else {
      const done = this.loader.unload(harness).finally(() => {
        this.unloading.delete(done);
        this.advance();
      });
      this.unloading.add(done);
    }
  }

  private moved(harness: VersionHarness, from: VersionState): void {
    const to = harness.state;
    if (from.kind === 'AVAILABLE' || to.kind === 'AVAILABLE') this.publish();
    const { model, version, error } = harness;
    const change: VersionChange = { model, version, from: from.kind, to: to.kind, error };
    if (error === null) this.options.log.info('version_state', { ...change });
    else this.options.log.error('version_state', { ...change });
    this.options.onVersionChange?.(change);
  }

  private publish(): void {
    const view = new Map<string, ModelView>();
    for (const model of this.models.values()) view.set(model.name, model.view());
    this.view = view;
  }

  private wakeSettled(): void {
    if (!this.settled) return;
    for (const resolve of this.settledWaiters.splice(0)) resolve();
  }

  private schedulePoll(): void {
    if (this.closed) return;
    this.pollTimer = setTimeout(() => {
      void this.poll().then(() => this.schedulePoll());
    }, this.options.pollMs);
  }
}
