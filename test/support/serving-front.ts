/** The TensorFlow Serving front over real servables, and a grpc-js client to it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { systemClock } from '../../base/clock.ts';
import { GrpcServer } from '../../inference-worker/api/grpc-server.ts';
import { ServingService } from '../../inference-worker/api/serving-service.ts';
import { tfsMethods } from '../../inference-worker/api/tfs-methods.ts';
import type { Servable } from '../../inference-worker/batching/batcher.ts';
import { modelView } from '../../inference-worker/repository/servable-view.ts';
import { TfsClient } from './tfs-client.ts';

export interface ServingFrontOptions {
  readonly serializeAsTensorContent?: boolean;
}

/** Serves each servable under its key. Closed with the test; the servables are not. */
export async function serveModels(
  t: Test,
  models: Readonly<Record<string, Servable>>,
  options: ServingFrontOptions = {},
): Promise<TfsClient> {
  const view = new Map(Object.entries(models).map(([name, one]) => [name, modelView(name, [one], new Map())]));
  const service = new ServingService({ view, statusOf: () => undefined });
  const server = new GrpcServer({
    methods: tfsMethods(service, { serializeAsTensorContent: options.serializeAsTensorContent ?? false }),
    clock: systemClock,
    maxMessageBytes: 10_000_000,
  });
  const directory = mkdtempSync(join(tmpdir(), 'understudy-front-'));
  const path = join(directory, 'front.sock');
  await server.listen({ kind: 'unix', path });
  const client = new TfsClient(`unix:${path}`);
  t.teardown(async () => {
    client.close();
    await server.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return client;
}
