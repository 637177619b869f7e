/**
 * A captured body as plain JSON for the pair store: each tensor with its type, shape and values.
 *
 * Bounded: the first values of each tensor, and the first tensors. What the policy redacts keeps its type and shape and
 * loses its values, so that nothing of it is ever written.
 */
import { dtypeName } from '../../proto/tensor/dtype.ts';
import type { TensorView } from '../../proto/tensor/tensor-view.ts';
import { type BodyForm, BodyTensors } from './body-tensors.ts';
import { ElementReader } from './element-reader.ts';
import { FAULT_KINDS, Fault } from './fault-kinds.ts';
import { faultOf } from './message-bytes.ts';

/** Values of a tensor, and tensors of a body, that are kept. */
const MAX_VALUES = 512;
const MAX_TENSORS = 64;
const MAX_TEXT = 256;
const ALL = '*';

type ShownValue = number | string;

interface ShownTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The first values; fewer than the shape says where `cut`. */
  readonly values?: readonly ShownValue[];
  readonly cut?: true;
  readonly redacted?: true;
}

const NUMBER_FOR_TEXT = 2 ** 53;

export class BodyShower {
  private readonly tensors = new BodyTensors();
  private readonly elements = new ElementReader();

  /** JSON text; `{"fault": ...}` where the body cannot be read, '' where there is none. */
  show(body: Uint8Array, form: BodyForm, answers: boolean, redact: ReadonlySet<string>): string {
    if (body.length === 0) return '';
    const { tensors } = this;
    const fault = answers ? tensors.openAnswer(body, form) : tensors.openRequest(body, form);
    if (fault !== Fault.NONE) return JSON.stringify({ fault: faultName(fault), bytes: body.length });
    const { buffer, list } = tensors;
    const shown: [string, ShownTensor | { readonly fault: string }][] = [];
    for (let i = 0; i < list.count && i < MAX_TENSORS; i++) {
      try {
        const name = list.nameAt(buffer, i);
        shown.push([name, this.tensor(buffer, list.tensors[i]!, redact.has(ALL) || redact.has(name))]);
      } catch (error) {
        shown.push([`#${i}`, { fault: faultName(faultOf(error)) }]);
      }
    }
    tensors.release();
    return JSON.stringify(Object.fromEntries(shown));
  }

  private tensor(buffer: Buffer, tensor: TensorView, redacted: boolean): ShownTensor {
    const dtype = dtypeName(tensor.dtype).replace('DT_', '');
    const shape = tensor.dims.slice(0, tensor.rank);
    if (redacted) return { dtype, shape, redacted: true };
    const count = Math.min(tensor.elementCount, MAX_VALUES);
    const raw = this.elements.values(buffer, tensor, count);
    const values: ShownValue[] = [];
    for (let i = 0; i < count; i++) values.push(shownValue(raw[i]!));
    return count < tensor.elementCount ? { dtype, shape, values, cut: true } : { dtype, shape, values };
  }
}

/** JSON has neither infinities nor exact 64-bit integers: those are written as text. */
function shownValue(value: number | bigint | string): ShownValue {
  if (typeof value === 'string') return value.slice(0, MAX_TEXT);
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  return value > -NUMBER_FOR_TEXT && value < NUMBER_FOR_TEXT ? Number(value) : String(value);
}

function faultName(bits: number): string {
  return FAULT_KINDS.filter((_, kind) => (bits & (1 << kind)) !== 0).join(',');
}
