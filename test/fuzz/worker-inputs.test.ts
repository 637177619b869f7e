/**
 * What the worker reads from callers and from disk, fuzzed: tf.Examples, model configurations as message and as text,
 * signature files and model cards. Well-formed input comes back as an independent codec sees it; no input makes a reader
 * throw anything but its own error.
 */
import fc from 'fast-check';
import t from 'tap';
import { type Example, type Feature, readInput } from '../../inference-worker/api/examples/example-message.ts';
import { readExampleRequest, readMultiInferenceRequest } from '../../inference-worker/api/examples/example-methods.ts';
import { readServerConfig, serverConfigMessage } from '../../inference-worker/api/model-config-message.ts';
import { parseBatchingParameters } from '../../inference-worker/config/batching-parameters.ts';
import { parseMonitoringConfig } from '../../inference-worker/config/monitoring-config.ts';
import { parseModelCard } from '../../inference-worker/repository/model-card.ts';
import { parseModelConfigFile } from '../../inference-worker/repository/model-config-file.ts';
import { parseTextProto, TextProtoError } from '../../inference-worker/repository/text-proto.ts';
import type { VersionPolicy } from '../../inference-worker/repository/version-policy.ts';
import { parseSignatureFile } from '../../inference-worker/session/signature-file.ts';
import { MessageFields } from '../../proto/tensor/message-fields.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import { runs } from '../support/fuzz-runs.ts';
import { decodeMessage, encodeMessage } from '../support/proto-codecs.ts';

const fieldsOf = (buf: Buffer) => new MessageFields(buf, 0, buf.length, 'message');
const name = fc.string({ unit: 'grapheme', maxLength: 6 });
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

const feature: fc.Arbitrary<Feature> = fc.oneof(
  fc.array(fc.uint8Array({ maxLength: 5 }), { maxLength: 4 }).map((values): Feature => {
    return { kind: 'bytes', values: values.map((bytes) => Buffer.from(bytes)) };
  }),
  fc.array(fc.float({ noNaN: true }), { maxLength: 4 }).map((values): Feature => ({ kind: 'float', values })),
  fc.array(int64, { maxLength: 4 }).map((values): Feature => ({ kind: 'int64', values })),
);
const example = fc.dictionary(name, feature, { maxKeys: 4, noNullPrototype: true });

function exampleMessage(features: Record<string, Feature>): object {
  const entries = Object.entries(features).map(([key, { kind, values }]) => {
    const list = kind === 'int64' ? values.map(String) : values;
    return [key, { [`${kind}_list`]: { value: list } }];
  });
  return { features: { feature: Object.fromEntries(entries) } };
}

const asMap = (features: Record<string, Feature>): Example => new Map(Object.entries(features));

t.test('examples come back as they were encoded, with the features of the context they lack', async (t) => {
  fc.assert(
    fc.property(fc.array(example, { maxLength: 4 }), fc.option(example), (examples, context) => {
      const list = { examples: examples.map(exampleMessage) };
      const input =
        context === null
          ? { example_list: list }
          : { example_list_with_context: { ...list, context: exampleMessage(context) } };
      const read = readInput(fieldsOf(encodeMessage('tensorflow.serving.Input', input)));
      const expected = examples.map((own) => asMap({ ...context, ...own }));
      return t.same(read, expected) || t.bailout();
    }),
    { numRuns: runs(200) },
  );
});

const policy: fc.Arbitrary<VersionPolicy> = fc.oneof(
  fc.constant<VersionPolicy>({ kind: 'all' }),
  fc.integer({ min: 1, max: 1000 }).map((count): VersionPolicy => ({ kind: 'latest', count })),
  fc.uniqueArray(int64, { maxLength: 4 }).map((versions): VersionPolicy => ({ kind: 'specific', versions })),
);
const config = fc.record({
  name,
  basePath: name,
  platform: fc.constantFrom('onnx', 'tensorflow'),
  policy,
  labels: fc.dictionary(name, int64, { maxKeys: 3, noNullPrototype: true }).map((map) => new Map(Object.entries(map))),
});

t.test('configurations survive being written, decoded by another codec, encoded by it, and read', async (t) => {
  fc.assert(
    fc.property(fc.array(config, { maxLength: 3 }), (models) => {
      const type = 'tensorflow.serving.ModelServerConfig';
      const again = encodeMessage(type, decodeMessage(type, serverConfigMessage(models).finish()));
      return t.same(readServerConfig(fieldsOf(again)), models) || t.bailout();
    }),
    { numRuns: runs(100) },
  );
});

