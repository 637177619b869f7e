/** The JSON scanner against the engine's own parser, and on bytes that are no JSON. */
import fc from 'fast-check';
import t from 'tap';
import { JsonError } from '../../../../proto/tensor/json-error.ts';
import { JsonNumber } from '../../../../proto/tensor/json-number.ts';
import { checkDocument, JsonScanner, MAX_JSON_DEPTH } from '../../../../proto/tensor/json-scanner.ts';
import { jsonValueText } from '../../../../proto/tensor/json-text.ts';
import { runs } from '../../../support/fuzz-runs.ts';

const scanner = new JsonScanner();

function accepts(bytes: Buffer): boolean {
  try {
    checkDocument(scanner, bytes, 0, bytes.length);
    return true;
  } catch (error) {
    if (error instanceof JsonError) return false;
    throw error;
  }
}

function problem(text: string): string {
  try {
    checkDocument(scanner, Buffer.from(text), 0, Buffer.byteLength(text));
    return '';
  } catch (error) {
    return (error as JsonError).message.replace('JSON Parse error: ', '');
  }
}

function engineAccepts(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

t.test('every document the engine writes is accepted', async (t) => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), fc.nat(4), (value, indent) => {
      const text = JSON.stringify(value, null, indent);
      // A lone surrogate has no UTF-8 form: the one thing we refuse and the engine does not.
      if (/\\ud[89a-f]/i.test(text)) return;
      t.ok(accepts(Buffer.from(text)), text);
    }),
    { numRuns: runs(500) },
  );
});

t.test('a document changed in one byte is accepted exactly when the engine accepts it', async (t) => {
  const byte = fc.constantFrom(...Buffer.from('{}[]",:.eE+-0123456789tfn \\u\n/x'));
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), fc.nat(), byte, fc.boolean(), (value, at, replacement, insert) => {
      const bytes = Buffer.from(JSON.stringify(value));
      const place = at % bytes.length;
      const changed = Buffer.concat([
        bytes.subarray(0, place),
        Buffer.from([replacement]),
        bytes.subarray(insert ? place : place + 1),
      ]);
      const text = changed.toString();
      if (/\\u/.test(text) || Buffer.from(text).compare(changed) !== 0) return;
      if (accepts(changed) !== engineAccepts(text)) {
        const big = problem(text).startsWith('Number too big');
        t.ok(big, `${text}: ${problem(text)}`);
      }
    }),
    { numRuns: runs(3000) },
  );
});

t.test('random bytes are accepted or refused, and nothing else happens', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      accepts(Buffer.from(bytes));
    }),
    { numRuns: runs(3000) },
  );
  t.pass();
});

t.test('NaN and the infinities are numbers, as TensorFlow Serving takes them', async (t) => {
  for (const text of ['NaN', '-NaN', 'Infinity', '-Infinity', 'Inf', '-Inf', '[NaN, -Inf]'])
    t.equal(problem(text), '', text);
  for (const text of ['nan', 'Infinit', '+Inf', 'infinity']) t.not(problem(text), '', text);
});

t.test('mistakes are named with their offset', async (t) => {
  t.equal(problem(''), 'The document is empty');
  t.equal(problem('  '), 'The document is empty. at offset: 2');
  t.equal(problem('{"a" 1}'), 'Missing a colon after a name of object member. at offset: 5');
  t.equal(problem('{1: 1}'), 'Missing a name for object member. at offset: 1');
  t.equal(problem('[1 2]'), 'Missing a comma or ] after an array element. at offset: 3');
  t.equal(problem('{"a": 1'), 'Missing a comma or } after an object member. at offset: 7');
  t.equal(problem('[1.]'), 'Miss fraction part in number. at offset: 3');
  t.equal(problem('[1e]'), 'Miss exponent in number. at offset: 3');
  t.equal(problem('"abc'), 'Missing a closing quotation mark in string. at offset: 4');
  t.equal(problem('"\\x"'), 'Invalid escape character in string. at offset: 1');
  t.equal(problem('"\\u12g4"'), 'Incorrect hex digit after \\u escape in string. at offset: 1');
  t.equal(problem('"\\ud800"'), 'The surrogate pair in string is invalid. at offset: 1');
  t.equal(problem('{} {}'), 'The document root must not be followed by other values. at offset: 3');
  t.equal(problem('[,]'), 'Invalid value. at offset: 1');
});

t.test('depth is bounded', async (t) => {
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  t.equal(problem(nested(MAX_JSON_DEPTH)), '');
  t.match(problem(nested(MAX_JSON_DEPTH + 1)), /nested deeper/);
  t.match(problem('{"a":'.repeat(100_000)), /nested deeper/);
});

t.test('numbers are the doubles the engine reads, and integers are exact in 64 bits', async (t) => {
  const number = new JsonNumber();
  const read = (text: string): JsonNumber => {
    scanner.reset(Buffer.from(text), 0, text.length);
    number.read(scanner);
    return number;
  };
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.nat(20), (value, digits) => {
      for (const text of [String(value), value.toExponential(digits), value.toPrecision(digits + 1)]) {
        if (!Number.isFinite(Number(text))) continue;
        t.ok(Object.is(read(text).value, Number(text)), text);
      }
    }),
    { numRuns: runs(1000) },
  );
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), (value) => {
      const { lo, hi, fitsInt64, fitsUint64, isInteger } = read(String(value));
      const bits = (BigInt(hi) << 32n) | BigInt(lo >>> 0);
      t.ok(isInteger);
      t.equal(fitsInt64, value < 2n ** 63n);
      t.equal(fitsUint64, value >= 0n);
      t.equal(value < 2n ** 63n ? bits : BigInt.asUintN(64, bits), value);
    }),
    { numRuns: runs(500) },
  );
  t.notOk(read('18446744073709551616').fitsUint64);
  t.notOk(read('-9223372036854775809').fitsInt64);
  t.throws(() => read('1e400'), /Number too big to be stored in double. at offset: 0/);
  t.ok(Object.is(read('-0').value, -0));
});

t.test('decimals of any length round to the float32 that the engine rounds them to', async (t) => {
  const number = new JsonNumber();
  fc.assert(
    fc.property(
      fc.float({ noNaN: true, noDefaultInfinity: true }),
      fc.nat(20),
      fc.integer({ min: -2, max: 2 }),
      (near, digits, ulps) => {
        // Around the midpoint of two floats, where rounding is decided.
        const next = Math.fround(near * (1 + 2 ** -23));
        const value = (near / 2 + next / 2) * (1 + ulps * 2 ** -52);
        if (!Number.isFinite(value)) return;
        for (const text of [String(value), value.toFixed(digits), value.toPrecision(digits + 1)]) {
          if (!/^-?\d+\.\d+$/.test(text)) continue;
          scanner.reset(Buffer.from(text), 0, text.length);
          number.read(scanner, true);
          t.ok(Object.is(Math.fround(number.value), Math.fround(Number(text))), text);
        }
      },
    ),
    { numRuns: runs(2000) },
  );
});

t.test('values in messages are indented and cut', async (t) => {
  const text = (json: string): string => jsonValueText(Buffer.from(json), 0, Buffer.byteLength(json));
  t.equal(text('{"a":[1,{}],"b":[]} '), '{\n    "a": [\n        1,\n        {}\n    ],\n    "b": []\n}');
  t.equal(text(' 1.5,'), '1.5');
  t.ok(text(`[${'1,'.repeat(10_000)}1]`).length < 1100);
});
