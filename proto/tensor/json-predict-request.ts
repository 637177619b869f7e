/**
 * TensorFlow Serving's REST Predict body, read in two steps: `begin` proves the document and finds its keys, so that the
 * caller can look up the signature; `fill` reads the tensors into a Predict request's view and the buffer behind it.
 *
 *   row:      {"signature_name": S, "instances": [value | {"name": value, ...}, ...]}
 *   columnar: {"signature_name": S, "inputs": value | {"name": value, ...}}
 *
 * One object per protocol front: what `fill` returns is good until the next request.
 */
import { ElementSink } from './element-sink.ts';
import { failValue, JsonError, JsonSyntax } from './json-error.ts';
import { Char, checkDocument, JsonScanner } from './json-scanner.ts';
import { isBase64Object, JsonTensorReader } from './json-tensor-reader.ts';
import { jsonValueText } from './json-text.ts';
import { MAX_TENSORS, type PredictRequestView } from './predict-message.ts';
import { MAX_ELEMENTS, TensorView } from './tensor-proto.ts';

/** An input of the signature. */
export interface JsonInput {
  readonly name: string;
  /** TensorFlow DataType number. */
  readonly dtype: number;
}

export type JsonPredictFormat = 'row' | 'columnar';

/** What is collected for one input. */
class InputTensor {
  readonly sink = new ElementSink();
  readonly dims: number[] = [];
  rank = -1;
  /** Elements of the first instance. */
  size = 0;
  /** The last instance that named it. */
  seenAt = -1;
}

export class JsonPredictReader {
  /** '' where the body names none. */
  signatureName = '';
  /** How the body gives its tensors; known after `fill`. */
  format: JsonPredictFormat = 'row';
  private readonly scanner = new JsonScanner();
  private readonly reader = new JsonTensorReader();
  private readonly tensors: InputTensor[] = [];
  private buf!: Buffer;
  private start = 0;
  private end = 0;
  /** Where the values of the keys begin; -1 where a key is absent. */
  private instancesAt = -1;
  private inputsAt = -1;
  private assembly = new ElementSink();

