/**
 * Writes inference answers of the Open Inference Protocol as protobuf (two passes: exact size, then bytes) and as JSON
 * with the binary tensor extension. Outputs are typed contents or raw bytes, all of one answer alike in protobuf, each as
 * asked in JSON.
 */
import { assert } from '../../base/assert.ts';
import type { ByteSink } from './byte-sink.ts';
import { DataType, dtypeBytes, dtypeForm, dtypeToOip, type ElementArray, ValueForm } from './dtype.ts';
import { elementBits } from './element-bits.ts';
import { putInteger } from './json-number-text.ts';
import { type JsonOutput, putFlatList, putJsonString } from './json-tensor-writer.ts';
import { contentsField } from './oip-binding.ts';
import { listPayloadBytes, putListPayload, putStrings, stringsBytes } from './value-list.ts';
import { putBytes, putSafeInt, putVarint, safeIntBytes, varintBytes } from './wire-writer.ts';

/** Length in front of a string in raw bytes. */
const LENGTH_BYTES = 4;

/** Whether typed contents can carry the type at all: 16-bit floats only travel raw. */
export function hasContents(dtype: number): boolean {
  return contentsField(dtype) !== 0;
}

/** Bytes of an output as raw contents. */
export function rawBytes({ dtype, data, from, count }: JsonOutput): number {
  if (dtype !== DataType.STRING) return count * dtypeBytes(dtype);
  let bytes = count * LENGTH_BYTES;
  for (let i = from; i < from + count; i++) bytes += Buffer.byteLength((data as readonly string[])[i]);
  return bytes;
}

/** Writes what `rawBytes` counted. */
export function putRaw(buf: Buffer, offset: number, { dtype, data, from, count }: JsonOutput): number {
  if (dtype !== DataType.STRING) {
    const size = dtypeBytes(dtype);
    return putBytes(buf, offset, elementBits(data as ElementArray).bytes, from * size, (from + count) * size);
  }
  for (let i = from; i < from + count; i++) {
    const length = buf.write((data as readonly string[])[i], offset + LENGTH_BYTES);
    buf.writeUInt32LE(length, offset);
    offset += LENGTH_BYTES + length;
  }
  return offset;
}

class OutputSlot {
  output!: JsonOutput;
  shapeBytes = 0;
  contentsBytes = 0;
  bodyBytes = 0;
  rawBytes = 0;
}

/** One at a time: `begin`, `add` each output, then `write` exactly `byteLength` bytes while the data is unchanged. */
export class OipMessageWriter {
  byteLength = 0;
  private readonly rawTag: number;
  private head: Buffer = Buffer.alloc(0);
  private raw = false;
  private readonly slots: OutputSlot[] = [];
  private count = 0;

  /** `rawField` is the field of raw contents: 6 in answers, 7 in requests, which are otherwise alike. */
  constructor(rawField = 6) {
    this.rawTag = rawField * 8 + 2;
  }

  /** `head` is what `inferHead` made. */
  begin(head: Buffer, raw: boolean): void {
    this.head = head;
    this.raw = raw;
    this.count = 0;
    this.byteLength = head.length;
  }

  add(output: JsonOutput): void {
    if (this.count === this.slots.length) this.slots.push(new OutputSlot());
    const slot = this.slots[this.count++];
    slot.output = output;
    slot.shapeBytes = 0;
    for (let i = 0; i < output.dims.length; i++) slot.shapeBytes += safeIntBytes(output.dims[i]);
    slot.contentsBytes = this.raw || output.count === 0 ? 0 : contentsBytes(output);
    const { name, dtype } = output;
    slot.bodyBytes = fieldBytes(Buffer.byteLength(name)) + fieldBytes(dtypeToOip(dtype).length);
    if (slot.shapeBytes > 0) slot.bodyBytes += fieldBytes(slot.shapeBytes);
    if (slot.contentsBytes > 0) slot.bodyBytes += fieldBytes(slot.contentsBytes);
    this.byteLength += fieldBytes(slot.bodyBytes);
    if (!this.raw) return;
    slot.rawBytes = rawBytes(output);
    this.byteLength += fieldBytes(slot.rawBytes);
  }

  /** Writes the message at `offset`; returns the offset behind it. */
  write(buf: Buffer, offset: number): number {
    const end = offset + this.byteLength;
    offset = putBytes(buf, offset, this.head, 0, this.head.length);
    for (let i = 0; i < this.count; i++) offset = this.putOutput(buf, offset, this.slots[i]);
    for (let i = 0; this.raw && i < this.count; i++) {
      buf[offset] = this.rawTag;
      offset = putRaw(buf, putVarint(buf, offset + 1, this.slots[i].rawBytes), this.slots[i].output);
    }
    assert(offset === end, 'the message is not as long as computed');
    return offset;
  }

