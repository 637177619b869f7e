import fc from 'fast-check';
import t from 'tap';
import { NameAllocator } from '../../../../proxy/config/allocation.ts';
import { compileMesh, EMPTY_DOCUMENT } from '../../../../proxy/config/compile.ts';
import { constantElements } from '../../../../proxy/config/constant-elements.ts';
import { parseDocument } from '../../../../proxy/config/document.ts';
import { parseEnvironment } from '../../../../proxy/config/env.ts';
import { longestWays, stepOrder } from '../../../../proxy/config/pipeline-order.ts';
import { formatProblem, ProblemList } from '../../../../proxy/config/problem.ts';
import { documentPipeline } from '../../../support/document-pipeline.ts';

function compile(document: object) {
  const problems = new ProblemList();
  const environment = parseEnvironment({}, problems);
  const parsed = parseDocument(JSON.stringify(document), problems) ?? EMPTY_DOCUMENT;
  const mesh = compileMesh(environment, parsed, new NameAllocator().allocate, 1, problems);
  return { mesh, mistakes: problems.problems.map(formatProblem).join('\n') };
}

const models = [
  { name: 'detector', split: [{ model: 'detector' }] },
  { name: 'recogniser', split: [{ model: 'recogniser' }], fallback: [{ model: 'recogniser-lite' }] },
  { name: 'tables', split: [{ model: 'tables' }] },
  { name: 'extractor', split: [{ model: 'extractor' }] },
];
const CELLS = [{ name: 'cells', dtype: 'FP32', shape: [-1, 4], values: [0] }];

t.test('steps come in an order in which each follows those it waits for, with their budgets', async (test) => {
  const { mesh, mistakes } = compile({ models, pipelines: [documentPipeline({ table: { default: CELLS } })] });
  test.equal(mistakes, '');
  const [pipeline] = mesh!.pipelines;
  test.same(
    pipeline!.steps.map(({ name }) => name),
    ['detect', 'recognise', 'table', 'extract'],
  );
  test.same(pipeline!.steps[3]!.inputs, [
    { name: 'text', from: { step: 1, name: 'text' } },
    { name: 'cells', from: { step: 2, name: 'cells' } },
  ]);
  // Nobody can answer instead of detect and extract, so nothing is gained by cutting them short.
  test.same(
    pipeline!.steps.map(({ budgetFraction }) => budgetFraction),
    [1, 1 / 2, 1 / 2, 1],
  );
  test.match(pipeline, { name: 'document', version: '3', timeoutMs: 60_000, maxConcurrent: 256 });
  test.same(pipeline!.outputs[0], {
    name: 'amount',
    dtype: 1,
    shape: [-1, 4],
    from: { step: 3, name: 'amount' },
  });
});

t.test('the last step leaves time for its default outputs', async (test) => {
  const amount = [{ name: 'amount', dtype: 'FP32', shape: [-1, 4] }];
  const { mesh } = compile({ models, pipelines: [documentPipeline({ extract: { default: amount } })] });
  test.equal(mesh!.pipelines[0]!.steps[3]!.budgetFraction, 0.8);
  test.same(mesh!.pipelines[0]!.steps[3]!.defaults![0]!.values, ['0'], 'values that are not written are zeros');
});

t.test('all mistakes of a pipeline are told at once', async (test) => {
  const step = (name: string, more: object) => ({ name, model: 'detector', outputs: ['y'], ...more });
  const input = { name: 'x', dtype: 'FP32', shape: [-1] };
  const pipelines = [
    {
      name: 'detector',
      inputs: [input, input],
      steps: [
        step('request', { inputs: { x: 'request.x' } }),
        step('a.b', { inputs: { x: 'request.z' }, model: 'detectr' }),
        step('c', { inputs: { x: 'nowhere.y' }, outputs: ['y', 'y'] }),
        step('d', { inputs: { x: 'c.z' }, default: [{ name: 'q', dtype: 'INT8', shape: [-1], values: [1000] }] }),
        step('e', { inputs: {}, default: [{ name: 'y', dtype: 'FP32', shape: [2, -1], values: [1, 2, 3] }] }),
      ],
      outputs: [{ name: 'y', from: 'd.y', dtype: 'FP99' }],
    },
    { name: 'empty' },
  ];
  const { mesh, mistakes } = compile({ models, pipelines });
  test.equal(mesh, null);
  for (const part of [
    'pipelines[0].name (line 1) = "detector"',
    'pipelines[0].inputs[1].name',
    'steps[0].name',
    'steps[1].name',
    'steps[1].model (line 1) = "detectr": expected the name of a configured model; did you mean detector?',
    'steps[1].inputs.x (line 1) = "request.z"',
    'steps[2].inputs.x',
    'steps[2].outputs',
    'steps[3].inputs.x',
    'steps[3].default[0].name',
    'elements of the type INT8',
    'steps[4].inputs',
    '-1 in the first place only',
    'one element, or the 2 of a row',
    'outputs[0].dtype',
    'pipelines[1].inputs',
    'pipelines[1].steps',
    'pipelines[1].outputs',
  ]) {
    test.ok(mistakes.includes(part), `${part} is among\n${mistakes}`);
  }
});

