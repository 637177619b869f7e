/** Open Inference answers whose numbers cannot be believed, in typed and raw contents, in any order of fields. */
import t from 'tap';
import { isBadInferResponse } from '../../../../proxy/policy/oip-output-check.ts';
import { encodeMessage } from '../../../support/proto-codecs.ts';

const BAD = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

function answer(fields: object): Buffer {
  return encodeMessage('inference.ModelInferResponse', { model_name: 'm', id: 'x', ...fields });
}

function raw(datatype: string, bytes: Buffer): Buffer {
  const first = { name: 'n', datatype: 'INT32', shape: [1] };
  return answer({
    outputs: [first, { name: 'y', datatype, shape: [bytes.length] }],
    raw_output_contents: [Buffer.alloc(4, 0xff), bytes],
  });
}

function bad(bytes: Buffer): boolean {
  return isBadInferResponse(bytes, 0, bytes.length);
}

t.test('typed contents are looked at, whichever value it is', async (test) => {
  for (const [datatype, field] of [
    ['FP32', 'fp32_contents'],
    ['FP64', 'fp64_contents'],
  ] as const) {
    for (const value of [0, -0, 1e-40, 3.4e38, ...BAD]) {
      const contents = { [field]: [1, value, 2] };
      const bytes = answer({ outputs: [{ name: 'y', datatype, shape: [3], contents }] });
      test.equal(bad(bytes), !Number.isFinite(value), `${datatype} ${value}`);
    }
  }
});

t.test('raw contents are looked at with the type of their output', async (test) => {
  for (const value of [1, ...BAD]) {
    const expected = !Number.isFinite(value);
    const float = Buffer.alloc(8);
    float.writeFloatLE(value, 4);
    const double = Buffer.alloc(16);
    double.writeDoubleLE(value, 8);
    test.equal(bad(raw('FP32', float)), expected, `FP32 ${value}`);
    test.equal(bad(raw('FP64', double)), expected, `FP64 ${value}`);
    test.equal(bad(raw('BF16', float.subarray(6))), expected, `BF16 ${value}`);
  }
  test.equal(bad(raw('FP16', Buffer.from([0x00, 0x7c]))), true, 'FP16 infinity');
  test.equal(bad(raw('FP16', Buffer.from([0xff, 0x7b]))), false, 'FP16 largest');
  test.equal(bad(raw('INT64', Buffer.alloc(8, 0xff))), false, 'bits of an integer are no NaN');
});

t.test('raw contents in front of their outputs are looked at all the same', async (test) => {
  const nan = Buffer.alloc(4);
  nan.writeFloatLE(Number.NaN);
  const contents = encodeMessage('inference.ModelInferResponse', { raw_output_contents: [nan] });
  const outputs = encodeMessage('inference.ModelInferResponse', {
    outputs: [{ name: 'y', datatype: 'FP32', shape: [1] }],
  });
  test.equal(bad(Buffer.concat([contents, outputs])), true);
});

t.test('what cannot be read is bad', async (test) => {
  test.equal(bad(Buffer.from([0x2a, 0x50, 0x01])), true);
  const whole = answer({ outputs: [{ name: 'y', datatype: 'FP32', shape: [1], contents: { fp32_contents: [1] } }] });
  test.equal(bad(whole.subarray(0, whole.length - 1)), true);
  test.equal(bad(whole), false);
});
