/**
 * TensorFlow Serving's REST bodies as tensors: `instances` and `predictions` by row, `inputs` and `outputs` by column,
 * `examples` and `results` of Classify and Regress.
 *
 * A tensor without a name (TensorFlow Serving leaves it out where there is one) is called after the member that holds it.
 * Rows of an answer must fit together; of a request, what does not is left out, because nothing is judged by it.
 */

import { JsonError } from '../../proto/tensor/json-error.ts';
import { Char, checkDocument, JsonScanner } from '../../proto/tensor/json-scanner.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import type { Column, TensorAssembly } from './tensor-assembly.ts';

const MAX_LEVELS = 32;
const BASE64_KEY = 'b64';

export class JsonBodyReader {
  private readonly scanner = new JsonScanner();
  private readonly sizes = new Int32Array(MAX_LEVELS);
  private readonly counts = new Int32Array(MAX_LEVELS);
  private readonly dims: number[] = [];
  private rank = 0;
  private torn = false;

  /** Reads `[start, end)` into `assembly`. @throws WireError where it is no such body, or its tensors fit no shape */
  read(assembly: TensorAssembly, buf: Buffer, start: number, end: number): void {
    const { scanner } = this;
    assembly.clear();
    try {
      checkDocument(scanner, buf, start, end);
      scanner.reset(buf, start, end);
      this.readBody(assembly);
    } catch (error) {
      if (!(error instanceof JsonError)) throw error;
      throw new WireError(error.reason === 'too_large' ? 'too_large' : 'malformed', 'JSON', error.message);
    } finally {
      scanner.release();
    }
  }

