/**
 * Owns the models of one worker process: polls their directories, asks the version and transition policies, has versions
 * loaded and unloaded, and publishes the view that requests use. Rule: a version is in the view exactly while it is
 * AVAILABLE, and what one model or version runs into changes no other.
 */
import type { Logger } from '../../base/logger.ts';
import { modelConfigured, reloadFailed } from '../worker-error.ts';
import type { ManagedModel, ModelConfig } from './managed-model.ts';
import type { ModelCard } from './model-card.ts';
import { scanModelDirectory, scanRepositoryDirectory } from './model-directory.ts';
import { ModelSet, type RepositoryDirectory } from './model-set.ts';
import { reloadRefusal } from './reload-rules.ts';
import { EMPTY_VIEW, type ServableView } from './servable-view.ts';
import { nextTransition } from './transition-policy.ts';
import { type LoaderOptions, VersionLoader } from './version-loader.ts';
import type { VersionError, VersionHarness, VersionState, VersionStateKind } from './version-state.ts';

export interface RepositoryOptions extends LoaderOptions {
  readonly models: readonly ModelConfig[];
  readonly directory: RepositoryDirectory | null;
  /** Milliseconds from the end of one poll to the next; 0 polls once, a negative number leaves polling to `poll`. */
  readonly pollMs: number;
  readonly log: Logger;
  /** Whether a new label may name a version that does not serve. */
  readonly allowLabelsForUnavailable?: boolean;
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
  /** What the version's model.yaml says; null or absent without one. */
  readonly card?: ModelCard | null;
  /** The release its directory is named after; null or absent for a number. */
  readonly release?: string | null;
}

const MAX_WARNINGS = 1_000;

export class ModelRepository {
  /** The versions serving now. Replaced whole; take it once per request. */
  view: ServableView = EMPTY_VIEW;
  private readonly options: RepositoryOptions;
  private readonly models: ModelSet;
  private reloading: Promise<unknown> = Promise.resolve();
  private readonly loader: VersionLoader;
  private readonly unloading = new Set<Promise<void>>();
  private pollTimer: NodeJS.Timeout | null = null;
  private closed = false;
  /** What was already said about directories, so that a poll every second does not repeat it. */
  private readonly warned = new Set<string>();
  private readonly settledWaiters: (() => void)[] = [];

  constructor(options: RepositoryOptions) {
    this.options = options;
    this.loader = new VersionLoader(options, () => this.advance());
    this.models = new ModelSet(options.models, (harness, from) => this.moved(harness, from));
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
    for (const model of this.models.all()) {
      if (model.removed) continue;
      const { config } = model;
      const scan = await scanModelDirectory(config.basePath);
      if (this.closed) return;
      // Another configuration came meanwhile; whoever brought it scans again.
      if (model.removed || model.config !== config) continue;
      const reason = scan.kind === 'unreadable' ? scan.reason : null;
      if (reason !== null && model.unreadable === null) {
        this.options.log.warn('model_directory_unreadable', { model: model.name, reason });
      }
      model.unreadable = reason;
      if (scan.kind !== 'found') continue;
      this.warn(model, scan.warnings);
      model.applyScan(scan.versions);
    }
    this.publish();
    this.advance();
  }

  /** The models configured now, by name. */
  get configuration(): readonly ModelConfig[] {
    return [...this.models.configuration.values()];
  }

  /** Every model that is served, configured or found. */
  get names(): readonly string[] {
    return this.models
      .all()
      .filter((model) => !model.removed)
      .map((model) => model.name);
  }

  /**
   * Replaces the configured models by `next`. Resolves when every model that is new serves a version; rejects with a
   * WorkerError when `next` is refused, which changes nothing, or when a model or label did not come about. One at a time.
   */
  reload(next: readonly ModelConfig[]): Promise<void> {
    return this.change(() => next);
  }

  /** Adds one model beside those configured. As `reload`. */
  addModel(config: ModelConfig): Promise<void> {
    return this.change((current) => {
      if (current.has(config.name)) throw modelConfigured(config.name, true);
      return [...current.values(), config];
    });
  }

  /** Takes one configured model out and unloads it. As `reload`. */
  removeModel(name: string): Promise<void> {
    return this.change((current) => {
      if (!current.has(name)) throw modelConfigured(name, false);
      return [...current.values()].filter((config) => config.name !== name);
    });
  }

  /** Unloads a model, which stays configured, until `resume`. Resolves when its last version has ended. */
  async suspend(name: string): Promise<void> {
    const model = this.models.present(name);
    model.suspended = true;
    model.retire();
    this.advance();
    await this.whenSettled();
  }

  /** Loads a model again. Rejects with a WorkerError when no version comes to serve. */
  async resume(name: string): Promise<void> {
    this.models.present(name).suspended = false;
    await this.poll();
    await this.whenSettled();
    const failure = this.models.failureOf(name);
    if (failure !== null) throw reloadFailed([failure]);
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
      .map(({ version, state, error, card, found }) => ({
        version,
        state: state.kind,
        error,
        card,
        release: found.label,
      }));
  }

  /** Stops polling and loading, then unloads everything. Resolves when the last version has ended; never rejects. */
  async close(): Promise<void> {
    this.closed = true;
    if (this.pollTimer !== null) clearTimeout(this.pollTimer);
    this.loader.close();
    for (const model of this.models.all()) model.retire();
    this.advance();
    await this.whenSettled();
  }

  private change(decide: (current: ReadonlyMap<string, ModelConfig>) => readonly ModelConfig[]): Promise<void> {
    const done = this.reloading.then(() => this.replace(decide(this.models.configuration)));
    this.reloading = done.catch(() => {});
    return done;
  }

  private async replace(next: readonly ModelConfig[]): Promise<void> {
    const { models } = this;
    const refusal = reloadRefusal(models.configuration, next);
    if (refusal !== null) throw refusal;
    const added = models.configure(next);
    this.publish();
    await this.poll();
    await this.whenSettled();
    const failed = added.map((name) => models.failureOf(name)).filter((text) => text !== null);
    if (failed.length > 0) throw reloadFailed(failed);
    models.assignLabels(next, this.options.allowLabelsForUnavailable ?? false);
    this.publish();
  }

  private warn(model: ManagedModel, warnings: readonly string[]): void {
    for (const warning of warnings) {
      if (this.warned.has(warning) || this.warned.size >= MAX_WARNINGS) continue;
      this.warned.add(warning);
      this.options.log.warn('version_directory', { model: model.name, warning });
    }
  }

  private get settled(): boolean {
    if (this.unloading.size > 0) return false;
    for (const model of this.models.all()) if (!(this.closed ? model.ended : model.settled)) return false;
    return true;
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
    this.models.discover(names, directory);
    this.publish();
  }

  /** Takes every step the transition policy names. Each step changes a state, so the loop ends. */
  private advance(): void {
    for (const model of this.models.all()) {
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
    this.view = this.models.view();
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
