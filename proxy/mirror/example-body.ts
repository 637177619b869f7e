/**
 * TensorFlow Serving's Classify, Regress and MultiInference as tensors.
 *
 *   answers   Classify: `label` (of the highest score; the class's place where it has no label) and `scores`;
 *             Regress: `value`; MultiInference: the same, `0/label`, `1/value` ..., in the order of the tasks
 *   requests  a column for each feature of the examples; features that not every example has alike are left out
 */
import { readText } from '../../proto/tensor/text.ts';
import { WireReader, WireType } from '../../proto/tensor/wire.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import type { Column, TensorAssembly } from './tensor-assembly.ts';

/** Examples of one request that are looked at. */
const MAX_EXAMPLES = 65_536;

const bits = new DataView(new ArrayBuffer(4));

export class ExampleBodyReader {
  private readonly reader = new WireReader();

  /** Reads the answer of `method` at `[start, end)` into `assembly`. @throws WireError */
  readAnswer(assembly: TensorAssembly, method: string, buf: Buffer, start: number, end: number): void {
    assembly.clear();
    let rows = -1;
    let task = 0;
    this.fields(buf, start, end, 'response', (field, from, to) => {
      if (method === 'MultiInference') {
        if (field !== 1) return;
        const prefix = `${task++}/`;
        this.fields(buf, from, to, 'InferenceResult', (kind, at, until) => {
          if (kind !== 2 && kind !== 3) return;
          const count = this.readResult(assembly, prefix, kind === 2, buf, at, until);
          if (rows >= 0 && count !== rows) throw new WireError('malformed', method, 'tasks with different rows');
          rows = count;
        });
      } else if (field === 1) {
        rows = this.readResult(assembly, '', method === 'Classify', buf, from, to);
      }
    });
    if (!assembly.finishRows(Math.max(0, rows))) throw new WireError('malformed', method, 'rows of different shapes');
  }

  /** Reads the examples of a request into `assembly`. @throws WireError */
  readRequest(assembly: TensorAssembly, buf: Buffer, start: number, end: number): void {
    assembly.clear();
    let rows = 0;
    this.fields(buf, start, end, 'request', (field, from, to) => {
      if (field !== 2) return;
      this.fields(buf, from, to, 'Input', (kind, at, until) => {
        if (kind !== 1 && kind !== 2) return;
        this.fields(buf, at, until, 'ExampleList', (member, exampleAt, exampleEnd) => {
          // What all examples share divides none of them, so a context is passed over.
          if (member !== 1 || rows >= MAX_EXAMPLES) return;
          this.readExample(assembly, buf, exampleAt, exampleEnd);
          rows++;
        });
      });
    });
    assembly.finishRows(rows);
  }

  /** Returns the rows. */
  private readResult(
    assembly: TensorAssembly,
    prefix: string,
    classifies: boolean,
    buf: Buffer,
    start: number,
    end: number,
  ): number {
    let rows = 0;
    this.fields(buf, start, end, 'result', (field, from, to) => {
      if (field !== 1) return;
      rows++;
      if (classifies) this.readClasses(assembly, prefix, buf, from, to);
      else this.readRegression(assembly.column(`${prefix}value`), buf, from, to);
    });
    return rows;
  }

  private readClasses(assembly: TensorAssembly, prefix: string, buf: Buffer, start: number, end: number): void {
    const scores = assembly.column(`${prefix}scores`);
    let classes = 0;
    let topScore = Number.NEGATIVE_INFINITY;
    let topLabel = '';
    this.fields(buf, start, end, 'Classifications', (field, from, to) => {
      if (field !== 1) return;
      let label = '';
      let score = 0;
      const reader = new WireReader();
      reader.reset(buf, from, to, 'Class');
      while (reader.pos < to) {
        const tag = reader.readTag();
        if (tag === 0x0a) {
          const until = reader.readPayloadEnd();
          label = readText(buf, reader.pos, until, 'label');
          reader.pos = until;
        } else if (tag === 0x15) {
          score = floatOf(reader.readFixed32());
        } else {
          reader.skip(tag);
        }
      }
      scores.putNumber(score, false);
      if (score > topScore) {
        topScore = score;
        topLabel = label === '' ? String(classes) : label;
      }
      classes++;
    });
    scores.endPart([classes], 1);
    const label = assembly.column(`${prefix}label`);
    label.putText(topLabel);
    label.endPart([], 0);
  }

