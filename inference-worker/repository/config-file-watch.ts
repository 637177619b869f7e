/**
 * Follows a `model_config_file` while it is served from: looks at it now and then, and has a change applied like a
 * reload. A file with mistakes, or without models, changes nothing; one that could not be applied is tried again.
 */
import { readFile } from 'node:fs/promises';
import type { Logger } from '../../base/logger.ts';
import type { ModelConfig } from './managed-model.ts';
import { parseModelConfigFile } from './model-config-file.ts';

export interface ConfigFileWatchOptions {
  readonly path: string;
  /** Milliseconds from the end of one look to the next; 0 never looks by itself. */
  readonly pollMs: number;
  /** Makes the file's models the served ones; rejects with what stood in the way. */
  readonly apply: (models: readonly ModelConfig[]) => Promise<void>;
  readonly log: Logger;
}

export class ConfigFileWatch {
  private readonly options: ConfigFileWatchOptions;
  private applied: string | null = null;
  /** A problem already reported, so that every look does not report it again. */
  private reported = '';
  private timer: NodeJS.Timeout | null = null;
  private closed = false;

  constructor(options: ConfigFileWatchOptions) {
    this.options = options;
  }

  start(): void {
    if (this.options.pollMs > 0) this.schedule();
  }

  close(): void {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
  }

  /** Looks once. Resolves when a change has been applied, or has been refused and logged; never rejects. */
  async look(): Promise<void> {
    const { path, apply, log } = this.options;
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      this.report('model_config_file_unreadable', [(error as Error).message]);
      return;
    }
    if (text === this.applied || this.closed) return;
    const { models, problems } = parseModelConfigFile(text);
    if (problems.length > 0) {
      this.report('model_config_file_refused', problems);
      return;
    }
    try {
      if (models.length > 0) await apply(models);
    } catch (error) {
      this.report('model_config_file_not_applied', [(error as Error).message]);
      return;
    }
    this.applied = text;
    this.reported = '';
    log.info('model_config_file_applied', { path, models: models.map(({ name }) => name) });
  }

  private report(event: string, problems: readonly string[]): void {
    const report = `${event} ${problems.join('; ')}`;
    if (report === this.reported) return;
    this.reported = report;
    this.options.log.error(event, { path: this.options.path, problems });
  }

  private schedule(): void {
    if (this.closed) return;
    this.timer = setTimeout(() => {
      void this.look().then(() => this.schedule());
    }, this.options.pollMs);
  }
}
