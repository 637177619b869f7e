/**
 * A servable's configuration in Triton's terms, as protobuf and as JSON: its tensors without the batch dimension, how it
 * batches, and which runtime executes it. What Triton has and this server has not is left out.
 */
import { DataType } from '../../../proto/tensor/dtype.ts';
import { MessageBuilder } from '../../../proto/tensor/message-builder.ts';
import type { TensorSpec } from '../../session/signature.ts';
import { mainSignature } from './oip-lookup.ts';
import { type OipService, PLATFORM } from './oip-service.ts';

const BACKEND = 'onnxruntime';
const MODEL_FILE = 'model.onnx';

/** Triton's own numbers and names of the element types. */
const DATA_TYPES = new Map<number, readonly [number, string]>([
  [DataType.BOOL, [1, 'TYPE_BOOL']],
  [DataType.UINT8, [2, 'TYPE_UINT8']],
  [DataType.UINT16, [3, 'TYPE_UINT16']],
  [DataType.UINT32, [4, 'TYPE_UINT32']],
  [DataType.UINT64, [5, 'TYPE_UINT64']],
  [DataType.INT8, [6, 'TYPE_INT8']],
  [DataType.INT16, [7, 'TYPE_INT16']],
  [DataType.INT32, [8, 'TYPE_INT32']],
  [DataType.INT64, [9, 'TYPE_INT64']],
  [DataType.HALF, [10, 'TYPE_FP16']],
  [DataType.FLOAT, [11, 'TYPE_FP32']],
  [DataType.DOUBLE, [12, 'TYPE_FP64']],
  [DataType.STRING, [13, 'TYPE_STRING']],
  [DataType.BFLOAT16, [14, 'TYPE_BF16']],
]);

interface ConfigTensor {
  readonly name: string;
  readonly dtype: number;
  readonly dims: readonly number[];
}

/** Triton's numbers and names of what an instance runs on. */
const KINDS = { gpu: [1, 'KIND_GPU'], cpu: [2, 'KIND_CPU'] } as const;
/** Our own parameter: which execution provider is in force. */
const PROVIDER_PARAMETER = 'execution_provider';

interface ModelConfigView {
  readonly maxBatchSize: number;
  readonly inputs: readonly ConfigTensor[];
  readonly outputs: readonly ConfigTensor[];
  readonly provider: string;
  /** Sessions of the version. */
  readonly instances: number;
}

function configOf(oip: OipService, name: string, version: string): ModelConfigView {
  const servable = oip.servable(name, version);
  const { inputs, outputs } = mainSignature(servable);
  const maxBatchSize = oip.maxBatchSize(servable);
  const tensor = ({ name: alias, dtype, shape }: TensorSpec): ConfigTensor => ({
    name: alias,
    dtype,
    dims: maxBatchSize > 0 ? shape.slice(1) : shape,
  });
  const { provider, instances } = servable.stats;
  return { maxBatchSize, inputs: inputs.map(tensor), outputs: outputs.map(tensor), provider, instances };
}

/** The JSON form, as an object. @throws WorkerError */
export function modelConfigObject(oip: OipService, name: string, version: string): object {
  const { maxBatchSize, inputs, outputs, provider, instances } = configOf(oip, name, version);
  const tensor = ({ name: alias, dtype, dims }: ConfigTensor): object => ({
    name: alias,
    data_type: DATA_TYPES.get(dtype)?.[1] ?? 'TYPE_INVALID',
    dims,
  });
  const batching = { max_queue_delay_microseconds: oip.options.batchTimeoutMicros };
  return {
    name,
    platform: PLATFORM,
    backend: BACKEND,
    max_batch_size: maxBatchSize,
    input: inputs.map(tensor),
    output: outputs.map(tensor),
    instance_group: [{ name, kind: kindOf(provider)[1], count: instances }],
    parameters: { [PROVIDER_PARAMETER]: { string_value: provider } },
    default_model_filename: MODEL_FILE,
    ...(maxBatchSize > 0 ? { dynamic_batching: batching } : {}),
  };
}

/** A ModelConfigResponse. @throws WorkerError */
export function modelConfigMessage(oip: OipService, name: string, version: string): Buffer {
  const { maxBatchSize, inputs, outputs, provider, instances } = configOf(oip, name, version);
  const config = new MessageBuilder().text(1, name).text(2, PLATFORM).int(4, maxBatchSize);
  for (const { name: alias, dtype, dims } of inputs) {
    const message = new MessageBuilder().text(1, alias).int(2, DATA_TYPES.get(dtype)?.[0] ?? 0);
    for (const dim of dims) message.int(4, dim);
    config.message(5, message);
  }
  for (const { name: alias, dtype, dims } of outputs) {
    const message = new MessageBuilder().text(1, alias).int(2, DATA_TYPES.get(dtype)?.[0] ?? 0);
    for (const dim of dims) message.int(3, dim);
    config.message(6, message);
  }
  config.message(7, new MessageBuilder().text(1, name).int(2, instances).int(4, kindOf(provider)[0]));
  const value = new MessageBuilder().text(1, provider);
  config.message(14, new MessageBuilder().text(1, PROVIDER_PARAMETER).message(2, value));
  config.text(8, MODEL_FILE).text(17, BACKEND);
  if (maxBatchSize > 0) config.message(11, new MessageBuilder().int(2, oip.options.batchTimeoutMicros));
  return new MessageBuilder().message(1, config).finish();
}

function kindOf(provider: string): (typeof KINDS)[keyof typeof KINDS] {
  return provider === 'cpu' ? KINDS.cpu : KINDS.gpu;
}
