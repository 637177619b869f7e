/**
 * TensorFlow Serving's REST answers to Predict, in its layout: rows on one line each under `predictions`, columns
 * indented under `outputs`. The name is left out where there is one tensor. DT_STRING outputs named `..._bytes` are base64.
 */
import type { ByteSink } from './byte-sink.ts';
import { DataType } from './dtype.ts';
import { failValue } from './json-error.ts';
import type { JsonPredictFormat } from './json-predict-request.ts';
import { type JsonOutput, JsonTensorWriter, putIndent, putJsonString } from './json-tensor-writer.ts';

const BYTES_SUFFIX = '_bytes';

export class JsonPredictWriter {
  private readonly sink: ByteSink;
  private readonly writers: JsonTensorWriter[] = [];

  constructor(sink: ByteSink) {
    this.sink = sink;
  }

  /** Appends the whole answer. @throws JsonError where rows are asked for and the outputs have none in common */
  write(format: JsonPredictFormat, outputs: readonly JsonOutput[]): void {
    if (outputs.length === 0) failValue('Cannot convert empty tensor map to JSON');
    while (this.writers.length < outputs.length) this.writers.push(new JsonTensorWriter(this.sink));
    for (let i = 0; i < outputs.length; i++) this.writers[i].begin(outputs[i], isBytes(outputs[i]));
    if (format === 'row') this.writeRows(outputs);
    else this.writeColumns(outputs);
  }

  private writeRows(outputs: readonly JsonOutput[]): void {
    const { sink, writers } = this;
    const rows = commonRows(outputs);
    const single = outputs.length === 1;
    sink.putAscii('{\n    "predictions": [');
    for (let row = 0; row < rows; row++) {
      if (single) {
        if (row > 0) sink.putAscii(', ');
        writers[0].putInline(1, 2);
        continue;
      }
      if (row > 0) sink.putByte(0x2c);
      putIndent(sink, 2);
      sink.putByte(0x7b);
      for (let i = 0; i < outputs.length; i++) {
        this.putName(outputs[i].name, i, 3);
        writers[i].putInline(1, 3);
      }
      putIndent(sink, 2);
      sink.putByte(0x7d);
    }
    sink.putAscii(rows === 0 ? ']\n}' : '\n    ]\n}');
  }

  private writeColumns(outputs: readonly JsonOutput[]): void {
    const { sink, writers } = this;
    sink.putAscii('{\n    "outputs": ');
    if (outputs.length === 1) {
      writers[0].putIndented(0, 1);
    } else {
      sink.putByte(0x7b);
      for (let i = 0; i < outputs.length; i++) {
        this.putName(outputs[i].name, i, 2);
        writers[i].putIndented(0, 2);
      }
      sink.putAscii('\n    }');
    }
    sink.putAscii('\n}');
  }

  private putName(name: string, index: number, level: number): void {
    if (index > 0) this.sink.putByte(0x2c);
    putIndent(this.sink, level);
    putJsonString(this.sink, name);
    this.sink.putAscii(': ');
  }
}

function isBytes({ name, dtype }: JsonOutput): boolean {
  return dtype === DataType.STRING && name.endsWith(BYTES_SUFFIX);
}

/** Rows of all outputs. */
function commonRows(outputs: readonly JsonOutput[]): number {
  let rows = -1;
  for (const { name, dims } of outputs) {
    if (dims.length === 0) failValue(`Tensor name: ${name} has no shape information `);
    if (rows >= 0 && dims[0] !== rows) {
      failValue(`Tensor name: ${name} has inconsistent batch size: ${dims[0]} expecting: ${rows}`);
    }
    rows = dims[0];
  }
  return rows;
}
