/** The Open Inference Protocol's messages against the independent codec, in every spelling protobuf allows, and on noise. */
import fc from 'fast-check';
import t from 'tap';
import { DataType, dtypeToOip } from '../../../../proto/tensor/dtype.ts';
import { OipBinder } from '../../../../proto/tensor/oip-binding.ts';
import { OipError } from '../../../../proto/tensor/oip-error.ts';
import { OipInferRequest, parseInferRequest } from '../../../../proto/tensor/oip-infer-request.ts';
import { OipJsonReader } from '../../../../proto/tensor/oip-json-request.ts';
import { flagParameter, numberParameter } from '../../../../proto/tensor/oip-parameters.ts';
import { inferHead, OipMessageWriter } from '../../../../proto/tensor/oip-response.ts';
import { copyStringsInto, copyTensorInto, PredictRequestView } from '../../../../proto/tensor/tensor-view.ts';
import { WireError } from '../../../../proto/tensor/wire-error.ts';
import { type AnyTensor, anyTensor } from '../../../support/any-tensor.ts';
import { runs } from '../../../support/fuzz-runs.ts';
import { decodeMessage, encodeMessage, type Message } from '../../../support/proto-codecs.ts';

const request = new OipInferRequest();
const binder = new OipBinder();
const view = new PredictRequestView();

function parse(bytes: Buffer): void {
  parseInferRequest(request, bytes, 0, bytes.length);
}

/** Float values of an input after parsing and binding. */
function bound(bytes: Buffer, index = 0): number[] | string[] {
  parse(bytes);
  const buf = binder.bind(request, bytes, view);
  const tensor = view.inputs.tensors[index]!;
  if (tensor.dtype === DataType.STRING) {
    const strings: string[] = [];
    copyStringsInto(buf, tensor, strings, 0, tensor.elementCount);
    return strings;
  }
  const values = new Float32Array(tensor.elementCount);
  copyTensorInto(buf, tensor, values, 0, tensor.elementCount);
  return [...values];
}

const fp32 = (name: string, values: number[]) => ({
  name,
  datatype: 'FP32',
  shape: [values.length],
  contents: { fp32_contents: values },
});

function field(number: number, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([number * 8 + 2, payload.length]), payload]);
}

t.test('a request of every field is read as it was written', async (t) => {
  parse(
    encodeMessage('inference.ModelInferRequest', {
      model_name: 'm',
      model_version: '3',
      id: 'é',
      parameters: {
        priority: { int64_param: 2 },
        big: { uint64_param: '18446744073709551615' },
        rate: { double_param: 0.5 },
        note: { string_param: 'n' },
        binary_data_output: { bool_param: true },
      },
      inputs: [{ ...fp32('a', [1, 2]), parameters: { p: { bool_param: false } } }],
      outputs: [{ name: 'y', parameters: { classification: { int64_param: 3 } } }, { name: 'z' }],
    }),
  );
  t.match(request, { modelName: 'm', modelVersion: '3', id: 'é', inputCount: 1, usesRaw: false });
  t.same(Object.fromEntries(request.parameters!), {
    priority: 2n,
    big: 18446744073709551615n,
    rate: 0.5,
    note: 'n',
    binary_data_output: true,
  });
  t.equal(flagParameter(request.parameters, 'binary_data_output'), true);
  t.equal(numberParameter(request.outputs[0]!.parameters, 'classification', 0), 3);
  t.equal(flagParameter(request.inputs[0]!.parameters, 'p'), false);
  t.same(
    request.outputs.map(({ name }) => name),
    ['y', 'z'],
  );
});

t.test('contents may be unpacked, split and in any order', async (t) => {
  const float = (value: number): Buffer => {
    const bytes = Buffer.alloc(5);
    bytes[0] = 6 * 8 + 5;
    bytes.writeFloatLE(value, 1);
    return bytes;
  };
  const packed = (...values: number[]): Buffer => field(6, Buffer.from(Float32Array.from(values).buffer));
  const shape = field(3, Buffer.from([3]));
  for (const contents of [
    [float(1), float(2), float(3)],
    [packed(1), packed(2, 3)],
    [packed(1, 2), float(3)],
  ]) {
    const input = Buffer.concat([
      field(5, Buffer.concat(contents)),
      shape,
      field(2, Buffer.from('FP32')),
      field(1, Buffer.from('x')),
    ]);
    t.same(bound(field(5, input)), [1, 2, 3]);
  }
  const unpackedShape = Buffer.concat([
    Buffer.from([0x18, 1, 0x18, 3]),
    field(2, Buffer.from('FP32')),
    field(5, packed(1, 2, 3)),
  ]);
  t.same(bound(field(5, unpackedShape)), [1, 2, 3]);
});

