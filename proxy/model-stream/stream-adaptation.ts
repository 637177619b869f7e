/** One answer of a ModelStreamInfer changed as `answer-changes.ts` says, message by message. */
import type { StreamAnswerView } from '../../proto/tensor/oip-stream-message.ts';
import { putVarint, varintBytes } from '../../proto/tensor/wire-writer.ts';
import { AdaptError } from '../adapt/adapt-error.ts';
import { adaptInferMessage } from '../adapt/answer-adapter.ts';
import type { MeshCluster, MeshModel } from '../mesh.ts';
import { AdaptResult, ClusterSlot } from '../stats/slots.ts';

const TAG_INFER_RESPONSE = 0x12;

/**
 * The ModelStreamInferResponse, without prefix, that takes the place of the one `view` has read; undefined where nothing is
 * to be changed, null where it does not fit what it should become: a bad answer.
 */
export function adaptStreamAnswer(
  cells: Float64Array,
  model: MeshModel,
  cluster: MeshCluster,
  reason: number,
  buffer: Buffer,
  readable: boolean,
  view: StreamAnswerView,
): Buffer | null | undefined {
  const change = model.changes.any ? model.changes.of(cluster, reason) : null;
  if (change === null) return undefined;
  const results = cluster.config.statsBase + ClusterSlot.ADAPTATIONS;
  try {
    if (!readable) throw new AdaptError('misfit', 'the answer cannot be read');
    const response = adaptInferMessage(buffer, view.responseStart, view.responseEnd, change);
    cells[results + AdaptResult.ADAPTED]! += 1;
    return wrapped(response);
  } catch (error) {
    if (!(error instanceof AdaptError)) throw error;
    const failed = error.reason === 'too_large' ? AdaptResult.TOO_LARGE : AdaptResult.MISFIT;
    cells[results + (change.isRequired ? failed : AdaptResult.SKIPPED)]! += 1;
    return change.isRequired ? null : undefined;
  }
}

function wrapped(response: Buffer): Buffer {
  const out = Buffer.allocUnsafe(1 + varintBytes(response.length) + response.length);
  out[0] = TAG_INFER_RESPONSE;
  response.copy(out, putVarint(out, 1, response.length));
  return out;
}
