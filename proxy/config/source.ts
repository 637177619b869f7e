/**
 * Where configuration comes from, and the rule that the last good one keeps running.
 *
 * The first configuration must be good: `open` throws every mistake at once. After that only the watched document can
 * change; an edit either takes effect whole or is refused and named in the log, and a file that disappears changes
 * nothing. Each snapshot published has a higher revision than the one before.
 */

import type { Logger } from '../../base/logger.ts';
import type { Allocate } from './allocation.ts';
import { compileMesh, deepFreeze, EMPTY_DOCUMENT } from './compile.ts';
import { MAX_DOCUMENT_BYTES, parseDocument } from './document.ts';
import type { ConfigDocument } from './document-fields.ts';
import { type Environment, type EnvironmentVariables, parseEnvironment } from './env.ts';
import { ConfigError, formatProblem, type Problem, ProblemList } from './problem.ts';
import { PROCESS_FIELDS, type ProcessSettings } from './process-fields.ts';
import type { MeshSnapshot } from './snapshot.ts';
import { checkTlsFiles } from './tls-material.ts';
import { DEFAULT_WATCH, readTextFile, WatchedFile, type WatchOptions } from './watched-file.ts';

/** One configuration that was found good, deep-frozen. */
export interface Configuration {
  readonly settings: ProcessSettings;
  readonly document: ConfigDocument;
  readonly mesh: MeshSnapshot;
}

export interface ConfigSourceOptions {
  readonly env: EnvironmentVariables;
  readonly allocate: Allocate;
  readonly log: Logger;
  /** Told of each configuration after the first, once it is in `current`. */
  readonly onChange: (configuration: Configuration) => void;
  readonly watch?: WatchOptions;
}

export class ConfigSource {
  /** The environment the process was started with; holds secrets, so show it through `describeConfiguration` only. */
  readonly variables: EnvironmentVariables;
  private readonly options: ConfigSourceOptions;
  private readonly environment: Environment;
  private readonly file: WatchedFile | null;
  private running: Configuration;
  private refusedProblems: readonly Problem[] = [];
  /** Configurations read so far, the first included, by what became of them. */
  readonly loads = { applied: 1, unchanged: 0, refused: 0, unreadable: 0 };

  /** Reads everything there is, or throws a `ConfigError` with every mistake. Watches nothing before `start`. */
  static open(options: ConfigSourceOptions): ConfigSource {
    return new ConfigSource(options);
  }

  private constructor(options: ConfigSourceOptions) {
    this.options = options;
    this.variables = options.env;
    const problems = new ProblemList();
    this.environment = parseEnvironment(options.env, problems);
    const { settings } = this.environment;
    const text = firstText(settings, problems);
    const first = this.build(text, 1, problems);
    if (first === null) throw new ConfigError(problems.problems);
    this.running = first;
    this.file = settings.configFile === null ? null : this.follow(settings.configFile, text ?? '');
  }

  /** The configuration in force. */
  get current(): Configuration {
    return this.running;
  }

  /** Mistakes of the newest edit if it was refused; empty when what is written is what runs. */
  get refused(): readonly Problem[] {
    return this.refusedProblems;
  }

  /** Begins to watch the document, if there is a file. */
  start(): void {
    this.file?.start();
  }

  close(): void {
    this.file?.close();
  }

  private follow(path: string, text: string): WatchedFile {
    const observer = {
      onText: (edited: string) => this.apply(path, edited),
      onTrouble: (error: Error) => {
        const revision = this.running.mesh.revision;
        this.loads.unreadable++;
        this.options.log.warn('config_file_unreadable', { path, error, runningRevision: revision });
      },
    };
    return new WatchedFile(path, text, MAX_DOCUMENT_BYTES, observer, this.options.watch ?? DEFAULT_WATCH);
  }

  /** One edit: in force whole, or refused. */
  private apply(path: string, text: string): void {
    const problems = new ProblemList();
    const { revision } = this.running.mesh;
    const next = this.build(text, revision + 1, problems);
    this.refusedProblems = problems.problems;
    if (next === null) {
      this.loads.refused++;
      const mistakes = problems.problems.map(formatProblem);
      this.options.log.error('config_refused', { path, mistakes, runningRevision: revision });
    } else if (sameMesh(next.mesh, this.running.mesh)) {
      this.loads.unchanged++;
      this.running = { ...next, mesh: this.running.mesh };
      this.options.log.info('config_unchanged', { path, revision });
    } else {
      this.loads.applied++;
      this.running = next;
      this.options.log.info('config_applied', { path, revision: revision + 1 });
      this.options.onChange(next);
    }
  }

  /** Compiles a document's text (null for no document); null with `problems` filled when anything is wrong. */
  private build(text: string | null, revision: number, problems: ProblemList): Configuration | null {
    const document = text === null ? EMPTY_DOCUMENT : (parseDocument(text, problems) ?? EMPTY_DOCUMENT);
    const mesh = compileMesh(this.environment, document, this.options.allocate, revision, problems);
    if (mesh === null) return null;
    checkTlsFiles(this.environment.settings, mesh, problems);
    return problems.length > 0 ? null : deepFreeze({ settings: this.environment.settings, document, mesh });
  }
}

/** The document's text at start, null when there is none or it cannot be read. */
function firstText(settings: ProcessSettings, problems: ProblemList): string | null {
  if (settings.configFile === null) return settings.configInline;
  try {
    return readTextFile(settings.configFile, MAX_DOCUMENT_BYTES);
  } catch (error) {
    const name = PROCESS_FIELDS.configFile.environment;
    problems.add(name, settings.configFile, 'the path of a readable file', (error as Error).message);
    return null;
  }
}

/** Whether two snapshots say the same, revision aside. Both come from one compiler, so equal values print equally. */
function sameMesh(a: MeshSnapshot, b: MeshSnapshot): boolean {
  return JSON.stringify({ ...a, revision: 0 }) === JSON.stringify({ ...b, revision: 0 });
}
