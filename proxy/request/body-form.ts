/** How the bodies of a model call are written: which API, in which protocol, and which of its methods. */
import { PairProtocol } from '../mirror/pair-record.ts';
import type { RequestTraits } from '../routing/request-traits.ts';

/** One of `PairProtocol`, of a call or REST request that names a model. */
export function protocolOf({ call, rest }: RequestTraits): number {
  if (call === null) return rest!.api === 'v2' ? PairProtocol.OIP_REST : PairProtocol.TFS_REST;
  return call.api === 'open-inference' ? PairProtocol.OIP_GRPC : PairProtocol.TFS_GRPC;
}

/** Predict, Classify ...; `infer` in both protocols of the Open Inference Protocol. */
export function methodOf({ call, rest }: RequestTraits): string {
  if (call === null) return rest!.method;
  return call.api === 'open-inference' ? 'infer' : call.method;
}
