/**
 * The models of one worker process by name: those configured, those found in a repository directory, and those removed
 * whose last states are still told. Changes here are decisions; loading and unloading follow in the repository.
 */
import { join } from 'node:path';
import { labelForUnreadyVersion, modelConfigured } from '../worker-error.ts';
import { ManagedModel, type ModelConfig } from './managed-model.ts';
import type { ModelView, ServableView } from './servable-view.ts';
import type { VersionPolicy } from './version-policy.ts';
import type { VersionHarness, VersionState } from './version-state.ts';

/** A directory whose every child directory is a model. */
export interface RepositoryDirectory {
  readonly path: string;
  readonly policyOf: (model: string) => VersionPolicy;
  /** Which children this process serves. */
  readonly accepts: (model: string) => boolean;
}

/** Removed models whose last states are still told; beyond it the ones removed first are forgotten. */
const MAX_REMOVED_MODELS = 256;

export class ModelSet {
  private readonly models = new Map<string, ManagedModel>();
  /** What flags, a file or a reload configured; models found in a directory are not among them. */
  private readonly configs = new Map<string, ModelConfig>();
  private readonly onMove: (harness: VersionHarness, from: VersionState) => void;

  constructor(configs: readonly ModelConfig[], onMove: (harness: VersionHarness, from: VersionState) => void) {
    this.onMove = onMove;
    for (const config of configs) {
      this.configs.set(config.name, config);
      this.add(config);
    }
  }

  /** Every model, removed ones included. */
  all(): ManagedModel[] {
    return [...this.models.values()];
  }

  /** A model that is known, removed or not. */
  get(name: string): ManagedModel | undefined {
    return this.models.get(name);
  }

  /** A model that is configured or found. @throws WorkerError */
  present(name: string): ManagedModel {
    const model = this.models.get(name);
    if (model === undefined || model.removed) throw modelConfigured(name, false);
    return model;
  }

  get configuration(): ReadonlyMap<string, ModelConfig> {
    return this.configs;
  }

  /** Puts `next` in the place of the configured models. Returns the names that are new. Labels stay as they were. */
  configure(next: readonly ModelConfig[]): string[] {
    const added = next.filter(({ name }) => !this.configs.has(name)).map(({ name }) => name);
    const gone = [...this.configs.keys()].filter((name) => !next.some((config) => config.name === name));
    this.configs.clear();
    for (const config of next) {
      this.configs.set(config.name, config);
      const model = this.models.get(config.name);
      if (model === undefined) this.add({ ...config, labels: new Map() });
      else model.reconfigure(config);
    }
    for (const name of gone) this.remove(name);
    return added;
  }

  /** Takes in the children of a repository directory: adds the new ones, retires those that are gone. */
  discover(names: readonly string[], directory: RepositoryDirectory): void {
    for (const name of names) {
      const known = this.models.get(name);
      if ((known !== undefined && !known.removed) || !directory.accepts(name)) continue;
      const basePath = join(directory.path, name);
      const config = { name, basePath, policy: directory.policyOf(name), labels: new Map() };
      if (known === undefined) this.add(config);
      else known.reconfigure(config);
    }
    for (const model of this.all()) {
      if (model.removed || names.includes(model.name) || this.configs.has(model.name)) continue;
      model.retire();
      if (model.ended) this.models.delete(model.name);
    }
  }

  /** Assigns the labels of `configs`, all or none. @throws WorkerError naming the first that may not be assigned */
  assignLabels(configs: readonly ModelConfig[], allowUnavailable: boolean): void {
    for (const { name, labels } of configs) {
      const model = this.models.get(name);
      const serves = (version: bigint): boolean => model?.serves(version) ?? false;
      const version = model?.labels.obstacle(labels, serves, allowUnavailable) ?? null;
      if (version !== null) throw labelForUnreadyVersion(name, version);
    }
    for (const { name, labels } of configs) this.models.get(name)?.labels.replace(labels);
  }

  /** Why a model does not serve, with its name; null when it does. */
  failureOf(name: string): string | null {
    const model = this.models.get(name);
    if (model === undefined || model.removed) return `${name}: not configured`;
    if (model.available) return null;
    const failed = model.known().find((harness) => harness.error !== null);
    if (failed !== undefined)
      return `{name: ${name} version: ${failed.version}} due to error: ${failed.error!.message}`;
    return `${name}: ${model.unreadable ?? `no version found in ${model.config.basePath}`}`;
  }

  view(): ServableView {
    const view = new Map<string, ModelView>();
    for (const model of this.models.values()) if (!model.removed) view.set(model.name, model.view());
    return view;
  }

  private add(config: ModelConfig): void {
    this.models.set(config.name, new ManagedModel(config, this.onMove));
  }

  private remove(name: string): void {
    const model = this.models.get(name)!;
    model.removed = true;
    model.retire();
    // Inserted anew, so that the map's order is the order of removal.
    this.models.delete(name);
    this.models.set(name, model);
    const ended = this.all().filter((candidate) => candidate.removed && candidate.ended);
    const tooMany = Math.max(0, ended.length - MAX_REMOVED_MODELS);
    for (const { name: oldest } of ended.slice(0, tooMany)) this.models.delete(oldest);
  }
}
