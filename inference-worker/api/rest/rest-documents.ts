/** The JSON documents of TensorFlow Serving's REST API besides answers to Predict: status and metadata, in its layout. */
import { GrpcStatus, grpcStatusName } from '../../../base/grpc-status.ts';
import { dtypeName } from '../../../proto/tensor/dtype.ts';
import { cardFields } from '../../repository/model-card.ts';
import type { VersionStatus } from '../../repository/model-repository.ts';
import type { Signature, TensorSpec } from '../../session/signature.ts';
import type { ModelMetadata } from '../serving-service.ts';

/** 64-bit integers are strings, as protobuf's JSON form has them. */
export function statusDocument(statuses: readonly VersionStatus[]): string {
  const entries = statuses.map(({ version, state, error, card }) => ({
    version: String(version),
    state,
    status: { error_code: grpcStatusName(error?.code ?? GrpcStatus.OK), error_message: error?.message ?? '' },
    ...(card ? { model_card: cardFields(card) } : {}),
  }));
  return `${JSON.stringify({ model_version_status: entries }, null, 1)}\n`;
}

export function metadataDocument({ model, version, signatures }: ModelMetadata): string {
  const spec = { name: model, signature_name: '', version: String(version) };
  const map = Object.fromEntries([...signatures].map(([name, signature]) => [name, signatureDef(signature)]));
  const specText = JSON.stringify(spec, null, 1);
  const signatureText = JSON.stringify({ signature_def: map }, null, 1);
  return `{\n"model_spec":${specText}\n,\n"metadata": {"signature_def": ${signatureText}\n}\n}\n`;
}

function signatureDef({ inputs, outputs, methodName }: Signature): object {
  return { inputs: tensorInfos(inputs), outputs: tensorInfos(outputs), method_name: methodName, defaults: {} };
}

function tensorInfos(specs: readonly TensorSpec[]): object {
  return Object.fromEntries(specs.map((spec) => [spec.name, tensorInfo(spec)]));
}

function tensorInfo({ name, dtype, shape }: TensorSpec): object {
  return {
    dtype: dtypeName(dtype),
    tensor_shape: { dim: shape.map((size) => ({ size: String(size), name: '' })), unknown_rank: false },
    name: `${name}:0`,
  };
}
