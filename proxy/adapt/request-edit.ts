/**
 * Requests as a fallback of another schema has to see them: inputs under its own names, and without the list of outputs
 * that are wanted, which names the primary's. Tensors are copied as they lie.
 *
 * Each function returns null where nothing has to be changed. What cannot be read is an AdaptError: the request then goes on
 * as it came, and the fallback says what is wrong with it.
 */
import type { HeaderList } from '../../proto/http2/header-list.ts';
import { ByteSink } from '../../proto/tensor/byte-sink.ts';
import { Char, checkDocument, JsonScanner } from '../../proto/tensor/json-scanner.ts';
import { isBase64Object } from '../../proto/tensor/json-tensor-reader.ts';
import { putJsonString } from '../../proto/tensor/json-tensor-writer.ts';
import { modelSpecField, tensorKey } from '../../proto/tensor/tensor-view.ts';
import { WireReader } from '../../proto/tensor/wire.ts';
import { putVarint } from '../../proto/tensor/wire-writer.ts';
import type { InputRename } from '../config/answer-policy.ts';
import { AdaptError, misfitOf } from './adapt-error.ts';
import { framedBy, jsonLength, MAX_ADAPTED_JSON, openBody, openFrame } from './answer-adapter.ts';
import { signatureOf } from './predict-answer.ts';

/** Who is asked, and what it calls the inputs. */
export interface RequestEdit {
  readonly inputs: readonly InputRename[];
  readonly model: string;
  /** Decimal, '' for none. */
  readonly version: string;
}

/** Fields of PredictRequest: model_spec 1, inputs 2, output_filter 3. Of ModelInferRequest: name 1, version 2, inputs 5, outputs 6. */
const PREDICT = { inputs: 2, filter: 3, spec: 1, version: 0 } as const;
const INFER = { inputs: 5, filter: 6, spec: 1, version: 2 } as const;
const TAG_KEY = 0x0a;

const reader = new WireReader();
const entry = new WireReader();
const scanner = new JsonScanner();
const sink = new ByteSink();

/** A framed request of `Predict`, `ModelInfer` or `ModelStreamInfer`. @throws AdaptError */
export function editGrpc(
  method: string,
  framed: Buffer,
  length: number,
  encoding: string,
  edit: RequestEdit,
): Buffer | null {
  const fields = method === 'Predict' ? PREDICT : method.startsWith('Model') ? INFER : null;
  if (fields === null) return null;
  try {
    const [buf, start, end] = openFrame(framed, length, encoding);
    if (!needsEdit(buf, start, end, fields, edit)) return null;
    return framedBy((out) => putRequest(out, buf, start, end, fields, edit));
  } catch (error) {
    throw misfitOf(error);
  }
}

type Fields = typeof PREDICT | typeof INFER;

/** Whether it lists outputs, or has an input that is renamed. */
function needsEdit(buf: Buffer, start: number, end: number, fields: Fields, { inputs }: RequestEdit): boolean {
  let needs = false;
  reader.reset(buf, start, end, 'a request');
  while (reader.pos < end && !needs) {
    const tag = reader.readTag();
    const from = reader.pos;
    reader.skip(tag);
    if (tag >>> 3 === fields.filter) needs = true;
    else if (tag === fields.inputs * 8 + 2)
      needs = inputs.length > 0 && renamed(buf, from, reader.pos, inputs) !== null;
  }
  reader.release();
  return needs;
}

function putRequest(out: ByteSink, buf: Buffer, start: number, end: number, fields: Fields, edit: RequestEdit): void {
  const { inputs, model, version } = edit;
  let signature = '';
  reader.reset(buf, start, end, 'a request');
  while (reader.pos < end) {
    const from = reader.pos;
    const tag = reader.readTag();
    const valueFrom = reader.pos;
    reader.skip(tag);
    const field = tag >>> 3;
    if (field === fields.spec && fields === PREDICT) signature = specSignature(buf, valueFrom, reader.pos) ?? signature;
    if (field === fields.spec || field === fields.filter || field === fields.version) continue;
    const name = tag === fields.inputs * 8 + 2 ? renamed(buf, valueFrom, reader.pos, inputs) : null;
    if (name === null) out.putBytes(buf, from, reader.pos);
    else putRenamed(out, tag, buf, valueFrom, reader.pos, name);
  }
  reader.release();
  if (fields === PREDICT) {
    const spec = modelSpecField(1, model, version === '' ? null : BigInt(version), signature);
    out.putBytes(spec, 0, spec.length);
    return;
  }
  for (const [tag, text] of [
    [0x0a, model],
    [0x12, version],
  ] as const) {
    if (text === '') continue;
    const bytes = Buffer.from(text);
    out.putByte(tag);
    putLength(out, bytes.length);
    out.putBytes(bytes, 0, bytes.length);
  }
}

function specSignature(buf: Buffer, from: number, to: number): string | null {
  entry.reset(buf, from, to, 'ModelSpec');
  const end = entry.readPayloadEnd();
  return signatureOf(buf, entry.pos, end);
}

/** What the input in the length-delimited field at `[from, to)` is to be called; null where it keeps its name. */
function renamed(buf: Buffer, from: number, to: number, inputs: readonly InputRename[]): string | null {
  let name: string | null = null;
  entry.reset(buf, from, to, 'an input');
  entry.readPayloadEnd();
  while (entry.pos < to) {
    const tag = entry.readTag();
    if (tag !== TAG_KEY) {
      entry.skip(tag);
      continue;
    }
    const end = entry.readPayloadEnd();
    const text = buf.toString('utf8', entry.pos, end);
    name = inputs.find((input) => input.from === text)?.name ?? null;
    entry.pos = end;
  }
  entry.release();
  return name;
}

