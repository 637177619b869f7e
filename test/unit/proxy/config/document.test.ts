import fc from 'fast-check';
import t from 'tap';
import { MAX_DOCUMENT_BYTES, parseDocument } from '../../../../proxy/config/document.ts';
import type { ConfigDocument } from '../../../../proxy/config/document-fields.ts';
import { formatProblem, ProblemList } from '../../../../proxy/config/problem.ts';
import { runs } from '../../../support/fuzz-runs.ts';

function read(text: string): { document: ConfigDocument | null; mistakes: string[] } {
  const problems = new ProblemList();
  const document = parseDocument(text, problems);
  return { document, mistakes: problems.problems.map(formatProblem) };
}

t.test('an empty mapping is a document that says nothing', async (t) => {
  const { document, mistakes } = read('{}');
  t.same(mistakes, []);
  t.same(document!.models, []);
  t.equal(document!.defaults.breaker.window, 10_000);
  t.equal(document!.passthrough, null);
});

t.test('an empty file is a mistake, since it is more often a write that has not finished', async (t) => {
  for (const text of ['', '\n', '# nothing', '---']) t.match(read(text).mistakes, [/write \{\}/], JSON.stringify(text));
  for (const text of ['5', '[1]', 'text', 'true']) t.match(read(text).mistakes, [/expected a mapping/], text);
});

t.test('YAML and JSON read the same', async (t) => {
  const yaml = 'models:\n  - name: m\n    split:\n      - {model: m@1, weight: 100%}\n    checkOutputs: true\n';
  const json = '{"models":[{"name":"m","split":[{"model":"m@1","weight":"100%"}],"checkOutputs":true}]}';
  t.same(read(yaml), read(json));
  t.same(read(yaml).mistakes, []);
});

t.test('a version keeps all its digits, quoted or not', async (t) => {
  for (const text of ['9223372036854775807', '"9223372036854775807"']) {
    const { document } = read(`clusters: [{name: a, model: a, version: ${text}}]`);
    t.equal(document!.clusters[0]!.version, '9223372036854775807');
  }
  for (const text of ['9223372036854775808', '-1', '1.5', 'latest', '[1]', 'true']) {
    t.match(read(`clusters: [{name: a, model: a, version: ${text}}]`).mistakes, [
      /clusters\[0\]\.version .*expected a version/,
    ]);
  }
});

t.test('an unknown key is named with its path, line and nearest known key', async (t) => {
  const { mistakes } = read(
    'models:\n  - name: m\n    split: [{model: m@1}]\n    fallback:\n      - model: a\n      - clustr: b\n',
  );
  t.same(mistakes, ['models[0].fallback[1].clustr (line 6): expected a known key; did you mean cluster?']);
  t.match(read('modles: []').mistakes, [/modles \(line 1\): expected a known key; did you mean models\?/]);
  t.match(read('__proto__: {a: 1}\n').mistakes, [/__proto__/]);
  t.match(read('? [a]\n: 1\n').mistakes.length, 1);
  t.match(read('banana: 1').mistakes, [
    /known keys are defaults, clusters, models, pipelines, routes, rateLimits, faults, passthrough/,
  ]);
});

t.test('all mistakes are reported together', async (t) => {
  const { mistakes } = read(`
defaults:
  breaker: {window: 10, errorPercent: 50, minimumRequests: 0, enabled: maybe}
  timeouts: 5s
clusters: nothing
models:
  - split: {model: m}
  - name: m
    shadows: [{model: m@2, percent: 101%, maxSize: 1B}]
    fallbackStatuses: [UNAVAILABLE, TEAPOT]
    cohort: {header: "a b", buckets: [x], maxCohorts: 0, names: {a: [1]}}
    sticky: {header: "a b"}
`);
  const paths = mistakes.map((line) => line.split(' ')[0]);
  for (const path of [
    'defaults.breaker.window',
    'defaults.breaker.errorPercent',
    'defaults.breaker.minimumRequests',
    'defaults.breaker.enabled',
    'defaults.timeouts',
    'clusters',
    'models[0].name',
    'models[0].split',
    'models[1].shadows[0].percent',
    'models[1].shadows[0].maxSize',
    'models[1].fallbackStatuses[1]',
    'models[1].cohort.header',
    'models[1].cohort.buckets[0]',
    'models[1].cohort.maxCohorts',
    'models[1].cohort.names.a',
    'models[1].sticky.header',
  ]) {
    t.ok(paths.includes(path), path);
  }
  t.equal(mistakes.length, 16);
});

t.test('text that is no YAML is refused with its line, and a repeated key with it', async (t) => {
  t.match(read('models: [').mistakes, [/document \(line 1, column/]);
  t.match(read('models: []\nmodels: []\n').mistakes, [/line 2.*duplicate_key/]);
  t.match(read('a: 1\n---\nb: 2\n').mistakes[0], 'well-formed YAML');
  t.match(read('models: !!js/function x').mistakes[0], 'well-formed YAML');
  t.match(read('models: *gone').mistakes.length, 1);
});

t.test('a document cannot make the reader grow without bound', async (t) => {
  t.match(read(`# ${'x'.repeat(MAX_DOCUMENT_BYTES)}`).mistakes, [/at most 1048576 bytes/]);
  const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]'];
  for (let i = 0; i < 9; i++) bomb.push(`b${i}: &b${i} [${Array(9).fill(i === 0 ? '*a' : `*b${i - 1}`)}]`);
  t.match(read(bomb.join('\n')).mistakes[0], 'aliases');
  t.ok(read(`models: ${'['.repeat(100_000)}`).mistakes.length > 0);
  t.match(read(`models: [${Array(257).fill('{name: m}')}]`).mistakes[0], 'at most 256 items');
  t.equal(read(`models: [${Array(256).fill('{nme: m}')}]`).mistakes.length, ProblemList.MAX_PROBLEMS);
});

t.test('names of cohorts keep numbers and words as text', async (t) => {
  const { document } = read('models: [{name: m, cohort: {input: job, names: {1: freelancer, true: yes, x: 5}}}]');
  t.same(document!.models[0]!.cohort!.names, { 1: 'freelancer', true: 'yes', x: '5' });
});

t.test('no text makes the reader throw', async () => {
  const words = [
    'models',
    'clusters',
    'name',
    ': ',
    '\n',
    '  ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    ',',
    'm@1',
    '"',
    "'",
    '&a',
    '*a',
    '5%',
    '|',
    '#',
    '!!',
    '? ',
  ];
  const texts = fc.oneof(
    fc.array(fc.constantFrom(...words), { maxLength: 25 }).map((parts) => parts.join('')),
    fc.jsonValue().map((value) => JSON.stringify(value)),
    fc.string({ maxLength: 60 }),
  );
  fc.assert(
    fc.property(texts, (text) => {
      read(text);
    }),
    { numRuns: runs(1000) },
  );
});
