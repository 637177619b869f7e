import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { DataType } from '../../../../proto/tensor/dtype.ts';
import { firstElement, MAX_KEYED_BYTES } from '../../../../proxy/routing/input-value.ts';
import { runs } from '../../../support/fuzz-runs.ts';
import { encodeMessage } from '../../../support/proto-codecs.ts';
import { floats, framed, integers, request, strings, tensor } from '../mirror/pairs.ts';

const key = (inputs: object, name = 'k') => {
  const message = request(inputs);
  return firstElement(message, message.length, '', name);
};

t.test('the first element of the input is the key, whatever its type', async (test) => {
  test.equal(key({ k: integers([2], [-7, 1]) }), '-7');
  test.equal(key({ k: strings([1], ['Zoë']) }), 'Zoë');
  test.equal(key({ k: floats([1, 1], [0.5]) }), '0.5');
  test.equal(key({ k: tensor(DataType.INT32, [1], { tensor_content: Buffer.from([5, 0, 0, 0]) }) }), '5');
  test.equal(key({ k: tensor(DataType.BOOL, [], { bool_val: [true] }) }), '1');
});

t.test('a compressed request has the same key', async (test) => {
  const plain = encodeMessage('tensorflow.serving.PredictRequest', { inputs: { k: integers([1], [42]) } });
  const message = framed(gzipSync(plain), true);
  test.equal(firstElement(message, message.length, 'gzip', 'k'), '42');
});

t.test('requests without the input, without an element, cut short, too long or broken have none', async (test) => {
  test.equal(key({ other: integers([1], [1]) }), undefined);
  test.equal(key({ k: integers([0], []) }), undefined);
  const message = request({ k: integers([1], [1]) });
  test.equal(firstElement(message, message.length - 1, '', 'k'), undefined);
  test.equal(key({ k: floats([20_000], new Array(20_000).fill(1)) }), undefined, `over ${MAX_KEYED_BYTES} bytes`);
  fc.assert(
    fc.property(fc.nat(message.length - 1), fc.nat(255), (at, byte) => {
      const broken = Buffer.from(message);
      broken[at] = byte;
      const found = firstElement(broken, broken.length, '', 'k');
      return found === undefined || typeof found === 'string';
    }),
    { numRuns: runs(300) },
  );
});
