/**
 * The Open Inference Protocol besides inference, as plain values: health, metadata, configuration, statistics and the
 * model repository. gRPC and REST write the same answers in their two encodings.
 */
import { dtypeToOip } from '../../../proto/tensor/dtype.ts';
import type { Servable } from '../../batching/batcher.ts';
import type { VersionStatus } from '../../repository/model-repository.ts';
import type { TensorSpec } from '../../session/signature.ts';
import { WorkerError } from '../../worker-error.ts';
import type { ServingService } from '../serving-service.ts';
import type { ServingState } from '../serving-state.ts';
import { loadParameterUnsupported, unknownModel } from './oip-errors.ts';
import { findOipServable, hasBatchAxis, mainSignature, oipServable, servingVersions } from './oip-lookup.ts';

export interface OipServiceOptions {
  readonly service: ServingService;
  readonly state: ServingState;
  /** Name and version of the program, for server metadata. */
  readonly serverName: string;
  readonly serverVersion: string;
  /** Rows in a batch of a model that batches, for its configuration. */
  readonly maxBatchSize: number;
  /** Longest wait for a batch to fill, in microseconds. */
  readonly batchTimeoutMicros: number;
  /** Whether models may be loaded and unloaded by call. */
  readonly managesModels: boolean;
}

export interface OipTensorMetadata {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
}

export interface OipModelMetadata {
  readonly name: string;
  readonly versions: readonly string[];
  readonly platform: string;
  readonly inputs: readonly OipTensorMetadata[];
  readonly outputs: readonly OipTensorMetadata[];
}

/** One version of one model in the repository index. */
export interface OipModelIndex {
  readonly name: string;
  readonly version: string;
  readonly state: string;
  readonly reason: string;
}

export const PLATFORM = 'onnxruntime_onnx';

export class OipService {
  readonly options: OipServiceOptions;
  private readonly service: ServingService;

  constructor(options: OipServiceOptions) {
    this.options = options;
    this.service = options.service;
  }

  get serverReady(): boolean {
    return this.options.state.serving;
  }

  /** What is implemented, and nothing else. */
  get extensions(): readonly string[] {
    const always = ['classification', 'schedule_policy', 'model_configuration', 'binary_tensor_data'];
    const extensions = [...always, 'parameters', 'statistics'];
    return this.options.managesModels ? ['model_repository', ...extensions] : extensions;
  }

  modelReady(name: string, version: string): boolean {
    const servable = findOipServable(this.service.view, name, version);
    return !(servable instanceof WorkerError) && servable.broken == null;
  }

  /** @throws WorkerError */
  servable(name: string, version: string): Servable {
    return oipServable(this.service.view, name, version);
  }

  /** @throws WorkerError */
  modelMetadata(name: string, version: string): OipModelMetadata {
    const signature = mainSignature(this.servable(name, version));
    return {
      name,
      versions: servingVersions(this.service.view.get(name)!),
      platform: PLATFORM,
      inputs: signature.inputs.map(tensorMetadata),
      outputs: signature.outputs.map(tensorMetadata),
    };
  }

  /** Rows that may share a batch of this servable; 0 where its tensors have no batch axis, in Triton's manner. */
  maxBatchSize(servable: Servable): number {
    return hasBatchAxis(mainSignature(servable)) ? this.options.maxBatchSize : 0;
  }

  /** The servables whose statistics are asked for: all, those of a model, or one. @throws WorkerError */
  measured(name: string, version: string): Servable[] {
    const { view } = this.service;
    if (name === '') return [...view.values()].flatMap((model) => [...model.byVersion.values()]);
    if (version !== '') return [this.servable(name, version)];
    this.servable(name, '');
    return [...view.get(name)!.byVersion.values()];
  }

  /** Every model and version known, or only those that serve. */
  index(readyOnly: boolean): OipModelIndex[] {
    const entries: OipModelIndex[] = [];
    for (const name of this.service.admin.names) {
      const statuses = statusesOf(this.service, name);
      if (statuses.length === 0 && !readyOnly) entries.push({ name, version: '', state: '', reason: '' });
      for (const status of statuses) {
        if (!readyOnly || status.state === 'AVAILABLE') entries.push(indexEntry(name, status));
      }
    }
    return entries;
  }

  /** Loads a model's wanted versions (again). Rejects with a WorkerError; every parameter is a reason. */
  async load(name: string, parameters: readonly string[]): Promise<void> {
    const [unsupported] = parameters;
    if (unsupported !== undefined) throw loadParameterUnsupported(unsupported);
    this.mustKnow(name);
    await this.service.admin.resume(name);
  }

  /** Unloads all versions of a model, until `load`. Rejects with a WorkerError. No model here depends on another. */
  async unload(name: string, parameters: readonly string[]): Promise<void> {
    const unsupported = parameters.find((parameter) => parameter !== 'unload_dependents');
    if (unsupported !== undefined) throw loadParameterUnsupported(unsupported);
    this.mustKnow(name);
    await this.service.admin.suspend(name);
  }

  private mustKnow(name: string): void {
    if (!this.service.admin.names.includes(name)) throw unknownModel(name);
  }
}

function tensorMetadata({ name, dtype, shape }: TensorSpec): OipTensorMetadata {
  return { name, datatype: dtypeToOip(dtype), shape };
}

/** Triton's four states. */
const STATES: Readonly<Record<VersionStatus['state'], string>> = {
  START: 'LOADING',
  LOADING: 'LOADING',
  AVAILABLE: 'READY',
  UNLOADING: 'UNLOADING',
  END: 'UNAVAILABLE',
};

function indexEntry(name: string, { version, state, error }: VersionStatus): OipModelIndex {
  const reason = error?.message ?? (state === 'END' ? 'unloaded' : '');
  return { name, version: String(version), state: STATES[state], reason };
}

/** Known versions of a model, highest first; none for a model without any. */
function statusesOf(service: ServingService, name: string): readonly VersionStatus[] {
  try {
    return service.status({ name, version: null, label: null, signatureName: '' });
  } catch (error) {
    if (error instanceof WorkerError) return [];
    throw error;
  }
}
