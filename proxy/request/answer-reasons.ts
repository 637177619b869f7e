/** What the caller is told about who answered and why: `x-understudy-served-by`, `-model-version` and `-reason`. */
import type { HeaderList } from '../../proto/http2/header-list.ts';
import { REASON_PARAMETER } from '../../proto/tensor/oip-stream-message.ts';
import type { MeshCluster } from '../mesh.ts';
import { ResponseTraits } from '../routing/response-traits.ts';
import { AnswerReason, labelValues } from '../stats/slots.ts';

/** `x-understudy-reason` by `AnswerReason`; nothing is said of the primary. */
export const REASON_CODES: readonly string[] = labelValues(AnswerReason).map((label) =>
  label === 'primary' ? '' : label,
);

/** The code of an `AnswerReason`; '' for the primary. */
export function reasonCode(reason: number): string {
  return REASON_CODES[reason]!;
}

/** An answer's head with the fields that say which cluster it is of, and for what `AnswerReason`. */
export function withServedBy(head: HeaderList, cluster: MeshCluster, reason: number): HeaderList {
  const key = cluster.id * REASON_CODES.length + reason;
  return ResponseTraits.of(head).decorate(key, cluster.name, cluster.config.version, REASON_CODES[reason]!);
}

/** The same as parameters of an answer in a stream, whose head may have been another's. */
export const SERVED_BY: readonly string[] = ['x-understudy-served-by', 'x-understudy-model-version', REASON_PARAMETER];

/** In the order of `SERVED_BY`. */
export function servedByValues(cluster: MeshCluster, reason: number): readonly string[] {
  return [cluster.name, cluster.config.version, REASON_CODES[reason]!];
}
