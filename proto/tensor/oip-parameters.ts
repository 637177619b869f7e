/** Parameters of requests, inputs and outputs of the Open Inference Protocol: a few typed values by name. */
import { readText } from './text.ts';
import { int64BigInt, WireReader } from './wire.ts';
import { WireError } from './wire-error.ts';

export type OipParameter = boolean | bigint | number | string;
export type OipParameters = Map<string, OipParameter>;

/** Parameters kept of one request, input or output; more is refused. */
const MAX_PARAMETERS = 64;

const scratch = Buffer.alloc(8);

/** Adds the map entry at `[start, end)` (key=1, InferParameter=2) to `known`, which is made where there was none. */
export function readOipParameter(buf: Buffer, start: number, end: number, known: OipParameters | null): OipParameters {
  const parameters = known ?? new Map<string, OipParameter>();
  if (parameters.size >= MAX_PARAMETERS) throw new WireError('too_large', 'InferParameter', 'too many parameters');
  const reader = new WireReader();
  reader.reset(buf, start, end, 'InferParameter');
  let key = '';
  let value: OipParameter = '';
  while (reader.pos < end) {
    const tag = reader.readTag();
    if (tag === 0x0a) {
      const keyEnd = reader.readPayloadEnd();
      key = readText(buf, reader.pos, keyEnd, 'parameter name');
      reader.pos = keyEnd;
    } else if (tag === 0x12) {
      reader.end = reader.readPayloadEnd();
      value = readChoice(reader, buf);
      reader.end = end;
    } else {
      reader.skip(tag);
    }
  }
  parameters.set(key, value);
  return parameters;
}

/** bool=1, int64=2, string=3, double=4, uint64=5; the last one given counts. */
function readChoice(reader: WireReader, buf: Buffer): OipParameter {
  let value: OipParameter = '';
  while (reader.pos < reader.end) {
    const tag = reader.readTag();
    switch (tag) {
      case 0x08:
        reader.readVarint();
        value = (reader.lo | reader.hi) !== 0;
        break;
      case 0x10:
        reader.readVarint();
        value = int64BigInt(reader.lo, reader.hi);
        break;
      case 0x1a: {
        const textEnd = reader.readPayloadEnd();
        value = readText(buf, reader.pos, textEnd, 'parameter');
        reader.pos = textEnd;
        break;
      }
      case 0x21:
        reader.readFixed64();
        scratch.writeInt32LE(reader.lo, 0);
        scratch.writeInt32LE(reader.hi, 4);
        value = scratch.readDoubleLE(0);
        break;
      case 0x28:
        reader.readVarint();
        value = BigInt.asUintN(64, int64BigInt(reader.lo, reader.hi));
        break;
      default:
        reader.skip(tag);
    }
  }
  return value;
}

/** A parameter as a number; `fallback` where it is absent, NaN where it is none. */
export function numberParameter(parameters: OipParameters | null, name: string, fallback: number): number {
  const value = parameters?.get(name);
  if (value === undefined) return fallback;
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'number') return value;
  return typeof value === 'string' && /^\d{1,18}$/.test(value) ? Number(value) : Number.NaN;
}

/** A parameter as true or false; null where it is absent or neither. */
export function flagParameter(parameters: OipParameters | null, name: string): boolean | null {
  const value = parameters?.get(name);
  return typeof value === 'boolean' ? value : null;
}
