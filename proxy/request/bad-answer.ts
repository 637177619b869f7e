/**
 * Whether an answer that says OK can be believed: which check fits which API, and the account of what it found.
 *
 * An answer is looked at when it is complete and nothing of it was committed; one larger than what is held, or compressed
 * in a way that is not read, is passed on and counted as unchecked. The cost is bounded by those sizes: one pass over the
 * bytes for numbers that are not finite, one decoding more where outputs are declared.
 */

import type { MeshCluster, MeshModel } from '../mesh.ts';
import { BodyTensors } from '../mirror/body-tensors.ts';
import { declaredFault, NO_FAULT } from '../mirror/declared-outputs.ts';
import { Fault } from '../mirror/fault-kinds.ts';
import { MessageBytes } from '../mirror/message-bytes.ts';
import { hasElementTypes } from '../mirror/pair-protocol.ts';
import { PairProtocol } from '../mirror/pair-record.ts';
import { isBadJson } from '../policy/json-output-check.ts';
import { isBadInferResponse } from '../policy/oip-output-check.ts';
import { isBadPredictResponse } from '../policy/output-check.ts';
import { areBadScores } from '../policy/score-check.ts';
import { answerEncoding } from '../shadowing/captured-answer.ts';
import { BadOutput, ClusterSlot } from '../stats/slots.ts';
import { methodOf, protocolOf } from './body-form.ts';
import type { Attempt, Exchange } from './exchange.ts';

/** A compressed answer that is larger than this is not looked at: inflating it would hold the thread up. */
const INFLATE_BOUNDS = { maxBytes: 4 * 1024 * 1024, maxRatio: 1100 };
/** Not to be looked at. */
const UNCHECKED = -2;
/** Where the bytes of a raw answer's JSON are counted. */
const JSON_BYTES = 'inference-header-content-length';

const opened = new MessageBytes(INFLATE_BOUNDS);
const tensors = new BodyTensors();

/** How the answer is written; set before it is looked at. */
const form: { protocol: number; method: string } = { protocol: 0, method: '' };

/** An OK that cannot be believed, where the model's policy has it looked at. Counts what it finds. */
export function isBadAnswer(exchange: Exchange, attempt: Attempt): boolean {
  const { held, model, infers, committed } = exchange;
  if (model === null || !model.config.checkOutputs || !infers) return false;
  let fault = committed ? UNCHECKED : BadOutput.MALFORMED;
  if (held !== null && !committed) {
    form.protocol = protocolOf(exchange.traits!);
    form.method = methodOf(exchange.traits!);
    const head = attempt.responseHead!;
    const body = held.buffer.subarray(0, held.length);
    fault = openedFault(model, body, answerEncoding(head), head.get(JSON_BYTES));
    release();
  }
  return count(exchange.plane.cells, attempt.cluster, fault);
}

/** The same of one answer of a stream, whose ModelInferResponse lies at `[start, end)`; unreadable where `start` is -1. */
export function isBadStreamAnswer(
  cells: Float64Array,
  model: MeshModel,
  cluster: MeshCluster,
  compressed: boolean,
  buffer: Buffer,
  start: number,
  end: number,
): boolean {
  if (!model.config.checkOutputs) return false;
  form.protocol = PairProtocol.OIP_GRPC;
  form.method = 'infer';
  let fault: number = compressed ? UNCHECKED : BadOutput.MALFORMED;
  if (!compressed && start >= 0) fault = messageFault(model, buffer, start, end, undefined);
  release();
  return count(cells, cluster, fault);
}

/** Opens the body, inflating it within bounds, and looks at the message. */
function openedFault(model: MeshModel, body: Buffer, encoding: string, jsonBytes: string | undefined): number {
  const isGrpc = form.protocol === PairProtocol.TFS_GRPC || form.protocol === PairProtocol.OIP_GRPC;
  const isPacked = encoding !== '' && (!isGrpc || body[0] === 1);
  if (isPacked && encoding !== 'gzip' && encoding !== 'deflate') return UNCHECKED;
  const fault = isGrpc ? opened.open(body) : opened.openPlain(body);
  if (fault === Fault.TOO_LARGE) return UNCHECKED;
  if (fault !== Fault.NONE) return BadOutput.MALFORMED;
  return messageFault(model, opened.buffer, opened.start, opened.end, jsonBytes);
}

function messageFault(
  model: MeshModel,
  buffer: Buffer,
  start: number,
  end: number,
  jsonBytes: string | undefined,
): number {
  const isBad = hasNoBelief(buffer, start, end, jsonBytes);
  const { outputs } = model.config;
  // One raw tensor of a type nobody says: there is nothing to hold it against.
  const isRaw = jsonBytes !== undefined && Number(jsonBytes) === 0;
  if (!isBad && (outputs.length === 0 || isRaw)) return NO_FAULT;
  const readable = tensors.readAnswer(buffer, start, end, form) === Fault.NONE;
  if (!readable) return BadOutput.MALFORMED;
  if (isBad) return BadOutput.NOT_FINITE;
  const typed = hasElementTypes(form);
  return declaredFault(outputs, tensors, typed);
}

/** Malformed, or a number that is not finite. */
function hasNoBelief(buffer: Buffer, start: number, end: number, jsonBytes: string | undefined): boolean {
  switch (form.protocol) {
    case PairProtocol.TFS_GRPC:
      if (form.method === 'Predict') return isBadPredictResponse(buffer, start, end);
      return areBadScores(form.method, buffer, start, end);
    case PairProtocol.OIP_GRPC:
      return isBadInferResponse(buffer, start, end);
    default:
      return isBadJson(jsonBytes, buffer, end);
  }
}

function release(): void {
  opened.release();
  tensors.release();
}

function count(cells: Float64Array, { config }: MeshCluster, fault: number): boolean {
  if (fault === NO_FAULT) return false;
  if (fault === UNCHECKED) {
    cells[config.statsBase + ClusterSlot.UNCHECKED]! += 1;
    return false;
  }
  cells[config.statsBase + ClusterSlot.BAD_OUTPUTS + fault]! += 1;
  return true;
}