/** The input with another name in front of everything else it holds: in both messages the name is field 1. */
function putRenamed(out: ByteSink, tag: number, buf: Buffer, from: number, to: number, name: string): void {
  const key = tensorKey(name);
  const rest: number[] = [];
  let bytes = key.length;
  entry.reset(buf, from, to, 'an input');
  entry.readPayloadEnd();
  while (entry.pos < to) {
    const at = entry.pos;
    const inner = entry.readTag();
    entry.skip(inner);
    if (inner >>> 3 === 1) continue;
    rest.push(at, entry.pos);
    bytes += entry.pos - at;
  }
  entry.release();
  out.putByte(tag);
  putLength(out, bytes);
  out.putBytes(key, 0, key.length);
  for (let i = 0; i < rest.length; i += 2) out.putBytes(buf, rest[i]!, rest[i + 1]!);
}

function putLength(out: ByteSink, length: number): void {
  out.reserve(5);
  out.length = putVarint(out.bytes, out.length, length);
}

/** A body, and how much of it is JSON. */
export interface EditedBody {
  readonly body: Buffer;
  readonly jsonBytes: number;
}

/** A REST request of `Predict` or `infer`. @throws AdaptError */
export function editRest(
  method: string,
  head: HeaderList,
  body: Buffer,
  length: number,
  { inputs }: RequestEdit,
): EditedBody | null {
  try {
    const plain = openBody(head, body, length);
    const jsonEnd = method === 'infer' ? jsonLength(head, plain.length) : plain.length;
    if (jsonEnd > MAX_ADAPTED_JSON) throw new AdaptError('too_large', `${jsonEnd} bytes of JSON`);
    checkDocument(scanner, plain, 0, jsonEnd);
    scanner.reset(plain, 0, jsonEnd);
    sink.clear();
    if (!(method === 'infer' ? copyInfer(plain, inputs) : copyPredict(plain, inputs))) return null;
    const jsonBytes = sink.length;
    sink.putBytes(plain, jsonEnd, plain.length);
    return { body: sink.take(), jsonBytes };
  } catch (error) {
    throw misfitOf(error);
  } finally {
    scanner.release();
  }
}

type Renames = readonly InputRename[];

/** How a member goes on: its key, and what writes its value; null for a copy. */
interface Member {
  readonly key: string;
  readonly copy: (() => boolean) | null;
}

/** Each `copy...` moves behind one value and writes it; true where it wrote anything else than what it read. */
function copyInfer(buf: Buffer, inputs: Renames): boolean {
  const name = () => copyText(buf, inputs);
  const input = () => copyObject(buf, (key) => ({ key, copy: key === 'name' ? name : null }));
  const all = () => copyList(buf, input);
  return copyObject(buf, (key) => (key === 'outputs' ? null : { key, copy: key === 'inputs' ? all : null }));
}

function copyPredict(buf: Buffer, inputs: Renames): boolean {
  const named = () => {
    if (scanner.peek() !== Char.openObject || isBase64Object(scanner)) return copyValue(buf);
    return copyObject(buf, (key) => ({ key: newName(key, inputs), copy: null }));
  };
  const rows = () => copyList(buf, named);
  return copyObject(buf, (key) => ({ key, copy: key === 'inputs' ? named : key === 'instances' ? rows : null }));
}

function newName(name: string, inputs: Renames): string {
  return inputs.find(({ from }) => from === name)?.name ?? name;
}

function copyObject(buf: Buffer, take: (key: string) => Member | null): boolean {
  let changed = false;
  if (scanner.peek() !== Char.openObject) return copyValue(buf);
  scanner.pos++;
  sink.putByte(Char.openObject);
  for (let first = true; scanner.peek() !== Char.closeObject; ) {
    scanner.passKey();
    const key = scanner.stringText();
    const member = take(key);
    if (member === null) {
      scanner.passValue();
      changed = true;
    } else {
      if (!first) sink.putByte(Char.comma);
      first = false;
      putJsonString(sink, member.key);
      sink.putByte(Char.colon);
      if (member.copy === null ? copyValue(buf) : member.copy()) changed = true;
      if (member.key !== key) changed = true;
    }
    if (scanner.peek() === Char.comma) scanner.pos++;
  }
  scanner.pos++;
  sink.putByte(Char.closeObject);
  return changed;
}

function copyList(buf: Buffer, element: () => boolean): boolean {
  let changed = false;
  if (scanner.peek() !== Char.open) return copyValue(buf);
  scanner.pos++;
  sink.putByte(Char.open);
  for (let first = true; scanner.peek() !== Char.close; first = false) {
    if (!first) sink.putByte(Char.comma);
    if (element()) changed = true;
    if (scanner.peek() === Char.comma) scanner.pos++;
  }
  scanner.pos++;
  sink.putByte(Char.close);
  return changed;
}

function copyValue(buf: Buffer): boolean {
  scanner.peek();
  const from = scanner.pos;
  scanner.passValue();
  sink.putBytes(buf, from, scanner.pos);
  return false;
}

function copyText(buf: Buffer, inputs: Renames): boolean {
  if (scanner.peek() !== Char.quote) return copyValue(buf);
  scanner.passString();
  const text = scanner.stringText();
  putJsonString(sink, newName(text, inputs));
  return newName(text, inputs) !== text;
}