/** Bytes that are a message but for a few changes, and bytes that never were one. */
const almost = (whole: Buffer): fc.Arbitrary<Buffer> =>
  fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 4 }).map((changes) => {
      const changed = Buffer.from(whole);
      for (const [at, value] of changes) changed[at] = value;
      return changed;
    }),
    fc.nat(whole.length).map((length) => whole.subarray(0, length)),
  );

t.test('no bytes make a reader of messages throw anything but a WireError', async () => {
  const spec = { name: 'm', version: { value: 3 }, signature_name: 's' };
  const input = { example_list: { examples: [exampleMessage({ a: { kind: 'float', values: [1, 2] } })] } };
  const readers: [(fields: MessageFields) => unknown, Buffer][] = [
    [readExampleRequest, encodeMessage('tensorflow.serving.ClassificationRequest', { model_spec: spec, input })],
    [
      readMultiInferenceRequest,
      encodeMessage('tensorflow.serving.MultiInferenceRequest', {
        tasks: [{ model_spec: spec, method_name: 'x' }],
        input,
      }),
    ],
    [
      readServerConfig,
      encodeMessage('tensorflow.serving.ModelServerConfig', {
        model_config_list: {
          config: [
            {
              name: 'm',
              base_path: '/m',
              model_version_policy: { specific: { versions: [1, 2] } },
              version_labels: { a: 1 },
            },
          ],
        },
      }),
    ],
  ];
  for (const [read, whole] of readers) {
    fc.assert(
      fc.property(almost(whole), (bytes) => {
        try {
          read(fieldsOf(bytes));
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
        }
      }),
      { numRuns: runs(500) },
    );
  }
});

interface Tree {
  readonly name: string;
  readonly value: string | readonly Tree[];
}

const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.record({
    name: fc.stringMatching(/^[a-z][a-z_0-9]{0,8}$/),
    value: fc.oneof(
      { depthSize: 'small' },
      fc.string({ unit: 'grapheme', maxLength: 8 }),
      fc.array(tie('tree'), { maxLength: 3 }) as fc.Arbitrary<readonly Tree[]>,
    ),
  }),
}));

/** Every character as the escaped bytes of its UTF-8, which any reader of the format must undo. */
function written({ name: field, value }: Tree): string {
  if (typeof value !== 'string') return `${field} { ${value.map(written).join('\n')} }`;
  const escaped = [...Buffer.from(value)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
  return `${field}: "${escaped}"`;
}

t.test('text-format trees come back as they were written', async (t) => {
  const shape = ({ name: field, value }: ReturnType<typeof parseTextProto>['fields'][number]): Tree => ({
    name: field,
    value: value.kind === 'scalar' ? value.text : value.fields.map(shape),
  });
  fc.assert(
    fc.property(fc.array(tree, { maxLength: 4 }), (trees) => {
      const read = parseTextProto(trees.map(written).join(' # comment\n')).fields.map(shape);
      return t.same(read, trees) || t.bailout();
    }),
    { numRuns: runs(100) },
  );
});

t.test('no text makes a reader of files throw', async () => {
  const piece = fc.constantFrom(
    ...[
      '{',
      '}',
      ':',
      '"',
      "'",
      '\\',
      '\\x',
      '\\8',
      '[',
      ']',
      ',',
      '<',
      '>',
      '#',
      '\n',
      ' ',
      '-',
      '1',
      '*a',
      '&a',
      '!!',
      '|',
    ],
    ...['config', 'model_config_list', 'signatures', 'metrics', 'max_batch_size', 'value', 'prometheus_config', 'ü'],
  );
  const text = fc.oneof(
    fc.string({ maxLength: 60 }),
    fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join('')),
  );
  fc.assert(
    fc.property(text, (some) => {
      parseModelConfigFile(some);
      parseBatchingParameters(some);
      parseMonitoringConfig(some);
      parseSignatureFile(some);
      parseModelCard(some);
      try {
        parseTextProto(some);
      } catch (error) {
        if (!(error instanceof TextProtoError)) throw error;
      }
    }),
    { numRuns: runs(2000) },
  );
});