t.test('a circle is named with its steps', async (test) => {
  const more = { detect: { inputs: { pixels: 'extract.amount' } } };
  const { mistakes } = compile({ models, pipelines: [documentPipeline(more)] });
  test.match(mistakes, /steps that do not wait for each other/);
  test.match(mistakes, /extract -> recognise -> detect -> extract/);
});

t.test('a step nobody needs, and a default of another type than the answer declares, are mistakes', async (test) => {
  const outputs = [{ name: 'text', from: 'recognise.text', dtype: 'BYTES', shape: [-1] }];
  const text = [{ name: 'text', dtype: 'FP32', shape: [-1] }];
  const pipeline = documentPipeline({ recognise: { default: text } }, { outputs });
  const { mistakes } = compile({ models, pipelines: [pipeline] });
  test.match(mistakes, /outputs\[0\].dtype .*expected FP32, as the default of step recognise/);
  const unused = compile({
    models,
    pipelines: [documentPipeline({}, { outputs: [{ ...outputs[0], dtype: 'FP32' }] })],
  });
  test.match(
    unused.mistakes,
    /steps\[0\] .*= "extract": expected a step whose outputs another step or the answer uses/,
  );
});

t.test('what a model declares of its outputs holds for the answer too', async (test) => {
  const declared = { ...models[3]!, outputs: [{ name: 'amount', dtype: 'FP64' }] };
  const { mistakes } = compile({ models: [...models.slice(0, 3), declared], pipelines: [documentPipeline()] });
  test.match(mistakes, /outputs\[0\].dtype .*= "FP32": expected FP64, as model extractor declares/);
});

t.test('more pipelines or steps than the bounds are refused', async (test) => {
  const many = Array.from({ length: 17 }, (_, i) => documentPipeline({}, { name: `p${i}` }));
  test.match(compile({ models, pipelines: many }).mistakes, /pipelines.*at most 16 items/);
  const steps = Array.from({ length: 25 }, (_, i) => ({
    name: `s${i}`,
    model: 'detector',
    inputs: { x: i === 0 ? 'request.image' : `s${i - 1}.y` },
    outputs: ['y'],
  }));
  const outputs = [{ name: 'y', from: 's24.y', dtype: 'FP32' }];
  const { mistakes } = compile({ models, pipelines: [documentPipeline({}, { steps, outputs })] });
  test.match(mistakes, /pipelines\[0\].steps.*at most 24 items/);
});

t.test('rate limits know pipelines like models', async (test) => {
  const rateLimits = [{ name: 'r', model: 'document', requests: 5 }];
  test.equal(compile({ models, pipelines: [documentPipeline()], rateLimits }).mistakes, '');
});

t.test('any steps are ordered, or a true circle is found', async () => {
  const graph = fc.integer({ min: 1, max: 8 }).chain((n) => {
    const earlier = fc.uniqueArray(fc.integer({ min: 0, max: n - 1 }), { maxLength: 3 });
    return fc.array(earlier, { minLength: n, maxLength: n });
  });
  fc.assert(
    fc.property(graph, (waitsFor) => {
      const { order, circle } = stepOrder(waitsFor);
      for (const [at, step] of order.entries()) {
        if (!waitsFor[step]!.every((need) => order.indexOf(need) >= 0 && order.indexOf(need) < at)) return false;
      }
      if (circle.length === 0) {
        const ways = longestWays(waitsFor, order);
        return (
          order.length === waitsFor.length && waitsFor.every((needs, i) => needs.every((n) => ways[n]! > ways[i]!))
        );
      }
      return circle.every((step, i) => waitsFor[step]!.includes(circle[(i + 1) % circle.length]!));
    }),
    { numRuns: 300 },
  );
});

t.test('elements are read exactly, or not at all', async (test) => {
  test.same([...(constantElements(9, ['-9223372036854775808', '5']) as BigInt64Array)], [-(2n ** 63n), 5n]);
  test.equal(constantElements(9, ['9223372036854775808']), null);
  test.equal(constantElements(4, ['256']), null);
  test.equal(constantElements(3, ['1.5']), null);
  test.equal(constantElements(1, ['much']), null);
  test.equal(constantElements(1, ['Infinity']), null);
  test.same([...(constantElements(10, ['true', 'false']) as Uint8Array)], [1, 0]);
  test.equal(constantElements(10, ['1']), null);
  test.same([...(constantElements(19, ['1.5']) as Uint16Array)], [0x3e00]);
  test.same(constantElements(7, ['', 'a']), ['', 'a']);
});
