/** Adapted answers and answers without a model, as the document writes them: what compiles, and every mistake at once. */
import t from 'tap';
import { DataType } from '../../../../proto/tensor/dtype.ts';
import { NameAllocator } from '../../../../proxy/config/allocation.ts';
import { compileMesh, EMPTY_DOCUMENT } from '../../../../proxy/config/compile.ts';
import { parseDocument } from '../../../../proxy/config/document.ts';
import { parseEnvironment } from '../../../../proxy/config/env.ts';
import { formatProblem, ProblemList } from '../../../../proxy/config/problem.ts';

function compile(model: object) {
  const problems = new ProblemList();
  const environment = parseEnvironment({}, problems);
  const text = JSON.stringify({ models: [{ name: 'm', split: [{ model: 'm@1' }], ...model }] });
  const document = parseDocument(text, problems) ?? EMPTY_DOCUMENT;
  const mesh = compileMesh(environment, document, new NameAllocator().allocate, 1, problems);
  return { mesh, mistakes: problems.problems.map((problem) => formatProblem({ ...problem, line: undefined })) };
}

const SCORES = { name: 'scores', dtype: 'FP32', shape: [-1, 2] };
const LABEL = { name: 'label', dtype: 'BYTES', shape: [-1] };
const LITE = [
  { name: 'p', dtype: 'FP64', shape: [-1, 2, 1] },
  { name: 'text', dtype: 'BYTES', shape: [-1] },
];

/** Mistakes in the mapping of one fallback. */
function mistakesOf(
  outputs: readonly object[],
  more: object = {},
  declared: readonly object[] = [SCORES, LABEL],
): string[] {
  const fallback = [{ model: 'lite', outputs: LITE, adapt: { outputs, ...more } }];
  return compile({ outputs: declared, fallback }).mistakes.map((text) =>
    text.replace('models[0].fallback[0].adapt', '~'),
  );
}

const GOOD = [
  { name: 'scores', from: 'p', dtype: 'FP32', shape: [-1, 2] },
  { name: 'label', from: 'text' },
];

t.test('a mapping that fits both signatures compiles to what it says', async (test) => {
  const { mesh, mistakes } = compile({
    outputs: [SCORES, LABEL],
    fallback: [{ model: 'lite', outputs: LITE, adapt: { outputs: GOOD } }],
  });
  test.strictSame(mistakes, []);
  const rule = { rounding: 'nearest', overflow: 'refuse', fill: null };
  test.strictSame(mesh!.models[0]!.fallbacks[0]!.adapt, {
    inputs: [],
    outputs: [
      { name: 'scores', from: 'p', dtype: DataType.FLOAT, shape: [-1, 2], ...rule },
      { name: 'label', from: 'text', dtype: 0, shape: null, ...rule },
    ],
    keepsOthers: false,
    soleOutput: '',
  });
  test.ok(Object.isFrozen(mesh!.models[0]!.fallbacks[0]!.adapt!.outputs));
});

t.test('every impossible mapping is a mistake of its own, all told at once', async (test) => {
  const mistakes = mistakesOf([
    { name: 'scores', from: 'q', dtype: 'FP32' },
    { name: 'scores', from: 'p' },
    { name: 'label', from: 'text', dtype: 'INT64' },
    { name: 'scors', from: 'p' },
  ]);
  test.strictSame(mistakes, [
    '~.outputs[1].name = "scores": expected a name that models[0].fallback[0].adapt.outputs[0] does not have',
    '~.outputs[0].from = "q": expected an output of the fallback; did you mean p?',
    "~.outputs[1].dtype: expected FP32, as the model's scores has it",
    '~.outputs[1].shape = "[-1, 2, 1]": expected a shape that fits [-1, 2], the model\'s scores',
    '~.outputs[2].dtype = "INT64": expected a type that text, which is of another kind, can be cast to',
    "~.outputs[2].dtype: expected BYTES, as the model's label has it",
    '~.outputs[3].name = "scors": expected an output of the model; did you mean scores?',
  ]);
});

const single: Record<string, [object[], RegExp]> = {
  "a type that is not the primary's": [
    [{ ...GOOD[0], dtype: 'FP64' }, GOOD[1]!],
    /dtype: expected FP32, as the model's scores has it/,
  ],
  'a reshape to another size': [
    [{ ...GOOD[0], shape: [-1, 3] }, GOOD[1]!],
    /"\[-1, 3\]": expected a shape of as many elements as \[-1, 2, 1\]/,
  ],
  "a shape that is not the primary's": [
    [{ ...GOOD[0], shape: [-1, 1, 2] }, GOOD[1]!],
    /expected a shape that fits \[-1, 2\]/,
  ],
  "a primary's output that nobody gives": [
    [GOOD[0]!],
    /outputs = "label": expected an entry for each output of the model; with a fill/,
  ],
  'two open dimensions': [[{ ...GOOD[0], shape: [-1, -1] }, GOOD[1]!], /at most one -1/],
  'a fill without type and shape': [
    [GOOD[0]!, { name: 'label', from: 'none', fill: ['x'] }],
    /dtype: expected a type, since there is a fill/,
  ],
  'a fill that its type cannot hold': [
    [GOOD[0]!, { name: 'label', from: 'x', dtype: 'UINT8', shape: [-1], fill: ['256'] }],
    /fill = "256": expected values that the type can hold/,
  ],
  'a fill of the wrong width': [
    [{ name: 'scores', from: 'x', dtype: 'FP32', shape: [-1, 2], fill: ['1', '2', '3'] }, GOOD[1]!],
    /fill = "3": expected one value, or 2 for a row/,
  ],
};
for (const [what, [outputs, expected]] of Object.entries(single)) {
  t.test(`${what} is a mistake`, async (test) => test.match(mistakesOf(outputs).join('\n'), expected));
}

