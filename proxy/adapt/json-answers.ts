/**
 * REST answers adapted: TensorFlow Serving's rows and columns, and the Open Inference Protocol's JSON with or without
 * binary tensors behind it. What is read is written anew, as a server of the protocol writes it.
 */
import type { ByteSink } from '../../proto/tensor/byte-sink.ts';
import { DataType } from '../../proto/tensor/dtype.ts';
import { JsonColumnReader } from '../../proto/tensor/json-columns.ts';
import { JsonPredictWriter } from '../../proto/tensor/json-predict-response.ts';
import { Char, checkDocument, JsonScanner } from '../../proto/tensor/json-scanner.ts';
import { type JsonOutput, putJsonString } from '../../proto/tensor/json-tensor-writer.ts';
import { OipData, OipInferRequest } from '../../proto/tensor/oip-infer-request.ts';
import { OipJsonReader } from '../../proto/tensor/oip-json-request.ts';
import { putOutputJson, putRaw, rawBytes } from '../../proto/tensor/oip-response.ts';
import type { TensorData } from '../../proto/tensor/tensor-writer.ts';
import { InferAnswer, withElements } from './infer-answer.ts';
import { type AnswerChange, keepsOutputs, mapOutputs, type SourceAnswer } from './output-mapping.ts';

const columns = new JsonColumnReader();

/** Appends TensorFlow Serving's answer to Predict in adapted form. @throws JsonError, WireError, CastError, AdaptError */
export function adaptPredictJson(sink: ByteSink, buf: Buffer, start: number, end: number, change: AnswerChange): void {
  const { format, columns: outputs } = columns.read(buf, start, end, 'predictions', 'outputs');
  const answer: SourceAnswer = { outputs, elements: (index): TensorData => outputs[index]!.data };
  const mapped = mapOutputs(answer, change).map((output) => withElements(answer, output));
  new JsonPredictWriter(sink).write(format, mapped);
}

const parsed = new OipInferRequest();
const inferReader = new OipJsonReader();
const scanner = new JsonScanner();

/**
 * Appends the Open Inference answer whose JSON is `[start, jsonEnd)` and whose binary tensors follow up to `end`.
 * Returns the bytes of JSON written where binary tensors follow them, -1 where there are none.
 * @throws OipError, WireError, JsonError, CastError, AdaptError
 */
export function adaptInferJson(
  sink: ByteSink,
  buf: Buffer,
  start: number,
  jsonEnd: number,
  end: number,
  change: AnswerChange,
): number {
  if (keepsOutputs(change)) {
    // Only the document changes, and what is not its model's name in it is not read.
    checkDocument(scanner, buf, start, jsonEnd);
    const before = sink.length;
    putDocument(sink, buf, start, jsonEnd, change.specName, null, []);
    const length = sink.length - before;
    sink.putBytes(buf, jsonEnd, end);
    return jsonEnd === end ? -1 : length;
  }
  parsed.reset();
  inferReader.parse(parsed, buf, start, jsonEnd, end, 'outputs');
  const answer = new InferAnswer(parsed, buf);
  const wasBinary = answer.outputs.map((_, i) => parsed.inputs[i]!.data === OipData.raw);
  const anyBinary = wasBinary.includes(true);
  const mapped = mapOutputs(answer, change);
  const outputs = mapped.map((output) => withElements(answer, output));
  const binary = outputs.map(({ dtype, name }, i) => {
    const index = mapped[i]!.source;
    // A cast output is still the one it was cast from; what was filled in goes the way the answer does.
    const isBinary = index >= 0 ? wasBinary[index]! : (binaryNamed(answer, wasBinary, name) ?? anyBinary);
    return isBinary || dtype === DataType.HALF || dtype === DataType.BFLOAT16;
  });
  const from = sink.length;
  putDocument(sink, buf, start, jsonEnd, change.specName, outputs, binary);
  const jsonBytes = sink.length - from;
  if (!binary.includes(true)) return -1;
  for (const [i, output] of outputs.entries()) {
    if (!binary[i]) continue;
    sink.reserve(rawBytes(output));
    sink.length = putRaw(sink.bytes, sink.length, output);
  }
  return jsonBytes;
}

function binaryNamed(answer: SourceAnswer, wasBinary: readonly boolean[], name: string): boolean | undefined {
  return wasBinary[answer.outputs.findIndex((output) => output.name === name)];
}

/** All members as they are but the outputs (null: they too) and, where the model is renamed, its name and version. */
function putDocument(
  sink: ByteSink,
  buf: Buffer,
  start: number,
  end: number,
  name: string,
  outputs: readonly JsonOutput[] | null,
  binary: readonly boolean[],
): void {
  sink.putByte(Char.openObject);
  if (name !== '') {
    sink.putAscii('"model_name":');
    putJsonString(sink, name);
    sink.putByte(Char.comma);
  }
  scanner.reset(buf, start, end);
  scanner.expect(Char.openObject, '');
  while (scanner.peek() !== Char.closeObject) {
    const from = scanner.pos;
    scanner.passKey();
    const isModel = scanner.stringIs('model_name') || scanner.stringIs('model_version');
    const isOutputs = outputs !== null && scanner.stringIs('outputs');
    scanner.passValue();
    if (!isOutputs && !(isModel && name !== '')) {
      sink.putBytes(buf, from, scanner.pos);
      sink.putByte(Char.comma);
    }
    if (scanner.peek() === Char.comma) scanner.pos++;
  }
  scanner.release();
  if (outputs === null) {
    // The comma behind the last member: there is one, the name.
    sink.bytes[sink.length - 1] = Char.closeObject;
    return;
  }
  sink.putAscii('"outputs":[');
  for (const [i, output] of outputs.entries()) {
    if (i > 0) sink.putByte(Char.comma);
    putOutputJson(sink, output, binary[i]!);
  }
  sink.putAscii(']}');
}
