/**
 * Adapted answers: whatever carries them, the numbers are those of a computation that knows nothing of wires. Answers are
 * written and read by proto-loader and JSON.parse.
 */
import fc from 'fast-check';
import t from 'tap';
import { DataType, dtypeFromOip } from '../../../../proto/tensor/dtype.ts';
import type { OutputMapping } from '../../../../proxy/config/answer-policy.ts';
import { changeOf, FORMS, type Form, KEEP } from './answer-forms.ts';
import type { Output, Value } from './answer-tensors.ts';

/** The cast as a person would write it down. */
function reference(value: Value, to: Output['type']): Value {
  if (typeof value === 'boolean') value = value ? 1 : 0;
  if (to === 'BOOL') return Number(value) !== 0;
  if (to === 'FP64') return Number(value);
  if (to === 'FP32')
    return Math.fround(Math.max(-3.4028234663852886e38, Math.min(3.4028234663852886e38, Number(value))));
  const bits = to === 'INT64' ? 63n : to === 'INT32' ? 31n : 8n;
  const [least, most] = to === 'UINT8' ? [0n, 255n] : [-(1n << bits), (1n << bits) - 1n];
  let whole = typeof value === 'bigint' ? value : 0n;
  if (typeof value === 'number') {
    const near = Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);
    whole = BigInt(near);
  }
  const bounded = whole < least ? least : whole > most ? most : whole;
  return to === 'INT64' ? bounded : Number(bounded);
}

const VALUES: Record<Exclude<Output['type'], 'UINT8'>, fc.Arbitrary<Value>> = {
  FP32: fc.oneof(
    fc.float({ noNaN: true, noDefaultInfinity: true }).filter((value) => !Object.is(value, -0)),
    fc.integer({ min: -9, max: 9 }).map((twice) => twice / 2),
  ),
  FP64: fc
    .double({ noNaN: true, noDefaultInfinity: true, min: -1e300, max: 1e300 })
    .filter((value) => !Object.is(value, -0)),
  INT32: fc.integer(),
  INT64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  BOOL: fc.boolean(),
  BYTES: fc.string({ unit: 'grapheme', maxLength: 6 }),
};

const anyOutput = (name: string, rows: number): fc.Arbitrary<Output> =>
  fc
    .tuple(fc.constantFrom('FP32', 'FP64', 'INT32', 'INT64', 'BOOL', 'BYTES'), fc.constantFrom([], [1], [2], [3, 2]))
    .chain(([type, inner]) => {
      const dims = [rows, ...inner];
      const count = dims.reduce((product, size) => product * size, 1);
      const values = fc.array(VALUES[type as keyof typeof VALUES], { minLength: count, maxLength: count });
      return values.map((list) => ({ name, type: type as Output['type'], dims, values: list }));
    });

/** Two outputs, of which the first is renamed, perhaps cast and flattened, a constant is filled in and the rest goes. */
const anyCase = fc.integer({ min: 1, max: 3 }).chain((rows) =>
  fc.record({
    outputs: fc.tuple(anyOutput('x', rows), anyOutput('z', rows)),
    to: fc.constantFrom<Output['type'] | 'same'>('FP32', 'FP64', 'INT32', 'INT64', 'UINT8', 'BOOL', 'same'),
    flatten: fc.boolean(),
    keeps: fc.boolean(),
  }),
);

function sameNumber(a: Value, b: Value): boolean {
  if (typeof a === 'bigint' || typeof b === 'bigint') return BigInt(a) === BigInt(b);
  return Object.is(a, b) || (a === 0 && b === 0);
}

function check(
  form: Form,
  got: Output | undefined,
  name: string,
  type: string,
  dims: readonly number[],
  values: readonly Value[],
): void {
  if (got === undefined) throw new Error(`${form.name}: no ${name}`);
  if (form.typed && got.type !== type) throw new Error(`${form.name}: ${name} is ${got.type}, not ${type}`);
  if (JSON.stringify(got.dims) !== JSON.stringify(dims))
    throw new Error(`${form.name}: ${name} is ${got.dims}, not ${dims}`);
  if (got.values.length !== values.length) throw new Error(`${form.name}: ${name} has ${got.values.length} values`);
  // Text shows a float32 as its shortest decimal.
  const isText = !form.typed || form.name === 'REST infer';
  const settled = isText && type === 'FP32' ? got.values.map((value) => Math.fround(Number(value))) : got.values;
  values.forEach((value, i) => {
    if (sameNumber(value, settled[i]!)) return;
    throw new Error(`${form.name}: ${name}[${i}] is ${settled[i]}, not ${value}`);
  });
}

t.test('random answers come out of every protocol as a computation without wires makes them', async () => {
  fc.assert(
    fc.property(anyCase, ({ outputs, to, flatten, keeps }) => {
      const [x, z] = outputs;
      const isCast = to !== 'same' && x.type !== 'BYTES';
      const type = isCast ? to : x.type;
      const shape = flatten ? [-1] : null;
      const dims = flatten ? [x.values.length] : x.dims;
      // Rows of different numbers fit no row format.
      const forms = FORMS.filter(({ name }) => name !== 'REST rows' || dims[0] === x.dims[0]);
      const values = isCast ? x.values.map((value) => reference(value, to)) : x.values;
      const mapping: OutputMapping = {
        inputs: [],
        outputs: [
          { ...KEEP, name: 'y', from: 'x', dtype: isCast ? dtypeFromOip(to) : 0, shape },
          {
            ...KEEP,
            name: 'confidence',
            from: 'confidence',
            dtype: DataType.FLOAT,
            shape: [-1, 2],
            fill: ['0.5', '0.25'],
          },
        ],
        keepsOthers: keeps,
        soleOutput: '',
      };
      const rows = x.dims[0]!;
      for (const form of forms) {
        const got = form.adapt(outputs, changeOf(mapping, { versionOutput: 'model_version', versionText: 'lite@7' }));
        const byName = new Map(got.map((output) => [output.name, output]));
        check(form, byName.get('y'), 'y', type, dims, values);
        const filled = Array.from({ length: rows * 2 }, (_, i) => (i % 2 === 0 ? 0.5 : 0.25));
        check(form, byName.get('confidence'), 'confidence', 'FP32', [rows, 2], filled);
        check(form, byName.get('model_version'), 'model_version', 'BYTES', [rows], new Array(rows).fill('lite@7'));
        if (keeps) check(form, byName.get('z'), 'z', z.type, z.dims, z.values);
        if (byName.has('x') || byName.has('z') !== keeps) throw new Error(`${form.name}: ${[...byName.keys()]}`);
      }
    }),
    { numRuns: 150 },
  );
});
