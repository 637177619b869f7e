/**
 * An inference request of the Open Inference Protocol in JSON, with the binary tensor extension: the first bytes of the
 * body are JSON, and behind them lie, in the order of the inputs, the bytes of those that say `binary_data_size`.
 * `data` may be nested as the shape is, or flat.
 */
import { DataType, dtypeFromOip } from './dtype.ts';
import { ElementSink } from './element-sink.ts';
import { JsonError } from './json-error.ts';
import { JsonNumber } from './json-number.ts';
import { Char, checkDocument, JsonScanner } from './json-scanner.ts';
import { JsonTensorReader } from './json-tensor-reader.ts';
import { OipError } from './oip-error.ts';
import { OipData, type OipInferRequest, type OipInput } from './oip-infer-request.ts';
import { numberParameter, type OipParameter, type OipParameters } from './oip-parameters.ts';

const number = new JsonNumber();

export class OipJsonReader {
  private readonly scanner = new JsonScanner();
  private readonly tensors = new JsonTensorReader();
  private readonly sinks: ElementSink[] = [];
  private sinkCount = 0;
  /** Where the binary part of the next input begins, and where the body ends. */
  private binaryAt = 0;
  private bodyEnd = 0;
  private key: 'inputs' | 'outputs' = 'inputs';

  /**
   * Parses the JSON at `[start, jsonEnd)` and finds the binary parts at `[jsonEnd, end)`. The model's name and version
   * are the path's and stay as they are. An answer is read alike: its tensors are under `outputs`. @throws OipError
   */
  parse(
    request: OipInferRequest,
    buf: Buffer,
    start: number,
    jsonEnd: number,
    end: number,
    key: 'inputs' | 'outputs' = 'inputs',
  ): void {
    this.key = key;
    this.sinkCount = 0;
    this.binaryAt = jsonEnd;
    this.bodyEnd = end;
    try {
      checkDocument(this.scanner, buf, start, jsonEnd);
      this.scanner.reset(buf, start, jsonEnd);
      this.parseBody(request);
    } catch (error) {
      if (!(error instanceof JsonError)) throw error;
      throw new OipError(parseProblem(error));
    } finally {
      this.scanner.release();
    }
    if (this.binaryAt !== end) {
      const excess = end - this.binaryAt;
      throw new OipError(`unexpected additional input data for model '${request.modelName}': ${excess} bytes`);
    }
  }