t.test('strings come as contents and as raw bytes with lengths', async (t) => {
  const texts = ['a', '', 'öß'];
  const meta = { name: 's', datatype: 'BYTES', shape: [3] };
  const contents = { bytes_contents: texts.map((text) => Buffer.from(text)) };
  t.same(bound(encodeMessage('inference.ModelInferRequest', { inputs: [{ ...meta, contents }] })), texts);
  const raw = Buffer.from([1, 0, 0, 0, 0x61, 0, 0, 0, 0, 4, 0, 0, 0, ...Buffer.from('öß')]);
  t.same(bound(encodeMessage('inference.ModelInferRequest', { inputs: [meta], raw_input_contents: [raw] })), texts);
  t.throws(
    () =>
      bound(
        encodeMessage('inference.ModelInferRequest', { inputs: [meta], raw_input_contents: [raw.subarray(0, -1)] }),
      ),
    {
      message: "incomplete string data for inference input 's'",
    },
  );
  // A string input makes all of the request be copied: numbers beside it stay what they are.
  const mixed = encodeMessage('inference.ModelInferRequest', { inputs: [fp32('a', [1, 2]), { ...meta, contents }] });
  t.same(bound(mixed, 0), [1, 2]);
  t.same(bound(mixed, 1), texts);
});

t.test('elements that do not fill the shape are refused', async (t) => {
  const message = (input: object): Buffer =>
    encodeMessage('inference.ModelInferRequest', { model_name: 'm', inputs: [input] });
  t.throws(() => bound(message({ ...fp32('a', [1, 2]), shape: [3] })), {
    message: "input byte size mismatch for input 'a' for model 'm'. Expected 12, got 8",
  });
  t.throws(() => bound(message({ ...fp32('a', [1]), datatype: 'INT32' })), OipError);
  t.throws(() => parse(message({ ...fp32('a', []), shape: [-1] })), OipError);
  t.throws(() => parse(message({ ...fp32('a', []), shape: ['4294967296', '4294967296'] })), OipError);
});

t.test('answers are read by the independent codec as they were meant, contents and raw', async (t) => {
  const writer = new OipMessageWriter();
  fc.assert(
    fc.property(anyTensor, fc.boolean(), (tensor, raw) => {
      const asRaw = raw || tensor.type === 'float16';
      const { name, dtype, dims, data, from, count } = outputOf(tensor);
      writer.begin(inferHead('m', '7', 'q'), asRaw);
      writer.add({ name, dtype, dims, data, from, count });
      const bytes = Buffer.alloc(writer.byteLength);
      writer.write(bytes, 0);
      const message = decodeMessage('inference.ModelInferResponse', bytes);
      t.match(message, { model_name: 'm', model_version: '7', id: 'q' });
      const [output] = message.outputs;
      t.same([output.name, output.datatype, output.shape], [name, dtypeToOip(dtype), dims.map(String)]);
      if (asRaw) t.equal(message.raw_output_contents.length, 1);
      else t.equal(listOf(output.contents).length, count);
    }),
    { numRuns: runs(200) },
  );
});

function outputOf({ dtype, dims, strings, elements }: AnyTensor) {
  const data = strings ?? elements!;
  return { name: 'y', dtype, dims, data, from: 0, count: data.length };
}

function listOf(contents: Message): unknown[] {
  return Object.values((contents ?? {}) as Record<string, unknown[]>).find((list) => list.length > 0) ?? [];
}

t.test('noise and requests changed in one byte are read or refused, and nothing else happens', async (t) => {
  const whole = encodeMessage('inference.ModelInferRequest', {
    model_name: 'm',
    parameters: { priority: { int64_param: 2 } },
    inputs: [
      fp32('a', [1, 2]),
      { name: 's', datatype: 'BYTES', shape: [1], contents: { bytes_contents: [Buffer.from('x')] } },
    ],
    outputs: [{ name: 'y' }],
  });
  const attempt = (bytes: Buffer): void => {
    try {
      parse(bytes);
      for (let i = 0; i < request.inputCount; i++) if (request.inputs[i]!.dtype === 0) return;
      binder.bind(request, bytes, view);
    } catch (error) {
      if (!(error instanceof WireError || error instanceof OipError)) throw error;
    }
  };
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.uint8Array({ maxLength: 80 }), (at, byte, noise) => {
      const changed = Buffer.from(whole);
      changed[at] = byte;
      attempt(changed);
      attempt(Buffer.from(noise));
      attempt(whole.subarray(0, at));
    }),
    { numRuns: runs(3000) },
  );
  t.pass();
});

t.test('JSON requests of random pieces are read or refused, and nothing else happens', async (t) => {
  const reader = new OipJsonReader();
  const piece = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"name"',
    '"data"',
    '"shape"',
    '"datatype"',
    '"FP32"',
    '"BYTES"',
    '1',
    '-1',
    '2.5',
    '"parameters"',
    'true',
  );
  const input = fc.array(piece, { maxLength: 20 });
  fc.assert(
    fc.property(input, fc.nat(10), (pieces, binary) => {
      const bodies = [
        `{"inputs":[{${pieces.join('')}}]}`,
        `{"inputs":[{"name":"a","datatype":"FP32","shape":[1],"data":${pieces.join('')}}]}`,
      ];
      for (const body of bodies) {
        const bytes = Buffer.concat([Buffer.from(body), Buffer.alloc(binary)]);
        request.reset();
        try {
          reader.parse(request, bytes, 0, bytes.length - binary, bytes.length);
        } catch (error) {
          if (!(error instanceof OipError || error instanceof WireError)) throw error;
        }
      }
    }),
    { numRuns: runs(2000) },
  );
  t.pass();
});
