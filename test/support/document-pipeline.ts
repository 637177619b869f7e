/**
 * A pipeline of four small models that reads a document, for tests: detect finds crops and boxes, recognise and table work
 * on them side by side, extract brings both together. Every figure is exact in float32, so answers can be told apart.
 *
 *   request.image ─▶ detect ─┬─ crops ─▶ recognise ─ text ──┬─▶ extract ─▶ amount
 *                            └─ boxes ─▶ table ──── cells ──┘
 */
import { OnnxModel } from './onnx-writer.ts';

const ROW = ['batch', 4] as const;

/** out = in * factor + offset, [batch, 4]. */
function linear(input: string, output: string, factor: number, offset: number): Buffer {
  return new OnnxModel(`${input}_to_${output}`)
    .input(input, 'float32', ROW)
    .output(output, 'float32', ROW)
    .initializer('factor', 'float32', [1], [factor])
    .initializer('offset', 'float32', [1], [offset])
    .node('Mul', [input, 'factor'], ['scaled'])
    .node('Add', ['scaled', 'offset'], [output])
    .build();
}

/** By the names under which a worker is to serve them. */
export const DOCUMENT_MODELS: Readonly<Record<string, Buffer>> = {
  detector: new OnnxModel('detector')
    .input('pixels', 'float32', ROW)
    .output('boxes', 'float32', ROW)
    .output('crops', 'float32', ROW)
    .initializer('one', 'float32', [1], [1])
    .initializer('two', 'float32', [1], [2])
    .node('Add', ['pixels', 'one'], ['boxes'])
    .node('Mul', ['pixels', 'two'], ['crops'])
    .build(),
  recogniser: linear('crops', 'text', 3, 0),
  'recogniser-lite': linear('crops', 'text', 3, 0.5),
  tables: linear('boxes', 'cells', 10, 0),
  extractor: new OnnxModel('extractor')
    .input('text', 'float32', ROW)
    .input('cells', 'float32', ROW)
    .output('amount', 'float32', ROW)
    .node('Add', ['text', 'cells'], ['amount'])
    .build(),
};

/** What the pipeline answers for the pixels, with the lighter recogniser or not. */
export function amountOf(pixels: readonly number[], light = false): number[] {
  return pixels.map((x) => 6 * x + (light ? 0.5 : 0) + 10 * (x + 1));
}

const tensor = (name: string) => ({ name, dtype: 'FP32', shape: [-1, 4] });

/** The document's `pipelines`; steps may be given more keys by name. */
export function documentPipeline(more: Readonly<Record<string, object>> = {}, pipeline: object = {}): object {
  const step = (name: string, model: string, inputs: object, outputs: readonly string[]) => ({
    name,
    model,
    inputs,
    outputs,
    ...more[name],
  });
  return {
    name: 'document',
    version: '3',
    inputs: [tensor('image')],
    steps: [
      step('extract', 'extractor', { text: 'recognise.text', cells: 'table.cells' }, ['amount']),
      step('detect', 'detector', { pixels: 'request.image' }, ['boxes', 'crops']),
      step('recognise', 'recogniser', { crops: 'detect.crops' }, ['text']),
      step('table', 'tables', { boxes: 'detect.boxes' }, ['cells']),
    ],
    outputs: [
      { from: 'extract.amount', ...tensor('amount') },
      { from: 'recognise.text', ...tensor('text') },
    ],
    ...pipeline,
  };
}
