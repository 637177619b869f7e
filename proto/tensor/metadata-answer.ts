/** What GetModelMetadata answers, in both of its forms: signatures by name, as a SignatureDefMap or as JSON. */
import { dtypeName } from './dtype.ts';
import { MessageBuilder } from './message-builder.ts';

const SIGNATURE_DEF_MAP_URL = 'type.googleapis.com/tensorflow.serving.SignatureDefMap';
/** The one kind of metadata there is. */
export const SIGNATURE_DEF = 'signature_def';

/** One input or output; -1 stands for a dimension that is open. */
export interface DescribedTensor {
  readonly name: string;
  /** TensorFlow DataType number. */
  readonly dtype: number;
  readonly shape: readonly number[];
}

export interface DescribedSignature {
  readonly inputs: readonly DescribedTensor[];
  readonly outputs: readonly DescribedTensor[];
  readonly methodName: string;
}

export interface DescribedModel {
  readonly model: string;
  readonly version: bigint;
  readonly signatures: ReadonlyMap<string, DescribedSignature>;
}

/** A GetModelMetadataResponse. */
export function metadataMessage({ model, version, signatures }: DescribedModel): Buffer {
  const modelSpec = new MessageBuilder().text(1, model).message(2, new MessageBuilder().int(1, version));
  const any = new MessageBuilder().text(1, SIGNATURE_DEF_MAP_URL).bytes(2, signatureDefMap(signatures));
  const entry = new MessageBuilder().text(1, SIGNATURE_DEF).message(2, any);
  return new MessageBuilder().message(1, modelSpec).message(2, entry).finish();
}

function signatureDefMap(signatures: DescribedModel['signatures']): Buffer {
  const map = new MessageBuilder();
  for (const [name, signature] of signatures) {
    map.message(1, new MessageBuilder().text(1, name).message(2, signatureDef(signature)));
  }
  return map.finish();
}

function signatureDef(signature: DescribedSignature): MessageBuilder {
  const message = new MessageBuilder();
  for (const input of signature.inputs) message.message(1, tensorEntry(input));
  for (const output of signature.outputs) message.message(2, tensorEntry(output));
  return message.text(3, signature.methodName);
}

/** TensorFlow names a graph's tensor `operation:index`; clients show it, none resolves it. */
function tensorEntry(spec: DescribedTensor): MessageBuilder {
  const shape = new MessageBuilder();
  for (const size of spec.shape) shape.message(2, new MessageBuilder().int(1, size));
  const info = new MessageBuilder().text(1, `${spec.name}:0`).int(2, spec.dtype).message(3, shape);
  return new MessageBuilder().text(1, spec.name).message(2, info);
}

/** The same as TensorFlow Serving's REST API writes it; 64-bit integers are strings, as in protobuf's JSON form. */
export function metadataDocument({ model, version, signatures }: DescribedModel): string {
  const spec = { name: model, signature_name: '', version: String(version) };
  const map = Object.fromEntries([...signatures].map(([name, signature]) => [name, signatureObject(signature)]));
  const specText = JSON.stringify(spec, null, 1);
  const signatureText = JSON.stringify({ signature_def: map }, null, 1);
  return `{\n"model_spec":${specText}\n,\n"metadata": {"signature_def": ${signatureText}\n}\n}\n`;
}

function signatureObject({ inputs, outputs, methodName }: DescribedSignature): object {
  return { inputs: tensorInfos(inputs), outputs: tensorInfos(outputs), method_name: methodName, defaults: {} };
}

function tensorInfos(specs: readonly DescribedTensor[]): object {
  return Object.fromEntries(specs.map((spec) => [spec.name, tensorInfo(spec)]));
}

function tensorInfo({ name, dtype, shape }: DescribedTensor): object {
  return {
    dtype: dtypeName(dtype),
    tensor_shape: { dim: shape.map((size) => ({ size: String(size), name: '' })), unknown_rank: false },
    name: `${name}:0`,
  };
}
