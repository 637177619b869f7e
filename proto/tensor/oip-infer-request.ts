/**
 * An inference request of the Open Inference Protocol, in one form for both of its encodings: read from protobuf here and
 * from JSON in oip-json-request.ts. Tensors are not copied: an input says where its elements lie.
 */
import { dtypeFromOip } from './dtype.ts';
import type { ElementSink } from './element-sink.ts';
import { OipError } from './oip-error.ts';
import { type OipParameters, readOipParameter } from './oip-parameters.ts';
import { MAX_TENSORS } from './predict-message.ts';
import { MAX_ELEMENTS, MAX_RANK } from './tensor-proto.ts';
import { readText } from './text.ts';
import { int64Number, WireReader, WireType } from './wire.ts';
import { WireError } from './wire-error.ts';

/** Where an input's elements are. */
export const OipData = {
  none: 0,
  /** `[start, end)`: little-endian elements, strings with a length of four bytes in front. */
  raw: 1,
  /** `[start, end)`: one packed list of the contents field `field`. */
  packed: 2,
  /** `[start, end)`: the contents message, its list in several pieces (strings always are). */
  scattered: 3,
  /** In `sink`, read from JSON. */
  sink: 4,
} as const;

export class OipInput {
  name = '';
  /** Where the name lies in the request's buffer; -1 where it does not. */
  nameStart = -1;
  nameEnd = -1;
  /** As sent, and as TensorFlow's number: 0 for a name nobody knows. */
  datatype = '';
  dtype = 0;
  rank = 0;
  readonly dims: number[] = [];
  /** Product of the dimensions. */
  elementCount = 1;
  /** One of `OipData`. */
  data = 0;
  field = 0;
  start = 0;
  end = 0;
  sink: ElementSink | null = null;
  parameters: OipParameters | null = null;

  reset(): void {
    this.name = '';
    this.nameStart = -1;
    this.nameEnd = -1;
    this.datatype = '';
    this.dtype = 0;
    this.rank = 0;
    this.elementCount = 1;
    this.data = OipData.none;
    this.field = 0;
    this.start = 0;
    this.end = 0;
    this.sink = null;
    this.parameters = null;
  }

  /** Adds a dimension. @throws OipError for one that cannot be */
  addDimension(size: number): void {
    if (this.rank >= MAX_RANK) throw new OipError(`input '${this.name}' has more than ${MAX_RANK} dimensions`);
    if (!(size >= 0)) throw new OipError(`input '${this.name}' has a negative dimension`);
    const elements = this.elementCount * size;
    if (size > MAX_ELEMENTS || elements > MAX_ELEMENTS) {
      throw new OipError(`input '${this.name}' has more than ${MAX_ELEMENTS} elements`);
    }
    this.dims[this.rank++] = size;
    this.elementCount = elements;
  }
}

export interface OipRequestedOutput {
  readonly name: string;
  readonly parameters: OipParameters | null;
}

/** Reusable; what it holds is good for as long as the bytes it was read from. */
export class OipInferRequest {
  modelName = '';
  /** As sent; '' leaves the choice to the server. */
  modelVersion = '';
  id = '';
  parameters: OipParameters | null = null;
  readonly inputs: OipInput[] = [];
  inputCount = 0;
  outputs: OipRequestedOutput[] = [];
  /** Inputs came as raw bytes: the answer's outputs do too, unless asked otherwise. */
  usesRaw = false;

  reset(): void {
    this.modelName = '';
    this.modelVersion = '';
    this.id = '';
    this.parameters = null;
    this.inputCount = 0;
    this.outputs = [];
    this.usesRaw = false;
  }

  /** The next input, emptied. @throws WireError `too_large` */
  addInput(): OipInput {
    if (this.inputCount >= MAX_TENSORS)
      throw new WireError('too_large', 'inference request', `more than ${MAX_TENSORS} inputs`);
    if (this.inputCount === this.inputs.length) this.inputs.push(new OipInput());
    const input = this.inputs[this.inputCount++];
    input.reset();
    return input;
  }

  addOutput(output: OipRequestedOutput): void {
    if (this.outputs.length >= MAX_TENSORS)
      throw new WireError('too_large', 'inference request', `more than ${MAX_TENSORS} outputs`);
    this.outputs.push(output);
  }
}

const reader = new WireReader();
/** Ranges of `raw_input_contents`, start and end of entry `i` at `2 * i` and `2 * i + 1`. */
const rawRanges: number[] = [];

/**
 * Parses a ModelInferRequest at `[start, end)`.
 * @throws WireError; OipError where contents and raw contents contradict each other
 */
export function parseInferRequest(request: OipInferRequest, buf: Buffer, start: number, end: number): void {
  parseMessage(request, buf, start, end, RAW_INPUT_CONTENTS);
}

/**
 * Parses a ModelInferResponse at `[start, end)`; its outputs are laid out as inputs are and become the inputs of `answer`.
 * @throws WireError; OipError where contents and raw contents contradict each other
 */
export function parseInferResponse(answer: OipInferRequest, buf: Buffer, start: number, end: number): void {
  parseMessage(answer, buf, start, end, RAW_OUTPUT_CONTENTS);
}

const RAW_INPUT_CONTENTS = 7;
const RAW_OUTPUT_CONTENTS = 6;

