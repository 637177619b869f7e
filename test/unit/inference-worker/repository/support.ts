/** Directories with model files, and servables that only know whether they were closed. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Logger } from '../../../../base/logger.ts';
import type { Servable } from '../../../../inference-worker/batching/batcher.ts';
import { ModelRepository, type RepositoryOptions } from '../../../../inference-worker/repository/model-repository.ts';
import { LATEST_ONE, type VersionPolicy } from '../../../../inference-worker/repository/version-policy.ts';

export class FakeServable {
  readonly model: string;
  readonly version: bigint;
  readonly signatures = new Map();
  closed = false;

  constructor(model: string, version: bigint) {
    this.model = model;
    this.version = version;
  }

  submit(): null {
    return null;
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

export class LoadRefusal extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** A temporary base directory that is removed with the test. */
export class ModelDirectory {
  readonly path = mkdtempSync(join(tmpdir(), 'understudy-models-'));

  put(relative: string, text = 'onnx'): void {
    const file = join(this.path, relative, 'model.onnx');
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  remove(relative = ''): void {
    rmSync(join(this.path, relative), { recursive: true, force: true });
  }
}

/** A repository polled by hand, its loads answered by `load`, with every state change written to `changes`. */
export function repositoryOver(
  base: ModelDirectory,
  more: Partial<RepositoryOptions> & { policy?: VersionPolicy } = {},
): { repository: ModelRepository; changes: string[]; loaded: FakeServable[] } {
  const changes: string[] = [];
  const loaded: FakeServable[] = [];
  const repository = new ModelRepository({
    models: [{ name: 'm', basePath: join(base.path, 'm'), policy: more.policy ?? LATEST_ONE, labels: new Map() }],
    directory: null,
    pollMs: -1,
    maxLoadRetries: 2,
    loadRetryMs: 1,
    log: new Logger('silent'),
    load: async (model, found) => {
      const servable = new FakeServable(model, found.version);
      loaded.push(servable);
      return servable as unknown as Servable;
    },
    onVersionChange: (change) => changes.push(`${change.model}@${change.version} ${change.from}>${change.to}`),
    ...more,
  });
  return { repository, changes, loaded };
}
