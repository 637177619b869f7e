/** Elements of a tensor written as text in the configuration. */
import { allocateElements, DataType, type ElementArray } from '../../proto/tensor/dtype.ts';

const WHOLE = /^-?\d{1,20}$/;

/** The elements in order, strings for DT_STRING; null where one of them is none of that type. */
export function constantElements(dtype: number, values: readonly string[]): ElementArray | readonly string[] | null {
  if (dtype === DataType.STRING) return values;
  const data = allocateElements(dtype, values.length);
  if (data === null || dtype === DataType.BFLOAT16) return null;
  for (const [i, text] of values.entries()) if (!setElement(dtype, data, i, text)) return null;
  return data;
}

/** How the zero of a type is written. */
export function zeroText(dtype: number): string {
  if (dtype === DataType.STRING) return '';
  return dtype === DataType.BOOL ? 'false' : '0';
}

function setElement(dtype: number, data: ElementArray, i: number, text: string): boolean {
  if (dtype === DataType.BOOL) {
    data[i] = text === 'true' ? 1 : 0;
    return text === 'true' || text === 'false';
  }
  if (dtype === DataType.FLOAT || dtype === DataType.DOUBLE || dtype === DataType.HALF) {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (dtype === DataType.HALF) new Float16Array(data.buffer)[i] = value;
    else data[i] = value;
    return Number.isFinite(value);
  }
  if (!WHOLE.test(text)) return false;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    data[i] = BigInt(text);
    return data[i] === BigInt(text);
  }
  data[i] = Number(text);
  return data[i] === Number(text);
}
