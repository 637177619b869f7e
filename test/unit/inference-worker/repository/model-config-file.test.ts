import fc from 'fast-check';
import t from 'tap';
import { parseModelConfigFile } from '../../../../inference-worker/repository/model-config-file.ts';
import { parseTextProto, TextProtoError } from '../../../../inference-worker/repository/text-proto.ts';
import { runs } from '../../../support/fuzz-runs.ts';

t.test('a configuration in every spelling of the text format is read', async (t) => {
  const { models, problems } = parseModelConfigFile(`
    # two models
    model_config_list: {
      config: {
        name: 'first', base_path: "/models/" "first"; model_platform: "tensorflow"
        model_version_policy { specific { versions: [1, 42] versions: 7 } }
        version_labels { key: "stable" value: 42 }
        version_labels < key: "canary", value: 7 >
      }
      config { name: "second" base_path: "/models/second" model_version_policy { latest { num_versions: 2 } } }
    }`);
  t.same(problems, []);
  t.match(models, [
    { name: 'first', basePath: '/models/first', policy: { kind: 'specific', versions: [1n, 42n, 7n] } },
    { name: 'second', policy: { kind: 'latest', count: 2 } },
  ]);
  t.same(
    [...(models[0]?.labels ?? [])],
    [
      ['stable', 42n],
      ['canary', 7n],
    ],
  );
});

t.test('an empty file names no models and is no mistake', async (t) => {
  t.same(parseModelConfigFile(' # nothing \n'), { models: [], problems: [] });
});

t.test('mistakes come together with their lines', async (t) => {
  const { problems } = parseModelConfigFile(`model_config_list {
    config { name: "m" base_path: "/m" model_platform: "caffe" }
    config { base_path: "/n" colour: "red" model_version_policy { newest {} } }
    config { name: "o" base_path: "/o" version_labels { key: "x" } model_version_policy { latest { num_versions: 0 } } }
  }`);
  t.equal(problems.length, 6, problems.join('\n'));
  t.match(problems[0], /^line 2: model_platform/);
});

t.test('text that is not in the format is refused with its line', async (t) => {
  for (const text of [
    'a',
    'a {',
    'a: {} }',
    'a: "x',
    'a: \n"\\q"',
    'a: [1, 2',
    '{',
    'a b',
    '"x": 1',
    `${'a{'.repeat(40)}`,
  ]) {
    t.throws(() => parseTextProto(text), TextProtoError, text);
  }
});

t.test('no text makes the reader throw anything else', async () => {
  const piece = fc.constantFrom(
    'a',
    ':',
    '{',
    '}',
    '<',
    '>',
    '[',
    ']',
    '"s"',
    ',',
    ';',
    '#',
    '\n',
    ' ',
    '1',
    '\\',
    "'",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      parseModelConfigFile(pieces.join(''));
    }),
    { numRuns: runs(500) },
  );
});