  private putOutput(buf: Buffer, offset: number, slot: OutputSlot): number {
    const { name, dtype, dims } = slot.output;
    buf[offset] = 5 * 8 + 2;
    offset = putVarint(buf, offset + 1, slot.bodyBytes);
    offset = putTextField(buf, offset, 1, name);
    offset = putTextField(buf, offset, 2, dtypeToOip(dtype));
    if (slot.shapeBytes > 0) {
      buf[offset] = 3 * 8 + 2;
      offset = putVarint(buf, offset + 1, slot.shapeBytes);
      for (let i = 0; i < dims.length; i++) offset = putSafeInt(buf, offset, dims[i]);
    }
    if (slot.contentsBytes === 0) return offset;
    buf[offset] = 5 * 8 + 2;
    offset = putVarint(buf, offset + 1, slot.contentsBytes);
    return putContents(buf, offset, slot.output);
  }
}

/** The fields in front of the outputs: model name, version and request id. */
export function inferHead(modelName: string, modelVersion: string, id: string): Buffer {
  const texts = [modelName, modelVersion, id];
  let bytes = 0;
  for (const text of texts) if (text !== '') bytes += fieldBytes(Buffer.byteLength(text));
  const head = Buffer.allocUnsafe(bytes);
  let offset = 0;
  texts.forEach((text, i) => {
    if (text !== '') offset = putTextField(head, offset, i + 1, text);
  });
  return head;
}

/** Bytes of an output as an InferTensorContents. */
export function contentsBytes({ dtype, data, from, count }: JsonOutput): number {
  if (dtype === DataType.STRING) return stringsBytes(data as readonly string[], from, count);
  return fieldBytes(contentsPayload(dtype, data as ElementArray, from, count));
}

function contentsPayload(dtype: number, data: ElementArray, from: number, count: number): number {
  const form = dtypeForm(dtype);
  return form === ValueForm.fixed ? count * dtypeBytes(dtype) : listPayloadBytes(form, data, from, count);
}

/** Writes what `contentsBytes` counted. */
export function putContents(buf: Buffer, offset: number, { dtype, data, from, count }: JsonOutput): number {
  // The field of byte strings has the number of TensorProto's string_val.
  if (dtype === DataType.STRING) return putStrings(buf, offset, data as readonly string[], from, count);
  const elements = data as ElementArray;
  buf[offset] = contentsField(dtype) * 8 + 2;
  offset = putVarint(buf, offset + 1, contentsPayload(dtype, elements, from, count));
  const form = dtypeForm(dtype);
  if (form !== ValueForm.fixed) return putListPayload(buf, offset, form, elements, from, count);
  const size = dtypeBytes(dtype);
  return putBytes(buf, offset, elementBits(elements).bytes, from * size, (from + count) * size);
}

/** Tag of one byte, length and payload. */
function fieldBytes(payload: number): number {
  return 1 + varintBytes(payload) + payload;
}

function putTextField(buf: Buffer, offset: number, field: number, text: string): number {
  buf[offset] = field * 8 + 2;
  offset = putVarint(buf, offset + 1, Buffer.byteLength(text));
  return offset + buf.write(text, offset);
}

/**
 * Appends the JSON part of an answer to `sink`; outputs for which `binary` holds only say their size, and their bytes
 * are to follow in order.
 */
export function putInferJson(
  sink: ByteSink,
  modelName: string,
  modelVersion: string,
  id: string,
  outputs: readonly JsonOutput[],
  binary: readonly boolean[],
): void {
  sink.putByte(0x7b);
  if (id !== '') {
    sink.putAscii('"id":');
    putJsonString(sink, id);
    sink.putByte(0x2c);
  }
  sink.putAscii('"model_name":');
  putJsonString(sink, modelName);
  sink.putAscii(',"model_version":');
  putJsonString(sink, modelVersion);
  sink.putAscii(',"outputs":[');
  for (let i = 0; i < outputs.length; i++) {
    if (i > 0) sink.putByte(0x2c);
    putOutputJson(sink, outputs[i], binary[i]);
  }
  sink.putAscii(']}');
}

/** Appends one output; where `binary`, only how many bytes it has. */
export function putOutputJson(sink: ByteSink, output: JsonOutput, binary: boolean): void {
  const { name, dtype, dims } = output;
  sink.putAscii('{"name":');
  putJsonString(sink, name);
  sink.putAscii(`,"datatype":"${dtypeToOip(dtype)}","shape":[`);
  for (let i = 0; i < dims.length; i++) {
    if (i > 0) sink.putByte(0x2c);
    putInteger(sink, dims[i]);
  }
  if (binary) {
    sink.putAscii(`],"parameters":{"binary_data_size":${rawBytes(output)}}}`);
  } else {
    sink.putAscii('],"data":');
    putFlatList(sink, output);
    sink.putByte(0x7d);
  }
}
