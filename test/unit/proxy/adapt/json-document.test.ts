/** JSON answers of routes adapted by paths, an OCR answer first of all. */
import fc from 'fast-check';
import t from 'tap';
import { AdaptError, misfitOf } from '../../../../proxy/adapt/adapt-error.ts';
import { adaptDocument } from '../../../../proxy/adapt/json-document.ts';
import type { JsonRule } from '../../../../proxy/config/answer-policy.ts';
import { parseJsonPath } from '../../../../proxy/config/json-path.ts';

function rule(path: string, more: Partial<Omit<JsonRule, 'path'>> = {}): JsonRule {
  return { path: parseJsonPath(path)!, from: '', cast: 'none', fill: null, drop: false, ...more };
}

function adapt(text: string, rules: readonly JsonRule[], field = '', version = ''): string {
  const bytes = Buffer.from(text);
  return adaptDocument(bytes, 0, bytes.length, rules, field, version).toString();
}

t.test('an OCR answer without confidence gets one, and its other fields their names and types', async (test) => {
  const light = {
    results: [
      { label: 'INVOICE', box: [1, 2, 30, 40], debug: { ms: 3 } },
      { label: '42', box: [5, 6, 7, 8], debug: null },
    ],
    took: '12.5',
  };
  const rules = [
    rule('results[].text', { from: 'label', cast: 'string' }),
    rule('results[].bbox', { from: 'box' }),
    rule('results[].confidence', { fill: '0.5' }),
    rule('results[].debug', { drop: true }),
    rule('took', { cast: 'number' }),
  ];
  test.strictSame(JSON.parse(adapt(JSON.stringify(light), rules, 'model_version', 'ocr-light')), {
    results: [
      { text: 'INVOICE', bbox: [1, 2, 30, 40], confidence: 0.5 },
      { text: '42', bbox: [5, 6, 7, 8], confidence: 0.5 },
    ],
    took: 12.5,
    model_version: 'ocr-light',
  });
});

t.test('numbers that nobody casts keep their text', async (test) => {
  const text = '{"id":12345678901234567890,"x":1.0,"y":1e400,"z":-0,"list":[0.10]}';
  test.equal(adapt(text, [rule('added', { fill: 'true' })]), `${text.slice(0, -1)},"added":true}`);
  test.equal(adapt('{"id":"9007199254740993"}', [rule('id', { cast: 'integer' })]), '{"id":9007199254740993}');
});

t.test('a member alone is added without reading the rest', async (test) => {
  test.equal(adapt(' { "a" : 1.0, "b":[1e400] } ', [], 'v', 'x"y'), '{"a" : 1.0,"b":[1e400],"v":"x\\"y"}');
  test.equal(adapt('{"v":1,"a":2,"v":3}', [], 'v', 'x'), '{"a":2,"v":"x"}', 'in the place of any of its name');
  test.equal(adapt('{}', [], 'v', 'x'), '{"v":"x"}');
  test.throws(() => adapt('[]', [], 'v', 'x'), AdaptError);
});

t.test('casts have one meaning each', async (test) => {
  const cases: [JsonRule['cast'], string, string | null][] = [
    ['integer', '2.5', '2'],
    ['integer', '3.5', '4'],
    ['integer', '-0.5', '0'],
    ['integer', '1e3', '1000'],
    ['integer', 'true', '1'],
    ['number', '" 1.5 "', '1.5'],
    ['number', '"x"', null],
    ['number', '""', null],
    ['number', '[]', null],
    ['string', '1.0', '"1.0"'],
    ['string', 'false', '"false"'],
    ['string', '{}', null],
    ['boolean', '0.0', 'false'],
    ['boolean', '"true"', 'true'],
    ['boolean', '"yes"', null],
  ];
  for (const [cast, value, expected] of cases) {
    const make = () => adapt(`{"v":${value}}`, [rule('v', { cast })]);
    if (expected === null) test.throws(make, AdaptError, `${value} as ${cast}`);
    else test.equal(make(), `{"v":${expected === '0' ? make().slice(5, -1) : expected}}`, `${value} as ${cast}`);
  }
  test.equal(Number(JSON.parse(adapt('{"v":-0.5}', [rule('v', { cast: 'integer' })])).v), 0);
});

t.test('a list may be the whole document, and its elements may be the values', async (test) => {
  test.equal(adapt('[{"a":1},{"a":null}]', [rule('[].a', { fill: '0' })]), '[{"a":1},{"a":0}]');
  test.equal(adapt('{"scores":["1","2"]}', [rule('scores[]', { cast: 'number' })]), '{"scores":[1,2]}');
  test.equal(
    adapt('{"pages":[{"lines":[{"t":"a"}]},{"lines":[]}]}', [rule('pages[].lines[].text', { from: 't' })]),
    '{"pages":[{"lines":[{"text":"a"}]},{"lines":[]}]}',
  );
});

t.test('what is not where a path says is a misfit, except where it would be dropped', async (test) => {
  for (const text of ['{}', '{"results":{}}', '{"results":[1]}', '[]', '3', '{"results":[{}]}']) {
    test.throws(() => adapt(text, [rule('results[].text')]), AdaptError, text);
  }
  test.equal(adapt('{}', [rule('results[].text', { drop: true }), rule('a.b', { drop: true })]), '{}');
});

t.test('no document whatever does worse than a misfit', async () => {
  const rules = [
    rule('a[].b', { fill: '1' }),
    rule('a[].c', { drop: true }),
    rule('d', { from: 'e', cast: 'integer', fill: '0' }),
  ];
  const never = (text: string): boolean => {
    try {
      JSON.parse(adapt(text, rules, 'v', 'x'));
    } catch (error) {
      return misfitOf(error) instanceof AdaptError;
    }
    return true;
  };
  fc.assert(
    fc.property(
      fc.oneof(
        fc.json(),
        fc.string(),
        fc.anything().map((value) => JSON.stringify({ a: value, e: value }) ?? ''),
      ),
      never,
    ),
  );
  if (!never('['.repeat(100_000))) throw new Error('deep lists');
});
