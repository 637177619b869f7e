/**
 * TensorFlow Serving's REST bodies of classify and regress: tf.Examples as JSON objects of features.
 *
 *   {"signature_name": S, "context": {FEATURE: VALUE, ...}, "examples": [{FEATURE: VALUE | [VALUE, ...]}, ...]}
 *
 * A feature's kind follows its values: whole numbers and booleans are int64, other numbers float, strings and
 * `{"b64": ...}` bytes; they are not mixed.
 */
import { DataType } from './dtype.ts';
import { ElementSink } from './element-sink.ts';
import { failValue, JsonError } from './json-error.ts';
import { JsonNumber } from './json-number.ts';
import { Char, checkDocument, JsonScanner } from './json-scanner.ts';
import { isBase64Object, JsonTensorReader } from './json-tensor-reader.ts';
import { jsonTypeName, jsonValueText } from './json-text.ts';
import { WireReader } from './wire.ts';

export type JsonFeature =
  | { readonly kind: 'bytes'; readonly values: Buffer[] }
  | { readonly kind: 'float'; readonly values: number[] }
  | { readonly kind: 'int64'; readonly values: bigint[] };

export type JsonExample = ReadonlyMap<string, JsonFeature>;

export interface JsonExamples {
  readonly signatureName: string;
  /** Each with the features of the context it lacks. */
  readonly examples: readonly JsonExample[];
}

/** Examples of one request; more is refused. */
export const MAX_JSON_EXAMPLES = 65_536;

const MAX_FLOAT = 3.4028234663852886e38;
const number = new JsonNumber();
const tensors = new JsonTensorReader();
const sink = new ElementSink();
const strings = new WireReader();

/** Reads a body. @throws JsonError */
export function readJsonExamples(buf: Buffer, start: number, end: number): JsonExamples {
  const scanner = new JsonScanner();
  checkDocument(scanner, buf, start, end);
  scanner.reset(buf, start, end);
  const whole = (): string => jsonValueText(buf, start, end);
  if (scanner.peek() !== Char.openObject) failValue(`JSON Value: ${whole()} Is not object`);
  let signatureName: string | null = null;
  let context: JsonExample | null = null;
  let examples: JsonExample[] | null = null;
  eachMember(scanner, () => {
    if (signatureName === null && scanner.stringIs('signature_name')) signatureName = signature(scanner, whole);
    else if (context === null && scanner.stringIs('context')) context = readExample(scanner);
    else if (examples === null && scanner.stringIs('examples')) examples = readList(scanner, whole);
    else scanner.passValue();
  });
  if (examples === null) {
    failValue(`JSON Value: ${whole()} When method is classify, key 'examples' is expected and was not found`);
  }
  const shared = context as JsonExample | null;
  const list = examples as JsonExample[];
  return {
    signatureName: signatureName ?? '',
    examples: shared === null ? list : list.map((example) => new Map([...shared, ...example])),
  };
}

function signature(scanner: JsonScanner, whole: () => string): string {
  if (scanner.peek() !== Char.quote) {
    failValue(`JSON Value: ${whole()} not formatted correctly. 'signature_name' key must be a string value.`);
  }
  scanner.passString();
  return scanner.stringText();
}

function readList(scanner: JsonScanner, whole: () => string): JsonExample[] {
  if (scanner.peek() !== Char.open) failValue(`JSON Value: ${whole()} Expecting 'examples' value to be an list/array`);
  const examples: JsonExample[] = [];
  eachElement(scanner, () => {
    if (examples.length >= MAX_JSON_EXAMPLES) {
      throw new JsonError('too_large', `more than ${MAX_JSON_EXAMPLES} examples`);
    }
    examples.push(readExample(scanner));
  });
  if (examples.length === 0) failValue(`JSON Value: ${whole()} 'examples' value is an empty array`);
  return examples;
}