  private readBody(assembly: TensorAssembly): void {
    const { scanner } = this;
    if (scanner.peek() !== Char.openObject) fail('no object');
    scanner.pos++;
    let found = false;
    while (scanner.peek() !== Char.closeObject) {
      scanner.passKey();
      const key = scanner.stringText();
      if (found) scanner.passValue();
      else found = this.readMember(assembly, key);
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    if (!found) fail('no tensors');
  }

  /** False where the member holds no tensors; it is passed over. */
  private readMember(assembly: TensorAssembly, key: string): boolean {
    switch (key) {
      case 'predictions':
        if (!assembly.finishRows(this.readRows(assembly, 'predictions'))) fail('rows of different shapes');
        return true;
      case 'instances':
      case 'examples':
        assembly.finishRows(this.readRows(assembly, key));
        return true;
      case 'outputs':
      case 'inputs':
        this.readColumns(assembly, key);
        if (!assembly.finishWhole() && key === 'outputs') fail('lists of different lengths');
        return true;
      case 'results':
        if (!assembly.finishRows(this.readResults(assembly))) fail('results of different shapes');
        return true;
      default:
        this.scanner.passValue();
        return false;
    }
  }

  /** Rows are tensors, or objects of named ones. Returns how many there are. */
  private readRows(assembly: TensorAssembly, unnamed: string): number {
    const { scanner } = this;
    let rows = 0;
    this.enterList();
    while (scanner.peek() !== Char.close) {
      if (this.isObject()) this.readNamed(assembly);
      else this.readTensor(assembly.column(unnamed));
      rows++;
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    scanner.pos++;
    return rows;
  }

  private readColumns(assembly: TensorAssembly, unnamed: string): void {
    if (this.isObject()) this.readNamed(assembly);
    else this.readTensor(assembly.column(unnamed));
  }

  /** Classify answers a list of [label, score] for each example, Regress a number. */
  private readResults(assembly: TensorAssembly): number {
    const { scanner } = this;
    let rows = 0;
    this.enterList();
    while (scanner.peek() !== Char.close) {
      if (scanner.peek() === Char.open) this.readClasses(assembly);
      else this.readTensor(assembly.column('value'));
      rows++;
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    scanner.pos++;
    return rows;
  }

  private readClasses(assembly: TensorAssembly): void {
    const { scanner } = this;
    const scores = assembly.column('scores');
    let classes = 0;
    let topScore = Number.NEGATIVE_INFINITY;
    let topLabel = '';
    this.enterList();
    while (scanner.peek() !== Char.close) {
      this.enterList();
      if (scanner.peek() !== Char.quote) fail('a class without a label');
      scanner.passString();
      const label = scanner.stringText();
      if (scanner.peek() === Char.comma) scanner.pos++;
      this.readValue(scores);
      const score = scores.numbers[scores.count - 1]!;
      if (score > topScore) {
        topScore = score;
        topLabel = label === '' ? String(classes) : label;
      }
      classes++;
      if (scanner.peek() !== Char.close) fail('a class with more than label and score');
      scanner.pos++;
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    scanner.pos++;
    // Scores are numbers with fractions however they are written.
    scores.whole = false;
    scores.endPart([classes], 1);
    const label = assembly.column('label');
    label.putText(topLabel);
    label.endPart([], 0);
  }

  private readNamed(assembly: TensorAssembly): void {
    const { scanner } = this;
    scanner.pos++;
    while (scanner.peek() !== Char.closeObject) {
      scanner.passKey();
      this.readTensor(assembly.column(scanner.stringText()));
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    scanner.pos++;
  }

  /** Whether the next value is an object of names, as opposed to `{"b64": ...}`, which is a string. */
  private isObject(): boolean {
    const { scanner } = this;
    if (scanner.peek() !== Char.openObject) return false;
    const at = scanner.pos++;
    const empty = scanner.peek() !== Char.quote;
    if (!empty) scanner.passKey();
    scanner.pos = at;
    return empty || !scanner.stringIs(BASE64_KEY);
  }

  /** Adds one value, a list of them, or lists in lists, as one part of the column. */
  private readTensor(column: Column): void {
    this.sizes.fill(-1);
    this.rank = -1;
    this.torn = false;
    this.readLevel(column, 0);
    let { rank } = this;
    if (rank < 0) rank = this.depthOfEmpty();
    for (let i = 0; i < rank; i++) this.dims[i] = Math.max(0, this.sizes[i]!);
    if (this.torn) column.ragged = true;
    column.endPart(this.dims, rank);
  }

  private readLevel(column: Column, level: number): void {
    const { scanner, counts, sizes } = this;
    if (scanner.peek() !== Char.open) {
      if (this.rank < 0) this.rank = level;
      else if (this.rank !== level) this.torn = true;
      this.readValue(column);
      return;
    }
    if (level >= MAX_LEVELS) throw new WireError('too_large', 'JSON', `more than ${MAX_LEVELS} dimensions`);
    scanner.pos++;
    counts[level] = 0;
    while (scanner.peek() !== Char.close) {
      this.readLevel(column, level + 1);
      counts[level]!++;
      if (scanner.peek() === Char.comma) scanner.pos++;
    }
    scanner.pos++;
    if (sizes[level]! < 0) sizes[level] = counts[level]!;
    else if (sizes[level] !== counts[level]) this.torn = true;
  }

  /** Lists without a value in them: as many dimensions as there were levels. */
  private depthOfEmpty(): number {
    let depth = 0;
    while (depth < MAX_LEVELS && this.sizes[depth]! >= 0) depth++;
    return depth;
  }

  private readValue(column: Column): void {
    const { scanner } = this;
    const byte = scanner.peek();
    if (byte === Char.quote) {
      scanner.passString();
      column.putText(scanner.stringText());
    } else if (byte === Char.openObject) {
      this.readBase64(column);
    } else {
      const at = scanner.pos;
      scanner.passValue();
      const text = scanner.buf.toString('latin1', at, scanner.pos);
      if (text === 'true' || text === 'false') column.putBoolean(text === 'true');
      else if (text === 'null') fail('null');
      else column.putNumber(numberOf(text), isWhole(text));
    }
  }

  private readBase64(column: Column): void {
    const { scanner } = this;
    scanner.pos++;
    scanner.passKey();
    if (!scanner.stringIs(BASE64_KEY) || scanner.peek() !== Char.quote) fail('an object among the values');
    scanner.passString();
    column.putText(scanner.stringText());
    if (scanner.peek() !== Char.closeObject) fail('an object among the values');
    scanner.pos++;
  }

  private enterList(): void {
    if (this.scanner.peek() !== Char.open) fail('no list');
    this.scanner.pos++;
  }
}

function fail(problem: string): never {
  throw new WireError('malformed', 'JSON', problem);
}

function numberOf(text: string): number {
  if (text.endsWith('Inf')) return text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return text.endsWith('NaN') ? Number.NaN : Number(text);
}

function isWhole(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code !== Char.minus && (code < Char.zero || code > Char.nine)) return false;
  }
  return true;
}