  /** Checks the whole body and finds its keys. @throws JsonError */
  begin(buf: Buffer, start: number, end: number): void {
    const { scanner } = this;
    checkDocument(scanner, buf, start, end);
    this.buf = buf;
    this.start = start;
    this.end = end;
    this.signatureName = '';
    this.instancesAt = -1;
    this.inputsAt = -1;
    let signatureAt = -1;
    scanner.reset(buf, start, end);
    if (scanner.peek() !== Char.openObject) failValue(`JSON Value: ${this.text(scanner.pos)} Is not object`);
    scanner.pos++;
    while (scanner.peek() !== Char.closeObject) {
      scanner.passKey();
      scanner.peek();
      // Of a repeated key the first counts.
      if (scanner.stringIs('instances')) {
        if (this.instancesAt < 0) this.instancesAt = scanner.pos;
      } else if (scanner.stringIs('inputs')) {
        if (this.inputsAt < 0) this.inputsAt = scanner.pos;
      } else if (signatureAt < 0 && scanner.stringIs('signature_name')) {
        signatureAt = scanner.pos;
      }
      scanner.passValue();
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    if (signatureAt >= 0) this.readSignature(signatureAt);
  }

  /**
   * Reads the tensors of `inputs` into `view`, whose earlier inputs are forgotten, and returns the buffer it points into.
   * @throws JsonError
   */
  fill(inputs: readonly JsonInput[], view: PredictRequestView): Buffer {
    if (this.instancesAt >= 0 && this.inputsAt >= 0) {
      const which = "only one of 'inputs' or 'instances' keys to exist ";
      failValue(`JSON Value: ${this.text(this.start)} Not formatted correctly expecting ${which}`);
    }
    if (this.instancesAt < 0 && this.inputsAt < 0) failValue("Missing 'inputs' or 'instances' key");
    if (inputs.length > MAX_TENSORS) throw new JsonError('too_large', `more than ${MAX_TENSORS} tensors`);
    while (this.tensors.length < inputs.length) this.tensors.push(new InputTensor());
    for (let i = 0; i < inputs.length; i++) {
      const tensor = this.tensors[i];
      tensor.sink.clear();
      tensor.rank = -1;
      tensor.seenAt = -1;
    }
    if (this.instancesAt >= 0) {
      this.format = 'row';
      return this.assemble(inputs, view, this.readInstances(inputs));
    }
    this.format = 'columnar';
    this.readColumns(inputs);
    return this.assemble(inputs, view, -1);
  }

  /** Lets go of the body. */
  release(): void {
    this.scanner.release();
    this.buf = this.assembly.bytes;
  }

  private readSignature(at: number): void {
    const { scanner } = this;
    scanner.pos = at;
    if (scanner.peek() !== Char.quote) {
      const rule = "not formatted correctly. 'signature_name' key must be a string value.";
      failValue(`JSON Value: ${this.text(this.start)} ${rule}`);
    }
    scanner.passString();
    this.signatureName = scanner.stringText();
  }

  // --- row format ---------------------------------------------------------------------------------------------------

  /** Returns the number of instances. */
  private readInstances(inputs: readonly JsonInput[]): number {
    const { scanner } = this;
    scanner.pos = this.instancesAt;
    if (scanner.peek() !== Char.open) {
      failValue(`JSON Value: ${this.text(this.start)} Excepting 'instances' to be an list/array`);
    }
    scanner.pos++;
    const first = scanner.peek();
    if (first === Char.close) failValue(`JSON Value: ${this.text(this.start)} No values in 'instances' array`);
    if (first !== Char.openObject && inputs.length > 1) {
      failValue(
        'instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map',
      );
    }
    const named = first === Char.openObject && !isBase64Object(scanner);
    let count = 0;
    for (;;) {
      const isObject = scanner.peek() === Char.openObject && !isBase64Object(scanner);
      if (named && !isObject) failValue(`Expecting object but got list at item ${count} of input list`);
      if (!named && isObject) failValue(`Expecting value/list but got object at item ${count} of input list`);
      if (named) this.readObject(inputs, count);
      else this.readPlain(inputs[0], count);
      count++;
      if (scanner.peek() !== Char.comma) break;
      scanner.pos++;
    }
    scanner.expect(Char.close, JsonSyntax.elementEnd);
    return count;
  }

  private readPlain(input: JsonInput, item: number): void {
    try {
      this.readItem(input, this.tensors[0]);
    } catch (error) {
      throw elementError(error, `Failed to process element: ${item} of 'instances' list.`);
    }
  }

  private readObject(inputs: readonly JsonInput[], item: number): void {
    const { scanner, buf } = this;
    const objectAt = scanner.pos;
    let seen = 0;
    scanner.pos++;
    while (scanner.peek() !== Char.closeObject) {
      scanner.passKey();
      const index = this.inputIndex(inputs, seen);
      if (index < 0 || this.tensors[index].seenAt === item) this.failKey(index, item);
      const tensor = this.tensors[index];
      try {
        this.readItem(inputs[index], tensor);
      } catch (error) {
        const where = `Failed to process element: ${item} key: ${inputs[index].name} of 'instances' list.`;
        throw elementError(error, where);
      }
      tensor.seenAt = item;
      seen++;
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    scanner.pos++;
    if (seen === inputs.length) return;
    const names = sortedNames(inputs).join(',');
    const object = jsonValueText(buf, objectAt, this.end);
    failValue(
      `Failed to process element: ${item} of 'instances' list. JSON object: ${object} keys must be equal to: ${names}`,
    );
  }

  private failKey(index: number, item: number): never {
    const name = this.scanner.stringText();
    const where = `Failed to process element: ${item} key: ${name} of 'instances' list. Error: INVALID_ARGUMENT: `;
    return failValue(where + (index < 0 ? `JSON object: does not have named input: ${name}` : 'the key is repeated'));
  }

  /** One instance of one input: every instance has the size and shape of the first. */
  private readItem(input: JsonInput, tensor: InputTensor): void {
    const { reader } = this;
    const before = tensor.sink.count;
    reader.read(this.scanner, input.dtype, tensor.sink);
    const size = tensor.sink.count - before;
    if (tensor.rank < 0) {
      tensor.size = size;
      this.keepShape(tensor);
    } else if (size !== tensor.size) {
      failValue(`Expecting tensor size: ${tensor.size} but got: ${size}`);
    } else if (!this.hasShape(tensor)) {
      const shape = shapeText(reader.dims, reader.rank);
      failValue(`Expecting shape ${shapeText(tensor.dims, tensor.rank)} but got: ${shape}`);
    }
  }

  private keepShape(tensor: InputTensor): void {
    const { rank, dims } = this.reader;
    tensor.rank = rank;
    for (let i = 0; i < rank; i++) tensor.dims[i] = dims[i];
  }

  private hasShape(tensor: InputTensor): boolean {
    const { rank, dims } = this.reader;
    if (rank !== tensor.rank) return false;
    for (let i = 0; i < rank; i++) if (dims[i] !== tensor.dims[i]) return false;
    return true;
  }

  // --- columnar format ----------------------------------------------------------------------------------------------

  private readColumns(inputs: readonly JsonInput[]): void {
    const { scanner } = this;
    scanner.pos = this.inputsAt;
    if (scanner.peek() !== Char.openObject || isBase64Object(scanner)) {
      if (inputs.length !== 1) {
        failValue(
          'inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map',
        );
      }
      this.readColumn(inputs[0], this.tensors[0]);
      return;
    }
    scanner.pos++;
    let seen = 0;
    while (scanner.peek() !== Char.closeObject) {
      scanner.passKey();
      const index = this.inputIndex(inputs, seen);
      // Keys beyond the signature's, and repeated ones, are passed over.
      if (index < 0 || this.tensors[index].rank >= 0) scanner.passValue();
      else {
        this.readColumn(inputs[index], this.tensors[index]);
        seen++;
      }
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    if (seen === inputs.length) return;
    const missing = sortedNames(inputs.filter((_, i) => this.tensors[i].rank < 0))[0];
    failValue(`Missing named input: ${missing} in 'inputs' object.`);
  }

  private readColumn(input: JsonInput, tensor: InputTensor): void {
    this.reader.read(this.scanner, input.dtype, tensor.sink);
    this.keepShape(tensor);
  }

  // --- both ---------------------------------------------------------------------------------------------------------

  /** The input the last key names, or -1. Clients mostly keep to one order. */
  private inputIndex(inputs: readonly JsonInput[], guess: number): number {
    const { scanner } = this;
    if (guess < inputs.length && scanner.stringIs(inputs[guess].name)) return guess;
    for (let i = 0; i < inputs.length; i++) if (i !== guess && scanner.stringIs(inputs[i].name)) return i;
    return -1;
  }

  /** Describes the tensors in `view`; `instances` becomes the first dimension where it is not negative. */
  private assemble(inputs: readonly JsonInput[], view: PredictRequestView, instances: number): Buffer {
    const { tensors: views } = view.inputs;
    view.modelSpec.reset();
    view.filterCount = 0;
    while (views.length < inputs.length) views.push(new TensorView());
    view.inputs.count = inputs.length;
    const single = inputs.length === 1;
    const target = single ? this.tensors[0].sink : this.assembly;
    if (!single) target.clear();
    let at = 0;
    for (let i = 0; i < inputs.length; i++) {
      const { sink, dims, rank } = this.tensors[i];
      const { dtype, name } = inputs[i];
      const bytes = sink.elementBytes(dtype);
      if (!single) target.putRaw(sink.bytes.subarray(0, bytes), at);
      const tensor = views[i];
      sink.describe(tensor, dtype, at);
      at += bytes;
      const nameBytes = Buffer.from(name);
      tensor.nameStart = target.putRaw(nameBytes, at);
      at += nameBytes.length;
      tensor.nameEnd = at;
      setShape(tensor, dims, rank, instances);
    }
    return target.bytes;
  }

  private text(start: number): string {
    return jsonValueText(this.buf, start, this.end);
  }
}

function setShape(tensor: TensorView, dims: readonly number[], rank: number, instances: number): void {
  let elements = 1;
  tensor.rank = 0;
  if (instances >= 0) {
    tensor.dims[tensor.rank++] = instances;
    elements = instances;
  }
  for (let i = 0; i < rank; i++) {
    tensor.dims[tensor.rank++] = dims[i];
    elements *= dims[i];
  }
  if (elements > MAX_ELEMENTS) throw new JsonError('too_large', `more than ${MAX_ELEMENTS} elements`);
  tensor.elementCount = elements;
}

/** A mistake in one instance, with the place it was found at. Syntax and bounds speak for the whole body. */
function elementError(error: unknown, where: string): unknown {
  if (!(error instanceof JsonError) || error.reason === 'syntax' || error.reason === 'too_large') return error;
  const status = error.reason === 'unsupported' ? 'UNIMPLEMENTED' : 'INVALID_ARGUMENT';
  return new JsonError('value', `${where} Error: ${status}: ${error.message}`);
}

function shapeText(dims: readonly number[], rank: number): string {
  return `[${dims.slice(0, rank).join(',')}]`;
}

function sortedNames(inputs: readonly JsonInput[]): string[] {
  return inputs.map((input) => input.name).sort();
}
