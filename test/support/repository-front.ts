/** The TensorFlow Serving front over a real repository on disk, in this process, and a grpc-js client to it. */
import { join } from 'node:path';
import type { Test } from 'tap';
import { systemClock } from '../../base/clock.ts';
import { Logger } from '../../base/logger.ts';
import { GrpcServer } from '../../inference-worker/api/grpc-server.ts';
import { ServingService } from '../../inference-worker/api/serving-service.ts';
import { tfsMethods } from '../../inference-worker/api/tfs-methods.ts';
import { DEFAULT_BATCHING } from '../../inference-worker/batching/batching-options.ts';
import type { ModelConfig } from '../../inference-worker/repository/managed-model.ts';
import { ModelRepository, type RepositoryOptions } from '../../inference-worker/repository/model-repository.ts';
import { LATEST_ONE } from '../../inference-worker/repository/version-policy.ts';
import { openVersion } from '../../inference-worker/version-opening.ts';
import type { ModelFolder } from './model-folder.ts';
import { TfsClient } from './tfs-client.ts';

export interface RepositoryFront {
  readonly folder: ModelFolder;
  readonly repository: ModelRepository;
  readonly client: TfsClient;
  /** Events that were logged, in order. */
  readonly logged: Record<string, unknown>[];
}

/** A model of that name in the folder, with the highest version served. */
export function configured(folder: ModelFolder, name: string, more: Partial<ModelConfig> = {}): ModelConfig {
  return { name, basePath: folder.at(name), policy: LATEST_ONE, labels: new Map(), ...more };
}

/** Serves `models(folder)` from `folder`, polled by hand. Everything is closed and removed with the test. */
export async function serveRepository(
  t: Test,
  folder: ModelFolder,
  models: readonly ModelConfig[],
  { requireManifest, ...more }: Partial<RepositoryOptions> & { requireManifest?: boolean } = {},
): Promise<RepositoryFront> {
  const logged: Record<string, unknown>[] = [];
  const log = new Logger('info', {}, (line) => logged.push(JSON.parse(line) as Record<string, unknown>));
  const repository = new ModelRepository({
    models,
    directory: null,
    pollMs: -1,
    maxLoadRetries: 0,
    loadRetryMs: 1,
    log,
    load: (model, found, describe) =>
      openVersion(model, found, describe, {
        batching: { ...DEFAULT_BATCHING, maxBatchSize: 64, place: 'front' },
        perModelBatching: true,
        requireManifest: requireManifest ?? false,
        warmUp: true,
        warmUpIterations: 1,
        maxRecordBytes: 1_000_000,
        clock: systemClock,
        log,
      }),
    ...more,
  });
  const service = new ServingService(repository, repository);
  const methods = tfsMethods(service, { serializeAsTensorContent: false });
  const server = new GrpcServer({ methods, clock: systemClock, maxMessageBytes: 10_000_000 });
  const path = join(folder.path, 'front.sock');
  await server.listen({ kind: 'unix', path });
  const client = new TfsClient(`unix:${path}`);
  t.teardown(async () => {
    client.close();
    await server.close();
    await repository.close();
    folder.remove();
  });
  await repository.poll();
  await repository.whenSettled();
  return { folder, repository, client, logged };
}