  private parseBody(request: OipInferRequest): void {
    const { scanner } = this;
    let hasInputs = false;
    this.enter(Char.openObject, 'the request');
    while (scanner.peek() !== Char.closeObject) {
      scanner.passKey();
      if (scanner.stringIs('id')) request.id = this.text('id');
      else if (scanner.stringIs('parameters')) request.parameters = this.parameters();
      else if (scanner.stringIs(this.key)) {
        hasInputs = true;
        this.eachElement(this.key, () => this.parseInput(request.addInput()));
      } else if (scanner.stringIs('outputs')) {
        this.eachElement('outputs', () => this.parseOutput(request));
      } else scanner.passValue();
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    if (!hasInputs)
      throw new OipError(`Unable to parse '${this.key}': attempt to access non-existing object member '${this.key}'`);
  }

  private parseInput(input: OipInput): void {
    const { scanner } = this;
    let dataAt = -1;
    this.enter(Char.openObject, 'an input');
    while (scanner.peek() !== Char.closeObject) {
      scanner.passKey();
      if (scanner.stringIs('name')) {
        input.name = this.text('name');
        input.nameStart = scanner.stringEscaped ? -1 : scanner.stringStart;
        input.nameEnd = scanner.stringEnd;
      } else if (scanner.stringIs('datatype')) {
        input.datatype = this.text('datatype');
        input.dtype = dtypeFromOip(input.datatype);
      } else if (scanner.stringIs('shape')) {
        this.eachElement('shape', () => input.addDimension(this.dimension()));
      } else if (scanner.stringIs('parameters')) {
        input.parameters = this.parameters();
      } else {
        if (scanner.stringIs('data')) {
          scanner.peek();
          dataAt = scanner.pos;
        }
        scanner.passValue();
      }
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    scanner.pos++;
    const binary = input.parameters?.has('binary_data_size') ?? false;
    checkOneSource(input, dataAt >= 0, binary);
    if (binary) this.takeBinary(input);
    else this.readData(input, dataAt);
  }

  private takeBinary(input: OipInput): void {
    const size = numberParameter(input.parameters, 'binary_data_size', 0);
    if (!(size >= 0 && Number.isInteger(size))) throw new OipError("Unable to parse 'binary_data_size'");
    if (this.binaryAt + size > this.bodyEnd) {
      throw new OipError(
        "must specify valid 'Infer-Header-Content-Length' in request header and 'binary_data_size' when passing inputs in binary data format",
      );
    }
    input.data = OipData.raw;
    input.start = this.binaryAt;
    input.end = this.binaryAt + size;
    this.binaryAt = input.end;
  }

  private readData(input: OipInput, at: number): void {
    const { scanner } = this;
    if (input.dtype === DataType.INVALID) throw new OipError(`invalid datatype for input ${input.name}`);
    if (input.dtype === DataType.HALF || input.dtype === DataType.BFLOAT16) {
      const binary = `Please use the binary data format for input ${input.name}`;
      throw new OipError(`receiving ${input.datatype} data via JSON is not supported. ${binary}`);
    }
    if (this.sinkCount === this.sinks.length) this.sinks.push(new ElementSink());
    const sink = this.sinks[this.sinkCount++];
    sink.clear();
    const back = scanner.pos;
    scanner.pos = at;
    try {
      this.tensors.read(scanner, input.dtype, sink, true);
    } catch (error) {
      if (error instanceof JsonError && error.reason !== 'syntax')
        throw new OipError(`Unable to parse 'data': ${error.message}`);
      throw error;
    }
    scanner.pos = back;
    if (sink.count !== input.elementCount) {
      throw new OipError("Unable to parse 'data': Shape does not match true shape of 'data' field");
    }
    input.data = OipData.sink;
    input.sink = sink;
  }

  private parseOutput(request: OipInferRequest): void {
    const { scanner } = this;
    let name = '';
    let parameters: OipParameters | null = null;
    this.enter(Char.openObject, 'an output');
    while (scanner.peek() !== Char.closeObject) {
      scanner.passKey();
      if (scanner.stringIs('name')) name = this.text('name');
      else if (scanner.stringIs('parameters')) parameters = this.parameters();
      else scanner.passValue();
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    scanner.pos++;
    request.addOutput({ name, parameters });
  }

  private parameters(): OipParameters {
    const { scanner } = this;
    const parameters = new Map<string, OipParameter>();
    this.enter(Char.openObject, "'parameters'");
    while (scanner.peek() !== Char.closeObject) {
      scanner.passKey();
      const name = scanner.stringText();
      const value = this.parameter();
      if (value !== null && parameters.size < MAX_PARAMETERS) parameters.set(name, value);
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    scanner.pos++;
    return parameters;
  }

  /** Null for a value that is no parameter (null, a list or an object), which is passed over. */
  private parameter(): OipParameter | null {
    const { scanner } = this;
    const byte = scanner.peek();
    if (byte === Char.quote) {
      scanner.passString();
      return scanner.stringText();
    }
    if (byte === Char.minus || (byte >= Char.zero && byte <= Char.nine)) {
      number.read(scanner);
      return number.value;
    }
    scanner.passValue();
    if (byte === 0x74) return true;
    return byte === 0x66 ? false : null;
  }

  private text(key: string): string {
    const { scanner } = this;
    if (scanner.peek() !== Char.quote) throw new OipError(`Unable to parse '${key}': it must be a string`);
    scanner.passString();
    return scanner.stringText();
  }

  private dimension(): number {
    const { scanner } = this;
    const byte = scanner.peek();
    if (byte !== Char.minus && !(byte >= Char.zero && byte <= Char.nine)) throw new OipError("Unable to parse 'shape'");
    number.read(scanner);
    if (!number.isInteger) throw new OipError("Unable to parse 'shape': dimensions must be integers");
    return number.value;
  }

  private enter(opening: number, what: string): void {
    if (this.scanner.peek() !== opening) {
      throw new OipError(`Unable to parse ${what}: it must be ${opening === Char.open ? 'an array' : 'an object'}`);
    }
    this.scanner.pos++;
  }

  private eachElement(key: string, read: () => void): void {
    const { scanner } = this;
    this.enter(Char.open, `'${key}'`);
    while (scanner.peek() !== Char.close) {
      read();
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    scanner.pos++;
  }
}

const MAX_PARAMETERS = 64;

function checkOneSource(input: OipInput, hasData: boolean, binary: boolean): void {
  const shared = input.parameters?.has('shared_memory_region') ?? false;
  if (Number(hasData) + Number(binary) + Number(shared) === 1 && !shared) return;
  if (shared && !hasData && !binary) throw new OipError('shared memory regions are not supported');
  const given = [hasData && " 'data'", binary && " 'binary_data_size'", shared && " 'shared_memory_region'"];
  const set = given.filter((text) => text !== false).join('');
  throw new OipError(
    "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', " +
      `'shared_memory_region' in 'parameters'. But${set === '' ? ' no field is set' : ` set${set}`}`,
  );
}

function parseProblem(error: JsonError): string {
  if (error.reason !== 'syntax') return error.message;
  const problem = error.message.replace('JSON Parse error: ', '').replace(' at offset: ', ' at ');
  return `failed to parse the request JSON buffer: ${problem}`;
}
