/** Configuration of comparisons, pins and stickiness. */
import t from 'tap';
import { NameAllocator } from '../../../../proxy/config/allocation.ts';
import { compileMesh, EMPTY_DOCUMENT } from '../../../../proxy/config/compile.ts';
import { parseDocument } from '../../../../proxy/config/document.ts';
import { parseEnvironment } from '../../../../proxy/config/env.ts';
import { formatProblem, ProblemList } from '../../../../proxy/config/problem.ts';

function compile(model: object) {
  const problems = new ProblemList();
  const environment = parseEnvironment({}, problems);
  const text = JSON.stringify({ models: [{ name: 'm', split: [{ model: 'm@1' }], ...model }] });
  const mesh = compileMesh(
    environment,
    parseDocument(text, problems) ?? EMPTY_DOCUMENT,
    new NameAllocator().allocate,
    1,
    problems,
  );
  return { mesh, mistakes: problems.problems.map(formatProblem).join('\n') };
}

t.test('a model that says nothing has the limits that teams commonly set', async (test) => {
  const { mesh } = compile({});
  test.same(mesh!.models[0]!.comparison, {
    labelOutput: '',
    absoluteTolerance: 1e-6,
    relativeTolerance: 1e-4,
    harmLimit: 0.05,
    safetyLimit: 0.1,
    alpha: 0.05,
    noiseFloorHundredths: 0,
    redact: [],
  });
});

t.test('limits, tolerance, noise floor and redaction are taken as written', async (test) => {
  const comparison = {
    labelOutput: 'decision',
    absoluteTolerance: 0.5,
    harmLimit: '1%',
    safetyLimit: '2.5%',
    alpha: '0.1%',
    noiseFloor: '20%',
    redact: ['name', 'address'],
  };
  test.match(compile({ comparison }).mesh!.models[0]!.comparison, {
    labelOutput: 'decision',
    absoluteTolerance: 0.5,
    harmLimit: 0.01,
    safetyLimit: 0.025,
    alpha: 0.001,
    noiseFloorHundredths: 2000,
    redact: ['name', 'address'],
  });
});

t.test('a pin names a cluster that a share or shadow makes too', async (test) => {
  const { mesh, mistakes } = compile({
    shadows: [{ model: 'm@2' }],
    pins: [{ header: 'X-Tester', value: 'yes', model: 'm@2' }],
  });
  test.equal(mistakes, '');
  const [model] = mesh!.models;
  test.same(model!.pins, [{ header: 'x-tester', value: 'yes', cluster: model!.shadows[0]!.cluster }]);
});

t.test('all mistakes are told at once', async (test) => {
  const { mesh, mistakes } = compile({
    comparison: { harmLimit: '5%', safetyLimit: '5%', relativeTolerance: -1 },
    sticky: { header: 'x-a', input: 'b' },
    pins: [{ header: 'x-tester' }, { header: 'x-tester', cluster: 'nobody' }],
  });
  test.equal(mesh, null);
  const parts = ['comparison.relativeTolerance', 'sticky', 'pins[0]', 'pins[1].cluster'];
  for (const part of parts) test.ok(mistakes.includes(`models[0].${part}`), `${part} in\n${mistakes}`);
  test.match(compile({ comparison: { harmLimit: '5%', safetyLimit: '5%' } }).mistakes, /safetyLimit.*harm limit/s);
  test.match(compile({ sticky: {} }).mistakes, /exactly one of the keys header and input/);
});

t.test('declared outputs switch the check on unless it is switched off, and what cannot be is told', async (test) => {
  const outputs = [{ name: 'y', dtype: 'FP32', shape: [-1, 2], min: 0, max: 1, required: true }, { name: 'z' }];
  const [model] = compile({ outputs }).mesh!.models;
  test.equal(model!.checkOutputs, true);
  test.same(model!.outputs, [
    { name: 'y', dtype: 1, shape: [-1, 2], min: 0, max: 1, required: true },
    { name: 'z', dtype: 0, shape: null, min: null, max: null, required: false },
  ]);
  test.equal(compile({}).mesh!.models[0]!.checkOutputs, false);
  test.equal(compile({ outputs, checkOutputs: false }).mesh!.models[0]!.checkOutputs, false);
  const { mistakes } = compile({
    outputs: [{ name: 'y', min: 2, max: 1 }, { name: 'y' }, { name: 'b', dtype: 'BYTES', max: 1 }],
  });
  for (const part of ['outputs[0].max', 'outputs[1].name', 'outputs[2]']) {
    test.ok(mistakes.includes(`models[0].${part}`), `${part} in\n${mistakes}`);
  }
  test.match(compile({ outputs: [{ name: 'y', dtype: 'FLOAT' }] }).mistakes, /FP32/);
  test.match(compile({ outputs: [{ name: 'y', shape: [-2] }] }).mistakes, /at least -1/);
});
