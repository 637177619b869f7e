import t from 'tap';
import { DataType } from '../../../../proto/tensor/dtype.ts';
import { modelSpecField, PredictMessageWriter, tensorKey } from '../../../../proto/tensor/tensor-view.ts';
import { decodeMessage } from '../../../support/proto-codecs.ts';
import { bytesOf, DTYPE_CASES } from './dtype-cases.ts';

const RESPONSE = 'tensorflow.serving.PredictResponse';

/** Writes at an odd offset into a buffer of exactly the size promised, and decodes by the independent codec. */
function written(writer: PredictMessageWriter, type = RESPONSE) {
  const buf = Buffer.alloc(writer.byteLength + 8, 0xee);
  const end = writer.write(buf, 5);
  t.equal(end, buf.length - 3);
  t.strictSame([...buf.subarray(0, 5), ...buf.subarray(end)], new Array(8).fill(0xee), 'nothing else is touched');
  return decodeMessage(type, buf.subarray(5, end));
}

for (const row of DTYPE_CASES) {
  const count = row.values.length;

  t.test(`${row.name} outputs are written as the typed list`, async (t) => {
    const writer = new PredictMessageWriter('response');
    writer.begin(modelSpecField(2, 'm', 1n, 'serving_default'));
    writer.add(tensorKey('y'), row.dtype, [count], -1, row.stored, 0, count);
    const tensor = written(writer).outputs.y;
    t.equal(tensor.dtype, row.dtype);
    t.strictSame(tensor.tensor_shape.dim, [{ size: String(count), name: '' }]);
    t.equal(tensor.tensor_content.length, 0);
    const expected = row.name === 'float' ? [...(row.stored as Float32Array)] : row.values;
    t.strictSame(tensor[row.list], expected);
  });

  t.test(`${row.name} outputs are written as tensor_content when asked`, async (t) => {
    const writer = new PredictMessageWriter('response', true);
    writer.begin(modelSpecField(2, 'm', 1n, ''));
    writer.add(tensorKey('y'), row.dtype, [1, count], -1, row.stored, 0, count);
    const tensor = written(writer).outputs.y;
    t.strictSame(tensor.tensor_content, bytesOf(row.stored));
    t.equal(tensor[row.list].length, 0);
  });

  t.test(`${row.name} rows from the middle of a batch are written with their own first dimension`, async (t) => {
    const writer = new PredictMessageWriter('response');
    writer.begin(modelSpecField(2, 'm', 1n, ''));
    writer.add(tensorKey('y'), row.dtype, [count, 1], 1, row.stored, 1, 1);
    const tensor = written(writer).outputs.y;
    t.equal(tensor.tensor_shape.dim[0].size, '1');
    t.equal(tensor[row.list].length, 1);
    t.equal(tensor[row.list][0], row.values[1]);
  });
}

t.test('strings are written both ways', async (t) => {
  const strings = ['', 'a', 'größer', 'x'.repeat(200), '\ud800'];
  for (const asContent of [false, true]) {
    const writer = new PredictMessageWriter('response', asContent);
    writer.begin(Buffer.alloc(0));
    writer.add(tensorKey('s'), DataType.STRING, [4], -1, strings, 1, 4);
    const tensor = written(writer).outputs.s;
    if (asContent) t.strictSame(tensor.tensor_content.subarray(0, 5), Buffer.from([1, 8, 200, 1, 3]));
    else t.strictSame(tensor.string_val.map(String), ['a', 'größer', 'x'.repeat(200), '\ufffd']);
  }
});

t.test('several outputs, scalars, empty tensors and long dimensions keep their sizes', async (t) => {
  const writer = new PredictMessageWriter('response');
  const values = Float32Array.from({ length: 300 }, (_, i) => i);
  for (let round = 0; round < 2; round++) {
    writer.begin(modelSpecField(2, 'model', 9223372036854775807n, 'serving_default'));
    writer.add(tensorKey('long'), DataType.FLOAT, [300, 1], -1, values, 0, 300);
    writer.add(tensorKey('scalar'), DataType.FLOAT, [], -1, values, 7, 1);
    writer.add(tensorKey('empty'), DataType.FLOAT, [0, 16], -1, values, 0, 0);
    const message = written(writer);
    t.equal(message.outputs.long.float_val.length, 300);
    t.equal(message.outputs.long.tensor_shape.dim[0].size, '300');
    t.strictSame(message.outputs.scalar.tensor_shape.dim, []);
    t.strictSame(message.outputs.scalar.float_val, [7]);
    t.strictSame(
      message.outputs.empty.tensor_shape.dim.map((dim: { size: string }) => dim.size),
      ['0', '16'],
    );
    t.equal(message.model_spec.version.value, '9223372036854775807');
  }
});

t.test('a request is written with its own field numbers', async (t) => {
  const writer = new PredictMessageWriter('request');
  writer.begin(modelSpecField(1, 'modèle', null, ''));
  writer.add(tensorKey('x'), DataType.INT64, [2], -1, BigInt64Array.of(1n, -1n), 0, 2);
  const message = written(writer, 'tensorflow.serving.PredictRequest');
  t.equal(message.model_spec.name, 'modèle');
  t.equal(message.model_spec.version_choice, undefined);
  t.strictSame(message.inputs.x.int64_val, ['1', '-1']);
});

t.test('versions of every size survive', async (t) => {
  for (const version of [0n, 1n, 127n, 128n, 9223372036854775807n, -1n, -9223372036854775808n]) {
    const writer = new PredictMessageWriter('response');
    writer.begin(modelSpecField(2, 'm', version, ''));
    t.equal(written(writer).model_spec.version.value, String(version));
  }
});

t.test('a buffer that is too small is a programmer error', async (t) => {
  const writer = new PredictMessageWriter('response');
  writer.begin(modelSpecField(2, 'm', 1n, ''));
  t.throws(() => writer.write(Buffer.alloc(3), 0), { name: 'AssertionError' });
});
