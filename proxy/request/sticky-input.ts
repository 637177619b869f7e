/**
 * The value of an input that keeps a caller on its version and decides whether it is mirrored: the first element of a tensor
 * (or feature) of the request, as text, in whichever API the request is written.
 *
 * Looked for in whole messages of at most 64 KiB: longer ones may be sent on before they have come whole, and the rule is the
 * same for all. One and the same number can be written differently in two APIs, so a caller stays where it is as long as it
 * speaks one of them.
 */
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { BodyTensors } from '../mirror/body-tensors.ts';
import { ElementReader } from '../mirror/element-reader.ts';
import { Fault } from '../mirror/fault-kinds.ts';
import { firstElement, MAX_KEYED_BYTES } from '../routing/input-value.ts';
import type { RequestTraits } from '../routing/request-traits.ts';
import { methodOf, protocolOf } from './body-form.ts';

const tensors = new BodyTensors();
const elements = new ElementReader();
const form: { protocol: number; method: string } = { protocol: 0, method: '' };

/** The value in `body[0 .. length)`; undefined where that is no whole request with such an input and an element in it. */
export function stickyInputOf(traits: RequestTraits, body: Buffer, length: number, input: string): string | undefined {
  if (traits.call?.method === 'Predict') return firstElement(body, length, traits.encoding, input);
  if (length > MAX_KEYED_BYTES) return undefined;
  let end = length;
  if (traits.call !== null) {
    if (length < PREFIX_BYTES) return undefined;
    end = PREFIX_BYTES + body.readUInt32BE(1);
    if (end > length) return undefined;
  }
  form.protocol = protocolOf(traits);
  form.method = methodOf(traits);
  try {
    if (tensors.openRequest(body.subarray(0, end), form) !== Fault.NONE) return undefined;
    const tensor = tensors.list.find(tensors.buffer, input);
    if (tensor === null || tensor.elementCount === 0 || tensor.problem !== '') return undefined;
    return String(elements.values(tensors.buffer, tensor, 1)[0]);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return undefined;
  } finally {
    tensors.release();
  }
}
