/**
 * The one place that touches onnxruntime. It uses the binding underneath the package's `InferenceSession`, whose `run` is
 * the same native call behind a `setImmediate` and a promise: a batch executes at the end of the turn that collected it,
 * and an execution thread has no event loop to wait for. The package is pinned to the exact version this was read from,
 * and a test runs every element type through it.
 */
import { env, type InferenceSession, type Tensor } from 'onnxruntime-node';
import { type Binding, binding, initOrt } from 'onnxruntime-node/dist/binding.js';
import type { TensorData } from '../batching/batcher.ts';
import type { DeviceLock } from './device-lock.ts';
import { bindingProvider, type ExecutionSettings } from './provider-options.ts';

/** onnxruntime's own log lines are left out: what goes wrong comes as an error, and bad input must not fill the log. */
const FATAL = 4;

/** What the binding makes a session with; `instance` chooses among the devices. */
function sessionOptions(execution: ExecutionSettings, instance: number): InferenceSession.SessionOptions {
  const { providers, intraOpThreads, interOpThreads, graphOptimizationLevel, extra } = execution;
  return {
    executionProviders: providers.map((provider) => bindingProvider(provider, instance)),
    intraOpNumThreads: intraOpThreads,
    interOpNumThreads: interOpThreads,
    executionMode: interOpThreads === 1 ? 'sequential' : 'parallel',
    graphOptimizationLevel,
    logSeverityLevel: FATAL,
    extra,
  };
}

/** Whether the onnxruntime in use was built with the provider; its library may still be missing. */
export function isProviderBuiltIn(name: string): boolean {
  return binding.listSupportedBackends().some((backend) => backend.name === name);
}

// Once per thread, here and not in the constructor, so that it does not count as some model's loading time.
env.logLevel = 'fatal';
initOrt();

/** onnxruntime's names of its ONNX element type numbers, for metadata. */
const ORT_TYPES: readonly (string | undefined)[] = [
  undefined,
  'float32',
  'uint8',
  'int8',
  'uint16',
  'int16',
  'int32',
  'int64',
  'string',
  'bool',
  'float16',
  'float64',
  'uint32',
  'uint64',
];

/** An input or output as the graph declares it. */
export interface GraphTensor {
  readonly name: string;
  /** onnxruntime's type name, or `onnx type N` / `not a tensor` for what no request can carry. */
  readonly ortType: string;
  /** -1 where open. */
  readonly shape: readonly number[];
  /** Symbolic names of the open dimensions, '' where fixed or unnamed. */
  readonly symbols: readonly string[];
}

export type OrtTensor = Tensor;
export type OrtFeeds = Record<string, OrtTensor>;
/** A tensor to write into, or null to have onnxruntime allocate the output. */
export type OrtFetches = Record<string, OrtTensor | null>;

/** A loaded model. Loading and running block the calling thread. */
export class NativeSession {
  readonly inputs: readonly GraphTensor[];
  readonly outputs: readonly GraphTensor[];
  private readonly session: Binding.InferenceSession;
  private readonly lock: DeviceLock | null;

  /** `model` is a path or the bytes. Throws onnxruntime's error for a file that is not a model it can run, or a provider it cannot load. */
  constructor(model: string | Buffer, execution: ExecutionSettings, instance = 0, lock: DeviceLock | null = null) {
    this.lock = lock;
    this.session = new binding.InferenceSession();
    const options = sessionOptions(execution, instance);
    if (lock === null) this.load(model, options);
    else lock.hold(() => this.load(model, options));
    this.inputs = this.session.inputMetadata.map(graphTensor);
    this.outputs = this.session.outputMetadata.map(graphTensor);
  }

  /** Executes; outputs named with a tensor in `fetches` are written in place. Throws onnxruntime's error. */
  run(feeds: OrtFeeds, fetches: OrtFetches): OrtFeeds {
    if (this.lock === null) return this.session.run(feeds, fetches, {}) as OrtFeeds;
    return this.lock.hold(() => this.session.run(feeds, fetches, {}) as OrtFeeds);
  }

  /** Gives the model's memory back. No run may follow. */
  release(): void {
    if (this.lock === null) this.session.dispose();
    else this.lock.hold(() => this.session.dispose());
  }

  private load(model: string | Buffer, options: InferenceSession.SessionOptions): void {
    if (typeof model === 'string') this.session.loadModel(model, options);
    else this.session.loadModel(model.buffer as ArrayBuffer, model.byteOffset, model.byteLength, options);
  }
}

/**
 * What the binding reads of a tensor. A plain object, because the package's own class insists on Float16Array for float16,
 * which the binding then takes for an empty array; bits in a Uint16Array pass.
 */
class FlatTensor {
  readonly location = 'cpu';
  readonly type: string;
  readonly data: TensorData | readonly string[];
  readonly dims: readonly number[];

  constructor(type: string, data: TensorData | readonly string[], dims: readonly number[]) {
    this.type = type;
    this.data = data;
    this.dims = dims;
  }
}

/** An onnxruntime tensor over `data`, uncopied. float16 is given as its bits. */
export function ortTensor(ortType: string, data: TensorData | readonly string[], dims: readonly number[]): OrtTensor {
  return new FlatTensor(ortType, data, dims) as unknown as OrtTensor;
}

function graphTensor(metadata: Binding.ValueMetadata): GraphTensor {
  if (!metadata.isTensor) return { name: metadata.name, ortType: 'not a tensor', shape: [], symbols: [] };
  return {
    name: metadata.name,
    ortType: ORT_TYPES[metadata.type] ?? `onnx type ${metadata.type}`,
    shape: metadata.shape.map((dim) => (dim < 0 ? -1 : dim)),
    symbols: metadata.shape.map((dim, i) => (dim < 0 ? (metadata.symbolicDimensions[i] ?? '') : '')),
  };
}
