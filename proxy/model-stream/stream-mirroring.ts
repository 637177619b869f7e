/**
 * Messages of ModelStreamInfer on the mirror: each is shown by itself, as the ModelInfer call whose request it is, and is
 * compared with the answer its caller's stream brought for it. So a shadow needs no stream, and one that is slow holds
 * single messages and never the order of answers.
 *
 * Which messages a shadow sees is decided as for calls: a sticky key or request id in the stream's head decides for the
 * whole stream, else each message for itself.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { PREFIX_BYTES, writeMessagePrefix } from '../../proto/grpc/message-framing.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { MeshCluster } from '../mesh.ts';
import { acquireBody, type BodyBuffer, releaseBody } from '../request/body-buffer.ts';
import type { DataPlane } from '../request/data-plane.ts';
import { RequestTraits, withValue } from '../routing/request-traits.ts';
import type { MirroredPair, Shown } from '../shadowing/mirrored-pair.ts';
import type { ModelStream } from './model-stream.ts';
import type { StreamMessage } from './stream-message.ts';

const MODEL_INFER = '/inference.GRPCInferenceService/ModelInfer';

const prefix = Buffer.alloc(PREFIX_BYTES);

/** One message as the mirror sees it. */
class ShownMessage implements Shown {
  readonly head: HeaderList;
  readonly traits: RequestTraits;
  readonly http1 = false;
  readonly body: BodyBuffer;
  readonly bodyEnded = true;
  readonly attempt: { readonly cluster: MeshCluster };
  mirrored: MirroredPair | null;
  wasMirrored = true;

  constructor(traits: RequestTraits, head: HeaderList, body: BodyBuffer, cluster: MeshCluster) {
    this.traits = traits;
    this.head = head;
    this.body = body;
    this.attempt = { cluster };
    this.mirrored = null;
  }
}

/** The message shown to the model's shadows: chosen before it goes to the primary, sent by `sendShown` after that. */
export function selectShown(stream: ModelStream, message: StreamMessage): ShownMessage | null {
  const { exchange, model, plane, cluster } = stream;
  if (!exchange.governed || message.withheld) return null;
  const { bytes } = message;
  stream.shownHead ??= withValue(stream.head, ':path', MODEL_INFER);
  const body = acquireBody();
  body.append(bytes, 0, bytes.length);
  const shown = new ShownMessage(RequestTraits.of(stream.shownHead), stream.shownHead, body, cluster);
  shown.mirrored = plane.mirroring.select(shown, model, cluster, plane.clock.nowMs());
  message.mirrored = shown.mirrored;
  if (shown.mirrored !== null) return shown;
  releaseBody(body);
  return null;
}

/** The primary has it: the shadows get it too, unless it is over already. */
export function sendShown(stream: ModelStream, message: StreamMessage, shown: ShownMessage): void {
  if (message.mirrored !== null) {
    stream.plane.mirroring.send(shown, null);
    if (shown.wasMirrored) stream.exchange.wasMirrored = true;
  }
  releaseBody(shown.body);
}

/** The primary's answer to a message that is shown: its ModelInferResponse at `[start, end)`, nothing where `end` is 0. */
export function answerShown(
  plane: DataPlane,
  message: StreamMessage,
  buffer: Buffer,
  start: number,
  end: number,
): void {
  const { mirrored } = message;
  const { cluster, startedMs, step } = message.attempt;
  if (mirrored === null || step !== 0) return;
  const tookMs = plane.clock.nowMs() - startedMs;
  if (end === 0) {
    plane.mirroring.primaryDone(mirrored, cluster!.name, null, null, GrpcStatus.OK, tookMs);
    return;
  }
  const answer = acquireBody();
  writeMessagePrefix(prefix, 0, end - start, false);
  answer.append(prefix, 0, PREFIX_BYTES);
  answer.append(buffer, start, end);
  plane.mirroring.primaryDone(mirrored, cluster!.name, null, answer, GrpcStatus.OK, tookMs);
  releaseBody(answer);
}

/** The primary answered an error; `status` is -1 where it does not say which. */
export function failShown(plane: DataPlane, message: StreamMessage, status: number): void {
  const { mirrored } = message;
  const { cluster, startedMs, step } = message.attempt;
  if (mirrored === null || step !== 0 || cluster === null) return;
  const known = status < 0 ? GrpcStatus.UNKNOWN : status;
  plane.mirroring.primaryDone(mirrored, cluster.name, null, null, known, plane.clock.nowMs() - startedMs);
}

/** The message is answered, or its stream is over. */
export function releaseShown(plane: DataPlane, message: StreamMessage): void {
  if (message.mirrored !== null) plane.mirroring.release(message.mirrored);
  message.mirrored = null;
}
