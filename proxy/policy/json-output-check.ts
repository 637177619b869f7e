/**
 * Whether a REST answer's numbers can be believed. Servers write what is not finite as `NaN` and `Infinity` (which is not
 * JSON) or as `null` (which is no number); a `null` outside a list is a member without a value and means nothing. Tensors
 * that follow the JSON as bytes (`Inference-Header-Content-Length`) are looked at like raw contents. One pass over the
 * bytes, nothing is decoded but numbers with an exponent. An answer that breaks off is bad.
 */
import { DataType, dtypeFromOip } from '../../proto/tensor/dtype.ts';
import { rangeIsFinite } from './output-check.ts';

/** Lists and objects nested deeper are bad: no tensor has as many dimensions. */
const MAX_DEPTH = 64;
/** Longest text of a number. */
const MAX_NUMBER_BYTES = 400;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Whether the open level `i` is a list. */
const lists = new Uint8Array(MAX_DEPTH);

/**
 * True when the answer in `body[0..length)`, not compressed, holds what is no finite number, or is no whole answer.
 * `declared` is how many bytes of JSON its head says it begins with.
 */
export function isBadJson(declared: string | undefined, body: Buffer, length: number): boolean {
  if (declared === undefined) return !jsonIsFinite(body, 0, length);
  const jsonBytes = Number(declared);
  // 0 stands for an answer that is one raw tensor of a type nobody says.
  if (jsonBytes === 0) return false;
  if (!(jsonBytes > 0 && jsonBytes <= length)) return true;
  return !jsonIsFinite(body, 0, jsonBytes) || !binaryIsFinite(body, jsonBytes, length);
}

function jsonIsFinite(body: Buffer, start: number, end: number): boolean {
  let depth = 0;
  let closed = false;
  for (let at = start; at < end; at++) {
    const byte = body[at]!;
    if (byte === QUOTE) {
      at = stringEnd(body, at, end);
      if (at >= end || depth === 0) return false;
    } else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      if (closed || depth === MAX_DEPTH) return false;
      lists[depth++] = byte === OPEN_LIST ? 1 : 0;
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
      if (depth === 0 || (lists[depth - 1] === 1) !== (byte === CLOSE_LIST)) return false;
      closed = --depth === 0;
    } else if (byte === 0x4e || byte === 0x49) {
      return false; // NaN, Infinity
    } else if (byte === 0x6e && depth > 0 && lists[depth - 1] === 1) {
      return false; // null where a number should be
    } else if ((byte === 0x65 || byte === 0x45) && isDigit(body[at - 1]!) && !exponentIsFinite(body, at, end)) {
      return false;
    }
  }
  return closed;
}

/** Where the string that begins at `at` ends; `end` when it does not. */
function stringEnd(body: Buffer, at: number, end: number): number {
  for (at++; at < end; at++) {
    const byte = body[at]!;
    if (byte === BACKSLASH) at++;
    else if (byte === QUOTE) return at;
  }
  return end;
}

/** `1e999` is a number to JSON and infinity to everybody who reads it. */
function exponentIsFinite(body: Buffer, at: number, end: number): boolean {
  let from = at;
  let to = at + 1;
  while (from > 0 && at - from < MAX_NUMBER_BYTES && isNumberByte(body[from - 1]!)) from--;
  while (to < end && to - at < MAX_NUMBER_BYTES && isNumberByte(body[to]!)) to++;
  return Number.isFinite(Number(body.toString('latin1', from, to)));
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function isNumberByte(byte: number): boolean {
  return isDigit(byte) || byte === 0x2b || byte === 0x2d || byte === 0x2e || byte === 0x65 || byte === 0x45;
}

interface BinaryOutput {
  readonly datatype?: string;
  readonly parameters?: { readonly binary_data_size?: number };
}

/** Outputs whose elements follow the JSON, in order, each as long as it says. */
function binaryIsFinite(body: Buffer, jsonBytes: number, length: number): boolean {
  let outputs: unknown;
  try {
    outputs = (JSON.parse(body.toString('utf8', 0, jsonBytes)) as { outputs?: unknown }).outputs;
  } catch {
    return false;
  }
  if (!Array.isArray(outputs)) return false;
  let at = jsonBytes;
  for (const output of outputs as (BinaryOutput | null)[]) {
    const size = output?.parameters?.binary_data_size;
    if (size === undefined) continue;
    if (!(Number.isInteger(size) && size >= 0) || at + size > length) return false;
    const dtype = dtypeFromOip(String(output?.datatype));
    if (FLOATS.has(dtype) && !rangeIsFinite(body, at, at + size, dtype)) return false;
    at += size;
  }
  return at === length;
}

const FLOATS: ReadonlySet<number> = new Set([DataType.FLOAT, DataType.DOUBLE, DataType.HALF, DataType.BFLOAT16]);