function readExample(scanner: JsonScanner): JsonExample {
  const byte = scanner.peek();
  if (byte !== Char.openObject) failValue(`Example must be JSON object but got JSON ${jsonTypeName(byte)}`);
  const features = new Map<string, JsonFeature>();
  eachMember(scanner, () => {
    const name = scanner.stringText();
    let feature: JsonFeature | null = null;
    if (scanner.peek() === Char.open) {
      eachElement(scanner, () => {
        feature = readValue(scanner, name, feature);
      });
    } else feature = readValue(scanner, name, null);
    // An empty list has no kind: the feature is not there.
    if (feature === null) features.delete(name);
    else features.set(name, feature);
  });
  return features;
}

/** Adds the value at the scanner's position to `known`, or to a feature of its kind where there is none. */
function readValue(scanner: JsonScanner, name: string, known: JsonFeature | null): JsonFeature {
  const byte = scanner.peek();
  if (byte === 0x74 || byte === 0x66) {
    scanner.passValue();
    const feature = known ?? { kind: 'int64', values: [] };
    if (feature.kind !== 'int64') return failKind(name, feature);
    feature.values.push(byte === 0x74 ? 1n : 0n);
    return feature;
  }
  if (byte === Char.quote || (byte === Char.openObject && isBase64Object(scanner))) {
    const feature = known ?? { kind: 'bytes', values: [] };
    if (feature.kind !== 'bytes') return failKind(name, feature);
    feature.values.push(readBytes(scanner));
    return feature;
  }
  if (byte === Char.open || byte === Char.openObject || byte === 0x6e) {
    return failValue(`Feature: ${name} has element with unexpected JSON type: ${jsonTypeName(byte)}`);
  }
  return readNumber(scanner, name, known);
}

function readNumber(scanner: JsonScanner, name: string, known: JsonFeature | null): JsonFeature {
  const at = scanner.pos;
  number.read(scanner);
  if (number.isInteger && (number.fitsInt64 || number.fitsUint64)) {
    const feature = known ?? { kind: 'int64', values: [] };
    if (feature.kind !== 'int64') return failKind(name, feature);
    if (!number.fitsInt64) failValue(`Feature: ${name} has uint64 element. Only int64 is supported.`);
    feature.values.push((BigInt(number.hi) << 32n) | BigInt(number.lo >>> 0));
    return feature;
  }
  const feature = known ?? { kind: 'float', values: [] };
  if (feature.kind !== 'float') return failKind(name, feature);
  if (Number.isFinite(number.value) && Math.abs(number.value) > MAX_FLOAT) {
    const text = jsonValueText(scanner.buf, at, scanner.end);
    failValue(`Cannot convert JSON value: ${text} to float without loss of precision.`);
  }
  feature.values.push(Math.fround(number.value));
  return feature;
}

/** A string or base64 object, read as the one element of a string tensor. */
function readBytes(scanner: JsonScanner): Buffer {
  sink.clear();
  tensors.read(scanner, DataType.STRING, sink);
  strings.reset(sink.bytes, 1, sink.length, 'string');
  const end = strings.readPayloadEnd();
  return Buffer.from(sink.bytes.subarray(strings.pos, end));
}

function failKind(name: string, { kind }: JsonFeature): never {
  return failValue(`Unexpected element type in feature: ${name} expecting type: ${kind}`);
}

/** Calls `read` at each value of the object at the scanner's position, its name being the scanner's last string. */
function eachMember(scanner: JsonScanner, read: () => void): void {
  scanner.pos++;
  while (scanner.peek() !== Char.closeObject) {
    scanner.passKey();
    read();
    if (scanner.peek() === Char.comma) scanner.pos++;
  }
  scanner.pos++;
}

function eachElement(scanner: JsonScanner, read: () => void): void {
  scanner.pos++;
  while (scanner.peek() !== Char.close) {
    read();
    if (scanner.peek() === Char.comma) scanner.pos++;
  }
  scanner.pos++;
}
