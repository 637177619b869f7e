/** The JSON documents of TensorFlow Serving's REST API besides answers to Predict and metadata: status, in its layout. */
import { GrpcStatus, grpcStatusName } from '../../../base/grpc-status.ts';
import { cardFields } from '../../repository/model-card.ts';
import type { VersionStatus } from '../../repository/model-repository.ts';

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
