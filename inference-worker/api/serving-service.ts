/**
 * What the worker does, whoever asks: Predict, metadata and status as operations on plain values, with no transport in
 * them. The gRPC methods, the REST paths and the Open Inference Protocol read their own messages, call these, and write
 * their own answers; every refusal is a WorkerError in TensorFlow Serving's words.
 */
import { SIGNATURE_DEF } from '../../proto/tensor/metadata-answer.ts';
import type { Servable } from '../batching/batcher.ts';
import type { ModelConfig } from '../repository/managed-model.ts';
import type { VersionStatus } from '../repository/model-repository.ts';
import type { ServableView } from '../repository/servable-view.ts';
import type { Signature } from '../session/signature.ts';
import {
  administrationMissing,
  emptyModelName,
  metadataFieldMissing,
  metadataFieldUnsupported,
  missingModelSpec,
  reloadConfigUnsupported,
  statusNotFound,
  WorkerError,
} from '../worker-error.ts';
import type { ModelSpec } from './model-spec.ts';
import { type PredictArguments, PredictOperation, type PredictReceiver } from './predict-operation.ts';
import { chooseOutputs, type PredictTarget, predictTarget } from './predict-target.ts';
import { findServable } from './servable-lookup.ts';
import { writeRequest } from './tensor-request.ts';

/** Where requests find models: the repository, or a stand-in. */
export interface ServingModels {
  /** The versions serving now; replaced whole. */
  readonly view: ServableView;
  /** Known versions, highest first; undefined for a model nobody configured. */
  statusOf(model: string): readonly VersionStatus[] | undefined;
}

/** Who changes what is served: the repository. */
export interface ModelAdministration {
  /** The models configured by flags, file or reload, and the names of all that are served. */
  readonly configuration: readonly ModelConfig[];
  readonly names: readonly string[];
  /** See `ModelRepository` for these: each resolves when it has come about and rejects with a WorkerError. */
  reload(next: readonly ModelConfig[]): Promise<void>;
  addModel(config: ModelConfig): Promise<void>;
  removeModel(name: string): Promise<void>;
  suspend(name: string): Promise<void>;
  resume(name: string): Promise<void>;
}

export interface ModelMetadata {
  readonly model: string;
  readonly version: bigint;
  readonly signatures: ReadonlyMap<string, Signature>;
}

export class ServingService {
  private readonly models: ServingModels;
  private readonly administration: ModelAdministration | null;

  /** Without an `administration` the set of models cannot be changed, and whoever asks is told so. */
  constructor(models: ServingModels, administration: ModelAdministration | null = null) {
    this.models = models;
    this.administration = administration;
  }

  /** The versions serving now. Take it once per request. */
  get view(): ServableView {
    return this.models.view;
  }

  /** The servable a spec means. @throws WorkerError */
  servable(spec: ModelSpec | null): Servable {
    return orThrow(findServable(this.view, spec));
  }

  /** The servable and signature a Predict request means, or the refusal; does not throw, for callers that are hot. */
  findTarget(spec: ModelSpec | null): PredictTarget | WorkerError {
    const servable = findServable(this.view, spec);
    return servable instanceof WorkerError ? servable : predictTarget(servable, spec!.signatureName);
  }

  /** As `findTarget`. @throws WorkerError */
  target(spec: ModelSpec | null): PredictTarget {
    return orThrow(this.findTarget(spec));
  }

  /**
   * Predict. The receiver is called exactly once and never before this returns; `data` of the inputs is copied.
   * The operation returned can be cancelled. @throws WorkerError for every refusal, and then nothing else follows.
   */
  predict(spec: ModelSpec | null, request: PredictArguments, receiver: PredictReceiver): PredictOperation {
    const target = this.target(spec);
    const { view, buf } = writeRequest(request.inputs);
    const filter = orThrow(chooseOutputs(target, request.outputFilter ?? []));
    const operation = new PredictOperation(target, filter, request, receiver);
    const refusal = target.servable.submit(operation, view, buf);
    if (refusal !== null) throw refusal;
    return operation;
  }

  /** GetModelMetadata. @throws WorkerError */
  metadata(spec: ModelSpec | null, fields: readonly string[]): ModelMetadata {
    if (spec === null) throw missingModelSpec();
    if (fields.length === 0) throw metadataFieldMissing();
    const unsupported = fields.find((field) => field !== SIGNATURE_DEF);
    if (unsupported !== undefined) throw metadataFieldUnsupported(unsupported);
    const { model, version, signatures } = this.servable(spec);
    return { model, version, signatures };
  }

  /** GetModelStatus: one version, or all that are known. A label is ignored, as in TensorFlow Serving. @throws WorkerError */
  status(spec: ModelSpec | null): readonly VersionStatus[] {
    if (spec === null) throw missingModelSpec();
    const { name, version } = spec;
    if (name === '') throw emptyModelName();
    const known = this.models.statusOf(name) ?? [];
    const statuses = version === null ? known : known.filter((status) => status.version === version);
    if (statuses.length === 0) throw statusNotFound(name, version);
    return statuses;
  }

  /** HandleReloadConfigRequest: replaces the configured models; null is a request without a list. @throws WorkerError */
  async reload(models: readonly ModelConfig[] | null): Promise<void> {
    if (models === null) throw reloadConfigUnsupported();
    await this.admin.reload(models);
  }

  /** Who adds, removes, suspends and resumes single models, and tells the configuration. @throws WorkerError */
  get admin(): ModelAdministration {
    if (this.administration === null) throw administrationMissing();
    return this.administration;
  }
}

function orThrow<T>(result: T | WorkerError): T {
  if (result instanceof WorkerError) throw result;
  return result;
}
