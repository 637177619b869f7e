/** A gRPC front over servables that answer by hand, and a grpc-js client to it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { systemClock } from '../../../../base/clock.ts';
import { GrpcServer } from '../../../../inference-worker/api/grpc-server.ts';
import { HealthCheckMethod, HealthWatchMethod } from '../../../../inference-worker/api/health.ts';
import { GetModelMetadataMethod } from '../../../../inference-worker/api/model-metadata.ts';
import { GetModelStatusMethod } from '../../../../inference-worker/api/model-status.ts';
import { PredictMethod } from '../../../../inference-worker/api/predict.ts';
import { ServingService } from '../../../../inference-worker/api/serving-service.ts';
import { ServingState } from '../../../../inference-worker/api/serving-state.ts';
import type { OutputView, PredictCall, Servable } from '../../../../inference-worker/batching/batcher.ts';
import type { VersionStatus } from '../../../../inference-worker/repository/model-repository.ts';
import { modelView, type ServableView } from '../../../../inference-worker/repository/servable-view.ts';
import type { Signature, TensorSpec } from '../../../../inference-worker/session/signature.ts';
import type { WorkerError } from '../../../../inference-worker/worker-error.ts';
import type { PredictRequestView } from '../../../../proto/tensor/tensor-view.ts';
import { TfsClient } from '../../../support/tfs-client.ts';

const float = (name: string): TensorSpec => ({ name, dtype: 1, ortType: 'float32', shape: [-1, 2] });

const SIGNATURE: Signature = {
  name: 'serving_default',
  methodName: 'tensorflow/serving/predict',
  inputs: [float('x')],
  outputs: [float('y'), float('z')],
};

/** Answers every call with y = [1, 2] and z = [3, 4] in its second row of three, unless told otherwise. */
export class HandServable {
  readonly model: string;
  readonly version: bigint;
  readonly signatures = new Map([[SIGNATURE.name, SIGNATURE]]);
  readonly stats = { provider: 'webgpu' };
  readonly calls: PredictCall[] = [];
  /** Names of the inputs of each call. */
  readonly inputs: string[][] = [];
  refusal: WorkerError | null = null;
  /** Keeps calls until `answer`. */
  held = false;

  constructor(model: string, version: bigint) {
    this.model = model;
    this.version = version;
  }

  submit(call: PredictCall, request: PredictRequestView, buf: Buffer): WorkerError | null {
    if (this.refusal !== null) return this.refusal;
    this.calls.push(call);
    const names: string[] = [];
    for (let i = 0; i < request.inputs.count; i++) names.push(request.inputs.nameAt(buf, i));
    this.inputs.push(names);
    if (!this.held) setImmediate(() => this.answer(call));
    return null;
  }

  answer(call: PredictCall): void {
    const view = (spec: TensorSpec, values: number[]): OutputView => ({
      spec,
      data: Float32Array.from(values),
      dims: [3, 2],
      batched: true,
      rowElements: 2,
    });
    const [y, z] = SIGNATURE.outputs;
    call.onOutputs([view(y!, [0, 0, 1, 2, 9, 9]), view(z!, [0, 0, 3, 4, 9, 9])], 1, 1);
  }

  async close(): Promise<void> {}
}

export interface Front {
  readonly servables: readonly HandServable[];
  readonly state: ServingState;
  readonly watch: HealthWatchMethod;
  readonly server: GrpcServer;
  readonly client: TfsClient;
  readonly path: string;
  readonly source: { view: ServableView; statuses: VersionStatus[] };
}

/** A front serving model `m` at versions 1 and 9223372036854775807, the label `stable` on 1. */
export async function openFront(t: Test, maxMessageBytes = 1_000_000): Promise<Front> {
  const servables = [new HandServable('m', 1n), new HandServable('m', 9223372036854775807n)];
  const view = modelView('m', servables as unknown as Servable[], new Map([['stable', 1n]]));
  const source = { view: new Map([['m', view]]) as ServableView, statuses: [] as VersionStatus[] };
  const service = new ServingService({
    get view() {
      return source.view;
    },
    statusOf: (model) => (model === 'm' ? source.statuses : undefined),
  });
  const state = new ServingState();
  const watch = new HealthWatchMethod(state);
  const server = new GrpcServer({
    methods: [
      new PredictMethod(service),
      new GetModelMetadataMethod(service),
      new GetModelStatusMethod(service),
      new HealthCheckMethod(state),
      watch,
    ],
    clock: systemClock,
    maxMessageBytes,
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
  return { servables, state, watch, server, client, path, source };
}
