/**
 * Steps of a fallback list that ask nobody: the answer is computed from the kept request, here, once all of it has come.
 * Such a step cannot fail for want of anything but a fitting request; then the next step is tried.
 */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { ProxyErrors } from '../../base/proxy-error.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { StreamAnswerView, withAnswerParameters } from '../../proto/tensor/oip-stream-message.ts';
import { ACCESS_FLAG_FALLBACK } from '../access-log.ts';
import { AdaptError } from '../adapt/adapt-error.ts';
import type { LocalAnswer } from '../adapt/local-answer.ts';
import { type LocalSource, replyToGrpc, replyToRest, replyWithDocument } from '../adapt/local-reply.ts';
import type { MeshCluster, MeshModel } from '../mesh.ts';
import type { StreamMessage } from '../model-stream/stream-message.ts';
import { ClusterSlot, LocalResult, RequestOutcome } from '../stats/slots.ts';
import { SERVED_BY, servedByValues, withServedBy } from './answer-reasons.ts';
import type { DataPlane } from './data-plane.ts';
import type { Exchange } from './exchange.ts';
import { finishRequest } from './request-ends.ts';

const GRPC_HEAD = HeaderList.of([':status', '200'], ['content-type', 'application/grpc']);
const GRPC_OK = HeaderList.of(['grpc-status', '0']);
const NO_BYTES = Buffer.alloc(0);
const PREFIX_BYTES = 5;

/** Computes the answer of the step that the request is with. */
export function answerLocally(plane: DataPlane, exchange: Exchange): void {
  const { attempt, traits, model } = exchange;
  const { cluster, reason } = attempt!;
  const source = sourceOf(model!, exchange.local!, cluster);
  const bytes = exchange.body?.buffer ?? NO_BYTES;
  const length = exchange.body?.length ?? 0;
  const { call, rest } = traits!;
  let head = GRPC_HEAD;
  let reply: Buffer;
  try {
    if (call !== null) {
      reply = replyToGrpc(source, call.method, bytes, length, traits!.encoding);
    } else if (model!.config.isRoute) {
      reply = replyWithDocument(source);
      head = restHead(reply.length, -1);
    } else {
      const { body, jsonBytes } = replyToRest(source, rest!.method, exchange.head!, bytes, length);
      reply = body;
      head = restHead(body.length, jsonBytes);
    }
  } catch (error) {
    if (!(error instanceof AdaptError)) throw error;
    giveUp(plane, exchange, error.reason === 'too_large' ? LocalResult.TOO_LARGE : LocalResult.MISFIT);
    return;
  }
  count(plane.cells, cluster, reason);
  exchange.local = null;
  exchange.committed = true;
  exchange.status = GrpcStatus.OK;
  exchange.httpStatus = 200;
  exchange.flag = ACCESS_FLAG_FALLBACK;
  exchange.answerBytes = reply.length;
  const { down } = exchange;
  down.sendHeaders(withServedBy(head, cluster, reason), false);
  down.sendData(reply, 0, reply.length, call === null);
  if (call !== null) down.sendHeaders(GRPC_OK, true);
  finishRequest(plane, exchange);
}

/** The step has no answer, for a `LocalResult`: the next one. */
export function giveUp(plane: DataPlane, exchange: Exchange, result: number): void {
  const { cluster, reason } = exchange.attempt!;
  plane.cells[cluster.config.statsBase + ClusterSlot.LOCAL_ANSWERS + result]! += 1;
  exchange.local = null;
  plane.refused(exchange, reason, ProxyErrors.badOutput);
}

/** The framed answer to one message of a stream; null where there is none. */
export function answerMessage(
  cells: Float64Array,
  model: MeshModel,
  local: LocalAnswer,
  cluster: MeshCluster,
  message: StreamMessage,
  encoding: string,
): Buffer | null {
  const { bytes } = message;
  const { reason } = message.attempt;
  try {
    const reply = replyToGrpc(sourceOf(model, local, cluster), 'ModelStreamInfer', bytes, bytes.length, encoding);
    view.read(reply, PREFIX_BYTES, reply.length);
    count(cells, cluster, reason);
    return withAnswerParameters(reply, PREFIX_BYTES, reply.length, view, SERVED_BY, servedByValues(cluster, reason));
  } catch (error) {
    if (!(error instanceof AdaptError)) throw error;
    const result = error.reason === 'too_large' ? LocalResult.TOO_LARGE : LocalResult.MISFIT;
    cells[cluster.config.statsBase + ClusterSlot.LOCAL_ANSWERS + result]! += 1;
    return null;
  }
}

const view = new StreamAnswerView();

function sourceOf({ config }: MeshModel, answer: LocalAnswer, cluster: MeshCluster): LocalSource {
  return { answer, model: config.name, versionOutput: config.versionOutput, versionText: cluster.name };
}

function count(cells: Float64Array, cluster: MeshCluster, reason: number): void {
  const { statsBase } = cluster.config;
  cells[statsBase + ClusterSlot.LOCAL_ANSWERS + LocalResult.ANSWERED]! += 1;
  cells[statsBase + ClusterSlot.REQUESTS + RequestOutcome.OK]! += 1;
  cells[statsBase + ClusterSlot.STATUSES + GrpcStatus.OK]! += 1;
  cells[statsBase + ClusterSlot.ANSWERS + reason]! += 1;
}

function restHead(bodyBytes: number, jsonBytes: number): HeaderList {
  const type = jsonBytes < 0 ? 'application/json' : 'application/octet-stream';
  const fields: [string, string][] = [
    [':status', '200'],
    ['content-type', type],
    ['content-length', String(bodyBytes)],
  ];
  if (jsonBytes >= 0) fields.push(['inference-header-content-length', String(jsonBytes)]);
  return HeaderList.of(...fields);
}
