/** Requests as a fallback of another schema gets them; see `adapt/request-edit.ts` for what changes. */
import { HeaderList } from '../../proto/http2/header-list.ts';
import { AdaptError } from '../adapt/adapt-error.ts';
import { editGrpc, editRest, type RequestEdit } from '../adapt/request-edit.ts';
import type { MeshCluster, MeshModel } from '../mesh.ts';
import { AnswerReason } from '../stats/slots.ts';
import type { Attempt, Exchange } from './exchange.ts';

/** A whole request with the head that goes with it. */
export interface EditedRequest {
  readonly head: HeaderList;
  readonly body: Buffer;
}

/** Whether requests to this cluster, for an `AnswerReason`, are edited: then they have to be whole. */
export function editsRequests({ changes }: MeshModel, cluster: MeshCluster, reason: number): boolean {
  return changes.any && reason !== AnswerReason.PRIMARY && (changes.of(cluster, reason)?.mapping ?? null) !== null;
}

/** The request for this attempt, whose head would otherwise be `head`; null where it goes as it came. */
export function editedRequest(exchange: Exchange, attempt: Attempt, head: HeaderList): EditedRequest | null {
  const { model, body, traits, governed, bodyEnded } = exchange;
  const { cluster, reason } = attempt;
  if (model === null || !model.changes.any || !governed || !bodyEnded || body === null) return null;
  if (!editsRequests(model, cluster, reason)) return null;
  const { call, rest, encoding, rewritten } = traits!;
  const edit = editOf(model, cluster, reason);
  try {
    if (call !== null) {
      const edited = editGrpc(call.method, body.buffer, body.length, encoding, edit);
      return edited === null ? null : { head: rewritten, body: edited };
    }
    if (rest === null) return null;
    const edited = editRest(rest.method, exchange.head!, body.buffer, body.length, edit);
    return edited === null ? null : { head: restHead(head, edited.body.length, edited.jsonBytes), body: edited.body };
  } catch (error) {
    // Whoever is asked says what is wrong with it.
    if (error instanceof AdaptError) return null;
    throw error;
  }
}

/** The same of one framed message of a stream; null where it goes as it came. */
export function editedMessage(
  model: MeshModel,
  cluster: MeshCluster,
  reason: number,
  bytes: Buffer,
  encoding: string,
): Buffer | null {
  if (!editsRequests(model, cluster, reason)) return null;
  try {
    return editGrpc('ModelStreamInfer', bytes, bytes.length, encoding, editOf(model, cluster, reason));
  } catch (error) {
    if (error instanceof AdaptError) return null;
    throw error;
  }
}

function editOf(model: MeshModel, cluster: MeshCluster, reason: number): RequestEdit {
  const { config } = cluster;
  const { inputs } = model.changes.of(cluster, reason)!.mapping!;
  return { inputs, model: config.model, version: config.version };
}

/** Lengths of the new body; it is not compressed any more. */
function restHead(head: HeaderList, bodyBytes: number, jsonBytes: number): HeaderList {
  const names: string[] = [];
  const values: string[] = [];
  for (let i = 0; i < head.length; i++) {
    const name = head.names[i]!;
    if (name === 'content-encoding' || name === 'content-length') continue;
    names.push(name);
    values.push(name === 'inference-header-content-length' ? String(jsonBytes) : head.values[i]!);
  }
  return new HeaderList([...names, 'content-length'], [...values, String(bodyBytes)]);
}