/** Both messages: they differ in which field holds raw contents, and only a request asks for outputs. */
function parseMessage(request: OipInferRequest, buf: Buffer, start: number, end: number, rawField: number): void {
  request.reset();
  let rawCount = 0;
  reader.reset(buf, start, end, rawField === RAW_INPUT_CONTENTS ? 'ModelInferRequest' : 'ModelInferResponse');
  while (reader.pos < reader.end) {
    const tag = reader.readTag();
    if ((tag & 7) !== WireType.bytes || tag >>> 3 > rawField) {
      reader.skip(tag);
      continue;
    }
    const fieldEnd = reader.readPayloadEnd();
    const fieldStart = reader.pos;
    switch (tag >>> 3) {
      case rawField:
        if (rawCount >= MAX_TENSORS)
          throw new WireError('too_large', reader.what, `more than ${MAX_TENSORS} raw contents`);
        rawRanges[rawCount * 2] = fieldStart;
        rawRanges[rawCount * 2 + 1] = fieldEnd;
        rawCount++;
        break;
      case 1:
        request.modelName = readText(buf, fieldStart, fieldEnd, 'model_name');
        break;
      case 2:
        request.modelVersion = readText(buf, fieldStart, fieldEnd, 'model_version');
        break;
      case 3:
        request.id = readText(buf, fieldStart, fieldEnd, 'id');
        break;
      case 4:
        request.parameters = readOipParameter(buf, fieldStart, fieldEnd, request.parameters);
        break;
      case 5:
        reader.end = fieldEnd;
        parseInput(request.addInput(), buf);
        reader.end = end;
        break;
      default:
        request.addOutput(parseOutput(buf, fieldStart, fieldEnd));
    }
    reader.pos = fieldEnd;
  }
  reader.release();
  if (rawCount > 0) useRaw(request, rawCount);
}

function useRaw(request: OipInferRequest, rawCount: number): void {
  request.usesRaw = true;
  for (let i = 0; i < request.inputCount; i++) {
    const input = request.inputs[i];
    if (input.data !== OipData.none) {
      const problem = `contents field must not be specified when using raw_input_contents for '${input.name}' for model '${request.modelName}'`;
      throw new OipError(problem);
    }
    if (i >= rawCount) break;
    input.data = OipData.raw;
    input.start = rawRanges[i * 2];
    input.end = rawRanges[i * 2 + 1];
  }
  if (rawCount === request.inputCount) return;
  const problem = `expected ${request.inputCount} raw_input_contents but got ${rawCount} for model '${request.modelName}'`;
  throw new OipError(problem);
}

/** Reads an InferInputTensor that fills the reader's range. */
function parseInput(input: OipInput, buf: Buffer): void {
  const { end } = reader;
  while (reader.pos < end) {
    const tag = reader.readTag();
    if (tag === SHAPE_UNPACKED) {
      reader.readVarint();
      input.addDimension(int64Number(reader.lo, reader.hi));
      continue;
    }
    if ((tag & 7) !== WireType.bytes) {
      reader.skip(tag);
      continue;
    }
    const fieldEnd = reader.readPayloadEnd();
    const fieldStart = reader.pos;
    switch (tag >>> 3) {
      case 1:
        input.name = readText(buf, fieldStart, fieldEnd, 'input name');
        input.nameStart = fieldStart;
        input.nameEnd = fieldEnd;
        break;
      case 2:
        input.datatype = readText(buf, fieldStart, fieldEnd, 'datatype');
        input.dtype = dtypeFromOip(input.datatype);
        break;
      case 3:
        reader.end = fieldEnd;
        while (reader.pos < fieldEnd) {
          reader.readVarint();
          input.addDimension(int64Number(reader.lo, reader.hi));
        }
        reader.end = end;
        break;
      case 4:
        input.parameters = readOipParameter(buf, fieldStart, fieldEnd, input.parameters);
        break;
      case 5:
        reader.end = fieldEnd;
        findContents(input, fieldStart, fieldEnd);
        reader.end = end;
        break;
      default:
    }
    reader.pos = fieldEnd;
  }
}
const SHAPE_UNPACKED = 3 * 8;
const BYTES_FIELD = 8;

/** Notes where the list in an InferTensorContents is: in place where it is one packed run. */
function findContents(input: OipInput, start: number, end: number): void {
  // A second contents field merges with the first; rather than join two ranges it is refused.
  if (input.data !== OipData.none) throw new WireError('malformed', 'ModelInferRequest', 'contents given twice', start);
  while (reader.pos < end) {
    const tag = reader.readTag();
    const field = tag >>> 3;
    const packed = (tag & 7) === WireType.bytes && field !== BYTES_FIELD;
    const runEnd = packed ? reader.readPayloadEnd() : 0;
    if (input.data !== OipData.none || !packed) {
      input.data = OipData.scattered;
      input.field = input.field === 0 || input.field === field ? field : -1;
    } else {
      input.data = OipData.packed;
      input.field = field;
      input.start = reader.pos;
      input.end = runEnd;
    }
    if (packed) reader.pos = runEnd;
    else reader.skip(tag);
  }
  if (input.data !== OipData.scattered) return;
  input.start = start;
  input.end = end;
}

function parseOutput(buf: Buffer, start: number, end: number): OipRequestedOutput {
  const fields = new WireReader();
  let name = '';
  let parameters: OipParameters | null = null;
  fields.reset(buf, start, end, 'InferRequestedOutputTensor');
  while (fields.pos < end) {
    const tag = fields.readTag();
    if (tag !== 0x0a && tag !== 0x12) {
      fields.skip(tag);
      continue;
    }
    const fieldEnd = fields.readPayloadEnd();
    if (tag === 0x0a) name = readText(buf, fields.pos, fieldEnd, 'output name');
    else parameters = readOipParameter(buf, fields.pos, fieldEnd, parameters);
    fields.pos = fieldEnd;
  }
  return { name, parameters };
}
