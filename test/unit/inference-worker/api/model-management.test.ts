/** Changing what is served while serving, through grpc-js over a repository on disk. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { ModelFolder, scaleModel } from '../../../support/model-folder.ts';
import { encodeMessage } from '../../../support/proto-codecs.ts';
import { configured, serveRepository } from '../../../support/repository-front.ts';
import { tfRecord } from '../../../support/tf-record-writer.ts';
import { floats, modelSpec, type TfsClient } from '../../../support/tfs-client.ts';

const MODEL_SERVICE = 'tensorflow.serving.ModelService';
const ADMIN = 'understudy.worker.v1.WorkerAdmin';
const x = floats([1, 2], [1, 10]);

const answer = async (client: TfsClient, spec: object): Promise<number[]> =>
  (await client.predict({ model_spec: spec, inputs: { x } })).outputs.y.float_val;

const reload = (client: TfsClient, ...config: object[]) =>
  client.unary(MODEL_SERVICE, 'HandleReloadConfigRequest', { config: { model_config_list: { config } } });

function folderWith(...models: string[]): ModelFolder {
  const folder = new ModelFolder();
  for (const name of models) folder.put(name, 1, scaleModel(1));
  return folder;
}

t.test('a reload replaces the set and answers once the new models serve', async (t) => {
  const folder = folderWith('a', 'b');
  const { client } = await serveRepository(t, folder, [configured(folder, 'a')]);
  const b = { name: 'b', base_path: folder.at('b'), model_platform: 'tensorflow' };
  const reply = await reload(client, b);
  t.match(reply.status, { error_code: 0, error_message: '' });
  t.same(await answer(client, modelSpec('b')), [1, 10]);
  const code = status.NOT_FOUND;
  await t.rejects(answer(client, modelSpec('a')), { code, details: 'Servable not found for request: Latest(a)' });
  const { model_version_status: states } = await client.status({ model_spec: modelSpec('a') });
  t.match(states, [{ version: '1', state: 50 }], 'what became of it is still told');
  await reload(client, b, { name: 'a', base_path: folder.at('a') });
  t.same(await answer(client, modelSpec('a')), [1, 10], 'and it can come back');
});

t.test('version policies of a reload are followed', async (t) => {
  const folder = folderWith('m');
  for (const version of [2, 3]) folder.put('m', version, scaleModel(version));
  const { client } = await serveRepository(t, folder, [configured(folder, 'm')]);
  const base = { name: 'm', base_path: folder.at('m') };
  const serving = async () => {
    const { model_version_status: all } = await client.status({ model_spec: modelSpec('m') });
    return all
      .filter(({ state }: { state: number }) => state === 30)
      .map(({ version }: { version: string }) => version);
  };
  t.same(await serving(), ['3']);
  await reload(client, { ...base, model_version_policy: { all: {} } });
  t.same(await serving(), ['3', '2', '1']);
  await reload(client, { ...base, model_version_policy: { latest: { num_versions: 2 } } });
  t.same(await serving(), ['3', '2']);
  await reload(client, { ...base, model_version_policy: { specific: { versions: [1, 3] } } });
  t.same(await serving(), ['3', '1']);
  t.same(await answer(client, modelSpec('m', 1)), [1, 10]);
});

t.test('refused reloads change nothing and say why', async (t) => {
  const folder = folderWith('m');
  const { client } = await serveRepository(t, folder, [configured(folder, 'm', { platform: 'tensorflow' })]);
  const m = { name: 'm', base_path: folder.at('m'), model_platform: 'tensorflow' };
  const invalid = status.INVALID_ARGUMENT;
  const unsupported =
    'ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported';
  const custom = { config: { custom_model_config: { type_url: 'x', value: Buffer.alloc(0) } } };
  for (const request of [{}, { config: {} }, custom]) {
    const refused = client.unary(MODEL_SERVICE, 'HandleReloadConfigRequest', request);
    await t.rejects(refused, { code: invalid, details: unsupported });
  }
  await t.rejects(reload(client, { ...m, model_platform: 'onnx' }), {
    code: invalid,
    details:
      "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested is onnx",
  });
  await t.rejects(reload(client, m, m), {
    code: invalid,
    details: 'Illegal to list model m multiple times in config list',
  });
  await t.rejects(reload(client, m, { ...m, name: 'n', model_platform: 'caffe' }), {
    code: invalid,
    details: 'Model n requests unsupported platform caffe',
  });
  t.same(await answer(client, modelSpec('m')), [1, 10]);
  const failed = await reload(client, m, { name: 'none', base_path: folder.at('none') }).catch((cause) => cause);
  t.equal(failed.code, status.UNKNOWN);
  t.match(failed.details, /^1 model\(s\) did not become available: \{none: cannot read/);
  t.same(await answer(client, modelSpec('m')), [1, 10]);
});

t.test(
  'labels go to versions that serve, are moved and shared, and are never moved to one that does not',
  async (t) => {
    const folder = folderWith('m');
    folder.put('m', 2, scaleModel(2));
    const policy = { kind: 'specific', versions: [1n, 2n] } as const;
    const m = { name: 'm', base_path: folder.at('m'), model_version_policy: { specific: { versions: [1, 2] } } };
    const { client } = await serveRepository(t, folder, [configured(folder, 'm', { policy })]);
    const label = (version_label: string) => answer(client, { name: 'm', version_label });
    await reload(client, { ...m, version_labels: { stable: 1, same: 1, canary: 2 } });
    t.same(
      [await label('stable'), await label('same'), await label('canary')],
      [
        [1, 10],
        [1, 10],
        [2, 20],
      ],
    );
    await reload(client, { ...m, version_labels: { stable: 2 } });
    t.same(await label('stable'), [2, 20]);
    await t.rejects(label('canary'), {
      code: status.INVALID_ARGUMENT,
      details: 'Unrecognized servable version label: canary',
    });
    await t.rejects(reload(client, { ...m, version_labels: { stable: 7 } }), {
      code: status.FAILED_PRECONDITION,
      details: 'Request to assign label to version 7 of model m, which is not currently available for inference',
    });
    t.same(await label('stable'), [2, 20], 'labels stay as they were');
  },
);

t.test('a new label may name a version that does not serve where that is allowed', async (t) => {
  const folder = folderWith('m');
  const { client } = await serveRepository(t, folder, [configured(folder, 'm')], { allowLabelsForUnavailable: true });
  const m = { name: 'm', base_path: folder.at('m') };
  await reload(client, { ...m, version_labels: { next: 2, stable: 1 } });
  await t.rejects(answer(client, { name: 'm', version_label: 'next' }), {
    code: status.NOT_FOUND,
    details: 'Servable not found for request: Specific(m, 2)',
  });
  await t.rejects(reload(client, { ...m, version_labels: { next: 2, stable: 3 } }), {
    code: status.FAILED_PRECONDITION,
  });
});

t.test('models are added, removed and read back one by one', async (t) => {
  const folder = folderWith('a', 'b');
  const { client } = await serveRepository(t, folder, [configured(folder, 'a')]);
  const b = {
    name: 'b',
    base_path: folder.at('b'),
    model_version_policy: { specific: { versions: [1] } },
    version_labels: { stable: 1 },
  };
  await client.unary(ADMIN, 'AddModel', { config: b });
  t.same(await answer(client, { name: 'b', version_label: 'stable' }), [1, 10]);
  const { config } = await client.unary(ADMIN, 'GetConfig', {});
  t.match(config.model_config_list.config, [
    { name: 'a', base_path: folder.at('a'), model_version_policy: { latest: { num_versions: 1 } } },
    { name: 'b', model_version_policy: { specific: { versions: ['1'] } }, version_labels: { stable: '1' } },
  ]);
  await client.unary(ADMIN, 'RemoveModel', { name: 'a' });
  await t.rejects(answer(client, modelSpec('a')), { code: status.NOT_FOUND });
  t.same(await answer(client, modelSpec('b')), [1, 10]);
  await t.rejects(client.unary(ADMIN, 'AddModel', { config: b }), { code: status.ALREADY_EXISTS });
  await t.rejects(client.unary(ADMIN, 'RemoveModel', { name: 'a' }), { code: status.NOT_FOUND });
  await client.unary(MODEL_SERVICE, 'HandleReloadConfigRequest', { config });
  t.same(await answer(client, modelSpec('a')), [1, 10], 'what was read back can be given back');
});

t.test('a release is served by its number and by its name', async (t) => {
  const folder = new ModelFolder();
  folder.put('m', '1.4.0-20250405', scaleModel(3));
  folder.put('m', '1.3.9', scaleModel(2));
  folder.put('m', '5000.0.0', scaleModel(9));
  const { client, logged } = await serveRepository(t, folder, [configured(folder, 'm', { policy: { kind: 'all' } })]);
  const number = String((1n << 51n) | (4n << 39n) | 20250405n);
  t.same(await answer(client, modelSpec('m')), [3, 30], 'the highest release is the latest');
  t.same(await answer(client, modelSpec('m', number)), [3, 30]);
  t.same(await answer(client, { name: 'm', version_label: '1.4.0-20250405' }), [3, 30]);
  t.same(await answer(client, { name: 'm', version_label: '1.3.9' }), [2, 20]);
  t.match(
    logged.find(({ event }) => event === 'version_directory'),
    { warning: /5000\.0\.0 is not served: release name 5000\.0\.0: major, minor and patch go up to 4095/ },
  );
});

t.test('status calls show model.yaml, a bad one costs the card and not the version', async (t) => {
  const folder = folderWith('m');
  writeFileSync(
    folder.at('m', '1', 'model.yaml'),
    `name: ocr\nversion: v1.2.3\nframework: onnx\ntask: detection\ninput_shape: [1, 3, 640, 640]
metrics: { hmean: 0.892, precision: 0.91 }\ntrained_on: slice-42\ncreated_by: ci\ncreated_at: 2025-04-05T10:00:00Z\nstatus: staged\n`,
  );
  folder.put('bad', 1, scaleModel(1));
  writeFileSync(folder.at('bad', '1', 'model.yaml'), 'metrics: [1, 2]\n');
  const { client, logged } = await serveRepository(t, folder, [configured(folder, 'm'), configured(folder, 'bad')]);
  const {
    model_version_status: [version],
  } = await client.status({ model_spec: modelSpec('m') });
  t.match(version.model_card, {
    name: 'ocr',
    version: 'v1.2.3',
    task: 'detection',
    input_shape: ['1', '3', '640', '640'],
    metrics: { hmean: 0.892, precision: 0.91 },
    trained_on: 'slice-42',
    created_by: 'ci',
    created_at: '2025-04-05T10:00:00Z',
    status: 'staged',
  });
  const {
    model_version_status: [bad],
  } = await client.status({ model_spec: modelSpec('bad') });
  t.match([bad.state, bad.model_card], [30, null]);
  t.ok(logged.some(({ event }) => event === 'model_card_unreadable'));
});

t.test('a version whose files are not as its manifest says is refused, and served once they are', async (t) => {
  const folder = folderWith('m');
  const manifest = (bytes: Buffer) => `${createHash('sha256').update(bytes).digest('hex')}  model.onnx\n`;
  writeFileSync(folder.at('m', '1', 'manifest.sha256'), manifest(scaleModel(7)));
  const { client, repository } = await serveRepository(t, folder, [configured(folder, 'm')]);
  const {
    model_version_status: [version],
  } = await client.status({ model_spec: modelSpec('m') });
  t.match([version.state, version.status.error_code], [50, status.DATA_LOSS]);
  t.match(version.status.error_message, /model\.onnx has SHA-256/);
  writeFileSync(folder.at('m', '1', 'manifest.sha256'), manifest(scaleModel(1)));
  await repository.poll();
  await repository.whenSettled();
  t.same(await answer(client, modelSpec('m')), [1, 10]);
});

t.test('a version without a manifest is refused where one is required', async (t) => {
  const folder = folderWith('m');
  const { repository } = await serveRepository(t, folder, [configured(folder, 'm')], { requireManifest: true });
  t.match(repository.statusOf('m'), [
    { state: 'END', error: { code: status.DATA_LOSS, message: /no manifest beside/ } },
  ]);
});

t.test('batching parameters beside a model count for it, and refuse it where they cannot be used', async (t) => {
  const folder = folderWith('m', 'bad');
  writeFileSync(folder.at('m', '1', 'batching_params.pbtxt'), 'max_batch_size { value: 2 }');
  writeFileSync(folder.at('bad', '1', 'batching_params.pbtxt'), 'max_batch_size: 4 allowed_batch_sizes: 2');
  const { client, repository } = await serveRepository(t, folder, [configured(folder, 'm'), configured(folder, 'bad')]);
  const three = floats([3, 2], [1, 2, 3, 4, 5, 6]);
  await t.rejects(client.predict({ model_spec: modelSpec('m'), inputs: { x: three } }), {
    code: status.INVALID_ARGUMENT,
    details: 'Task size 3 is larger than maximum input batch size 2',
  });
  t.match(repository.statusOf('bad')?.[0]?.error?.message, /last entry to equal maxBatchSize 4, got 2/);
});

t.test('recorded requests are replayed before a version serves, and a failing one refuses it', async (t) => {
  const folder = folderWith('good', 'damaged', 'failing');
  const record = (inputs: object) =>
    tfRecord(
      encodeMessage('tensorflow.serving.PredictionLog', {
        predict_log: { request: { model_spec: { name: 'recorded elsewhere', version: { value: 9 } }, inputs } },
      }),
    );
  const put = (model: string, bytes: Buffer): void => {
    mkdirSync(folder.at(model, '1', 'assets.extra'));
    writeFileSync(folder.at(model, '1', 'assets.extra', 'tf_serving_warmup_requests'), bytes);
  };
  put('good', Buffer.concat([record({ x }), record({ x })]));
  put('damaged', record({ x }).subarray(0, -1));
  put('failing', Buffer.concat([record({ x }), record({ wrong: x })]));
  const models = ['good', 'damaged', 'failing'].map((name) => configured(folder, name));
  const { client, logged } = await serveRepository(t, folder, models);
  t.match(
    logged.find(({ event }) => event === 'servable_warmed_up'),
    { model: 'good', records: 2 },
  );
  t.same(await answer(client, modelSpec('good')), [1, 10]);
  const error = async (name: string) =>
    (await client.status({ model_spec: modelSpec(name) })).model_version_status[0].status;
  t.match(await error('damaged'), {
    error_code: status.DATA_LOSS,
    error_message: /record 0: cut short\. Please verify your warmup data is in TFRecord format\./,
  });
  t.match(await error('failing'), {
    error_code: status.INVALID_ARGUMENT,
    error_message: /record 1: Signature input alias: x\(feed name: x:0\) not found in request/,
  });
});