t.test('what is kept under its own name has to be what the primary has', async (test) => {
  const declared = [SCORES, { name: 'text', dtype: 'INT64' }];
  test.match(
    mistakesOf([GOOD[0]!], { others: 'keep' }, declared).join('\n'),
    /expected INT64, as the model's text has it/,
  );
  test.strictSame(mistakesOf([GOOD[0]!], { others: 'keep' }, [SCORES, { name: 'text' }]), []);
  test.match(mistakesOf([], {}).join('\n'), /at least one output, since others are dropped/);
});

t.test('each input is renamed once, and from one', async (test) => {
  const inputs = [
    { name: 'a', from: 'x' },
    { name: 'a', from: 'y' },
    { name: 'b', from: 'x' },
  ];
  test.strictSame(mistakesOf(GOOD, { inputs }), [
    '~.inputs[1].name = "a": expected a name that models[0].fallback[0].adapt.inputs[0] does not have',
    '~.inputs[2].from = "x": expected each input once',
  ]);
});

t.test('an empty text is a value', async (test) => {
  const { mesh, mistakes } = compile({
    fallback: [{ static: { outputs: [{ name: 'label', dtype: 'BYTES', shape: [-1, 2], values: ['', 'b'] }] } }],
  });
  test.strictSame(mistakes, []);
  test.strictSame(mesh!.models[0]!.fallbacks[0]!.local!.outputs[0]!.values, ['', 'b']);
});

const NUMBER = { name: 'score', dtype: 'FP32', shape: [-1] };

t.test('a step has exactly one source, and its own answer needs no adapting', async (test) => {
  const constant = { outputs: [{ ...NUMBER, values: ['1'] }] };
  test.match(compile({ fallback: [{ model: 'lite', static: constant }] }).mistakes, [
    /exactly one of the keys cluster, model, static and rule/,
  ]);
  test.match(compile({ fallback: [{ static: constant, adapt: { outputs: GOOD } }] }).mistakes, [
    /no outputs and no adapt/,
  ]);
  test.match(compile({ fallback: [{}] }).mistakes, [/exactly one of the keys cluster and model/]);
  test.match(compile({ fallback: [{ model: 'lite', outputs: LITE }] }).mistakes, [/an adapt beside them/]);
});

t.test('answers without a model have figures of their own, and no endpoint', async (test) => {
  const constant = { static: { outputs: [{ ...NUMBER, values: ['1'] }] } };
  const { mesh } = compile({ fallback: [constant, { model: 'lite' }, constant] });
  const names = mesh!.models[0]!.fallbacks.map(({ cluster }) => mesh!.clusters[cluster]!);
  test.strictSame(
    names.map(({ name }) => name),
    ['@static/m', 'lite', '@static/m/2'],
  );
  test.strictSame(names[0]!.endpoints, []);
});

t.test('every mistake of a rule is told at once', async (test) => {
  const rule = {
    outputs: [
      { ...NUMBER, score: { terms: [{ input: 'x', weight: 1 }], min: 2, max: 1 } },
      { name: 'score', dtype: 'INT64', shape: [-1], values: ['1.5'] },
      { name: 'kind', dtype: 'BYTES', shape: [2], score: {} },
      { name: 'pair', dtype: 'FP32', shape: [-1, 2], values: ['1', '2', '3'] },
      { name: 'fixed', dtype: 'FP32', shape: [1], values: ['1'] },
    ],
    cases: [
      { when: [], set: [] },
      { when: [{ op: '<', value: '1' }], set: [{ output: 'scor', values: ['1'] }] },
      { when: [{ input: 'x', score: 'score', op: '=', value: '1' }], set: [{ output: 'fixed', values: ['1'] }] },
      { when: [{ input: 'x', op: '<', value: 'a' }], set: [{ output: 'pair', values: ['x'] }] },
      { when: [{ score: 'pair', op: '<', value: '1' }], set: [{ output: 'pair', values: ['1'] }] },
    ],
  };
  const { mistakes } = compile({ fallback: [{ rule }] });
  const at = (pattern: RegExp) =>
    test.ok(
      mistakes.some((text) => pattern.test(text)),
      `${pattern}\n${mistakes.join('\n')}`,
    );
  at(/outputs\[0\]\.score\.max = "1": expected at least min, 2/);
  at(/outputs\[1\]\.name = "score": expected a name that .*outputs\[0\] does not have/);
  at(/outputs\[1\]\.values = "1.5": expected values that the type can hold/);
  at(/outputs\[2\]\.dtype: expected a type of numbers/);
  at(/outputs\[2\]\.shape = "\[2\]": expected a shape with -1 in front/);
  at(/outputs\[3\]\.values = "3": expected one value, or 2 for a row/);
  at(/cases\[0\]\.when: expected at least one condition/);
  at(/cases\[0\]\.set: expected at least one output/);
  at(/cases\[1\]\.when\[0\]: expected exactly one of the keys input and score/);
  at(/cases\[1\]\.set\[0\]\.output = "scor": expected the name of an output; did you mean score\?/);
  at(/cases\[2\]\.when\[0\]: expected exactly one/);
  at(/cases\[2\]\.set\[0\]\.output = "fixed": expected an output with -1 in front/);
  at(/cases\[3\]\.when\[0\]\.value = "a": expected a number/);
  at(/cases\[3\]\.set\[0\]\.values = "x": expected values/);
  at(/cases\[4\]\.when\[0\]\.score = "pair": expected an output that has a score/);
});
