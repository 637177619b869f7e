/** One mirrored request as it is followed: what the mirror knows of it, and both halves of the pair it becomes. */
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { MeshCluster, MeshModel, MeshShadow } from '../mesh.ts';
import { PairProtocol } from '../mirror/pair-record.ts';
import type { BodyBuffer } from '../request/body-buffer.ts';
import { methodOf, protocolOf } from '../request/body-form.ts';
import type { RequestTraits } from '../routing/request-traits.ts';
import { jsonBytesOf } from './captured-answer.ts';
import { NO_ANSWER, type ShadowCall } from './shadow-call.ts';

/** What the mirror has to know of a request: an exchange, or one message of a stream. */
export interface Shown {
  readonly head: HeaderList | null;
  readonly traits: RequestTraits | null;
  readonly http1: boolean;
  /** The request so far; null when nothing of it is kept. */
  readonly body: BodyBuffer | null;
  readonly bodyEnded: boolean;
  readonly attempt: { readonly cluster: MeshCluster } | null;
  mirrored: MirroredPair | null;
  wasMirrored: boolean;
}

/** One mirrored request: the primary's half, and the calls to its shadows. */
export class MirroredPair {
  readonly model: MeshModel;
  selected: readonly MeshShadow[];
  /** Its answers are kept and compared. One that is not captured keeps no state, so that many requests can share it. */
  captured: boolean;
  /** Some shadows see a share, and the message decides: `selected` and `captured` are settled once it is complete. */
  undecided = false;
  /** The same request sent to the primary again, if it is: shadows wait for it before they are compared. */
  secondary: ShadowCall | null = null;
  readonly calls: ShadowCall[] = [];
  /** Held by the request and by each call; freed when the last lets go. */
  holders = 1;
  cohort = '';
  /** What its bodies are written in: `PairProtocol`; and the method called. */
  protocol: number = PairProtocol.TFS_GRPC;
  method = '';
  primaryEncoding = '';
  /** Bytes of JSON in front of tensors that follow as bytes; 0 where none do. */
  requestJsonBytes = 0;
  primaryJsonBytes = 0;
  request: BodyBuffer | null = null;
  primary: BodyBuffer | null = null;
  /** Name of the cluster that answered as the primary. */
  primaryCluster = '';
  primaryStatus = NO_ANSWER;
  primaryLatencyMs = 0;
  primarySettled = false;

  constructor(model: MeshModel, selected: readonly MeshShadow[], captured: boolean) {
    this.model = model;
    this.selected = selected;
    this.captured = captured;
  }
}

/** What the pair's bodies are of, and its cohort as far as the head says it. */
export function tellOf(pair: MirroredPair, shown: Shown): void {
  const { source } = pair.model.config.cohort;
  const traits = shown.traits!;
  pair.protocol = protocolOf(traits);
  pair.method = methodOf(traits);
  if (traits.call === null) pair.requestJsonBytes = jsonBytesOf(shown.head!);
  if (source.kind === 'header') pair.cohort = shown.head!.get(source.name) ?? '';
}
