/** tf.Examples in JSON: the kinds of features, contexts, and bytes of any sort. */
import fc from 'fast-check';
import t from 'tap';
import { JsonError } from '../../../../proto/tensor/json-error.ts';
import { readJsonExamples } from '../../../../proto/tensor/json-examples.ts';
import { runs } from '../../../support/fuzz-runs.ts';

function read(body: string) {
  const bytes = Buffer.from(body);
  const { signatureName, examples } = readJsonExamples(bytes, 0, bytes.length);
  return { signatureName, examples: examples.map((example) => Object.fromEntries(example)) };
}

t.test('kinds follow the values, and an empty list is no feature', async (t) => {
  const body = `{"examples":[{"f":[1.5,-2e1,NaN],"i":[9223372036854775807,-1],"b":true,"s":["\\u00e9",{"b64":"/wA="}],"none":[]}]}`;
  t.same(read(body).examples, [
    {
      f: { kind: 'float', values: [1.5, -20, Number.NaN] },
      i: { kind: 'int64', values: [9223372036854775807n, -1n] },
      b: { kind: 'int64', values: [1n] },
      s: { kind: 'bytes', values: [Buffer.from('é'), Buffer.from([0xff, 0])] },
    },
  ]);
});

t.test('the context stands for what examples lack, wherever it stands', async (t) => {
  const { signatureName, examples } = read(
    '{"examples":[{"a":1},{"c":3}],"context":{"a":9,"b":2},"signature_name":"s"}',
  );
  t.equal(signatureName, 's');
  t.same(
    examples.map((example) =>
      Object.entries(example)
        .map(([name, { values }]) => `${name}${values}`)
        .sort()
        .join(),
    ),
    ['a1,b2', 'a9,b2,c3'],
  );
});

t.test('random examples are read or refused, and nothing else happens', async (t) => {
  const piece = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"a"',
    '1',
    '2.5',
    'true',
    'null',
    '{"b64":"*"}',
    '"context"',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      for (const body of [pieces.join(''), `{"examples":[{"a":${pieces.join('')}}]}`]) {
        try {
          read(body);
        } catch (error) {
          if (!(error instanceof JsonError)) throw error;
        }
      }
    }),
    { numRuns: runs(2000) },
  );
  t.pass();
});