  private readRegression(column: Column, buf: Buffer, start: number, end: number): void {
    const { reader } = this;
    let value = 0;
    reader.reset(buf, start, end, 'Regression');
    while (reader.pos < end) {
      const tag = reader.readTag();
      if (tag === 0x0d) value = floatOf(reader.readFixed32());
      else reader.skip(tag);
    }
    column.putNumber(value, false);
    column.endPart([], 0);
  }

  private readExample(assembly: TensorAssembly, buf: Buffer, start: number, end: number): void {
    this.fields(buf, start, end, 'Example', (field, from, to) => {
      if (field !== 1) return;
      this.fields(buf, from, to, 'Features', (entry, at, until) => {
        if (entry === 1) this.readFeature(assembly, buf, at, until);
      });
    });
  }

  /** A map entry: name and feature. */
  private readFeature(assembly: TensorAssembly, buf: Buffer, start: number, end: number): void {
    let name = '';
    let valueStart = -1;
    let valueEnd = -1;
    this.fields(buf, start, end, 'feature', (field, from, to) => {
      if (field === 1) name = readText(buf, from, to, 'feature name');
      if (field !== 2) return;
      valueStart = from;
      valueEnd = to;
    });
    if (valueStart < 0) return;
    this.fields(buf, valueStart, valueEnd, 'Feature', (kind, from, to) => {
      if (kind > 3) return;
      const column = assembly.column(name);
      const before = column.count;
      if (kind === 1) {
        this.fields(buf, from, to, 'BytesList', (field, at, until) => {
          if (field === 1) column.putText(buf.toString('utf8', at, until));
        });
      } else {
        this.readNumbers(column, kind === 2, buf, from, to);
      }
      const count = column.count - before;
      column.endPart([count], count === 1 ? 0 : 1);
    });
  }

  /** A float_list or an int64_list, packed or not. */
  private readNumbers(column: Column, floats: boolean, buf: Buffer, start: number, end: number): void {
    const reader = new WireReader();
    reader.reset(buf, start, end, 'list');
    while (reader.pos < end) {
      const tag = reader.readTag();
      if (tag >>> 3 !== 1) {
        reader.skip(tag);
      } else if ((tag & 7) === WireType.bytes) {
        const outer = reader.end;
        reader.end = reader.readPayloadEnd();
        while (reader.pos < reader.end) putNumber(column, floats, reader);
        reader.end = outer;
      } else if ((tag & 7) === (floats ? WireType.fixed32 : WireType.varint)) {
        putNumber(column, floats, reader);
      } else {
        reader.skip(tag);
      }
    }
  }

  /** Calls `take` with each length-delimited field in the order on the wire; others are passed over. */
  private fields(
    buf: Buffer,
    start: number,
    end: number,
    what: string,
    take: (field: number, start: number, end: number) => void,
  ): void {
    const reader = new WireReader();
    reader.reset(buf, start, end, what);
    while (reader.pos < end) {
      const tag = reader.readTag();
      if ((tag & 7) !== WireType.bytes) {
        reader.skip(tag);
        continue;
      }
      const until = reader.readPayloadEnd();
      take(tag >>> 3, reader.pos, until);
      reader.pos = until;
    }
  }
}

function putNumber(column: Column, floats: boolean, reader: WireReader): void {
  if (floats) {
    column.putNumber(floatOf(reader.readFixed32()), false);
    return;
  }
  reader.readVarint();
  column.putNumber(reader.hi * 4_294_967_296 + (reader.lo >>> 0), true);
}

function floatOf(word: number): number {
  bits.setInt32(0, word);
  return bits.getFloat32(0);
}
