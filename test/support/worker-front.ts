/** A front of all four protocols over models loaded in this process, for tests. */
import type { Test } from 'tap';
import { systemClock } from '../../base/clock.ts';
import { Logger } from '../../base/logger.ts';
import { ServingService } from '../../inference-worker/api/serving-service.ts';
import { ServingState } from '../../inference-worker/api/serving-state.ts';
import { tfsMethods } from '../../inference-worker/api/tfs-methods.ts';
import type { Servable } from '../../inference-worker/batching/batcher.ts';
import type { BatchingOptions } from '../../inference-worker/batching/batching-options.ts';
import type { ServingFront } from '../../inference-worker/front/serving-front.ts';
import { openWorkerFront, type WorkerFrontOptions } from '../../inference-worker/front/worker-front.ts';
import { modelView, type ServableView } from '../../inference-worker/repository/servable-view.ts';
import { TestModels } from './test-models.ts';

export interface TestFront {
  readonly front: ServingFront;
  readonly state: ServingState;
  /** `127.0.0.1:PORT` that speaks everything. */
  readonly address: string;
  readonly url: string;
  readonly servables: ReadonlyMap<string, Servable>;
}

/** Serves each model at version 1 under its name, with the label `stable`. */
export async function openTestFront(
  t: Test,
  models: Readonly<Record<string, Buffer>>,
  options: Partial<WorkerFrontOptions> = {},
  batching: Partial<BatchingOptions> = {},
): Promise<TestFront> {
  const files = new TestModels();
  const servables = new Map<string, Servable>();
  for (const [model, bytes] of Object.entries(models)) {
    servables.set(model, await files.load(bytes, { place: 'front', maxBatchSize: 8, ...batching }, { model }));
  }
  const view: ServableView = new Map(
    [...servables].map(([name, servable]) => [name, modelView(name, [servable], new Map([['stable', 1n]]))]),
  );
  const service = new ServingService({
    view,
    statusOf: (model) => (view.has(model) ? [{ version: 1n, state: 'AVAILABLE', error: null }] : undefined),
  });
  const state = new ServingState();
  state.set(true);
  const front = openWorkerFront({
    service,
    state,
    methods: tfsMethods(service, { serializeAsTensorContent: false }),
    clock: systemClock,
    log: new Logger('silent'),
    maxMessageBytes: 4 * 1024 * 1024,
    restTimeoutMs: 5000,
    cors: false,
    maxBatchSize: 8,
    batchTimeoutMicros: 0,
    serverVersion: '0.0.0',
    managesModels: false,
    ...options,
  });
  const bound = await front.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, 'shared');
  const address = bound.kind === 'tcp' ? `127.0.0.1:${bound.port}` : bound.path;
  t.teardown(async () => {
    await front.close();
    await files.close();
  });
  return { front, state, address, url: `http://${address}`, servables };
}
