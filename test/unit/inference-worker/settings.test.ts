import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readSettings, type WorkerSettings } from '../../../inference-worker/settings.ts';

function settingsOf(...argv: string[]): WorkerSettings {
  const result = readSettings(argv, {});
  if (result.kind !== 'settings') throw new Error(JSON.stringify(result));
  return result.settings;
}

function mistakesOf(...argv: string[]): readonly string[] {
  const result = readSettings(argv, {});
  return result.kind === 'mistakes' ? result.problems : [];
}

t.test('the command line of tensorflow_model_server is understood', async (t) => {
  const { groups, serving } = settingsOf('--port=8500', '--model_name=m', '--model_base_path=/models/m');
  t.match(groups, [
    { name: 'default', addresses: [{ kind: 'tcp', port: 8500 }], models: [{ name: 'm', basePath: '/models/m' }] },
  ]);
  t.match(serving, {
    pollMs: 1000,
    maxLoadRetries: 5,
    loadRetryMs: 60_000,
    batching: { maxBatchSize: 64, place: 'auto' },
  });
});

t.test('a socket path comes beside the port and instead of port 0', async (t) => {
  const base = ['--model_base_path=/m', '--grpc_socket_path=/run/w.sock'];
  t.equal(settingsOf(...base).groups[0]?.addresses.length, 2);
  t.same(settingsOf(...base, '--port=0').groups[0]?.addresses, [{ kind: 'unix', path: '/run/w.sock' }]);
});

t.test('the mode of Unix sockets is octal', async (t) => {
  t.equal(settingsOf('--model_base_path=/m').serving.socketMode, 0o660);
  t.equal(settingsOf('--model_base_path=/m', '--socket_mode=600').serving.socketMode, 0o600);
  t.equal(mistakesOf('--model_base_path=/m', '--socket_mode=0888').length, 1);
});

t.test('batching flags are checked together', async (t) => {
  t.match(settingsOf('--model_base_path=/m', '--max_batch_size=8', '--allowed_batch_sizes=2,8').serving.batching, {
    maxBatchSize: 8,
    allowedBatchSizes: [2, 8],
  });
  t.match(mistakesOf('--model_base_path=/m', '--allowed_batch_sizes=2,8'), [
    /last entry to equal maxBatchSize 64, got 8/,
  ]);
});

t.test('every mistake is reported in one start', async (t) => {
  const problems = mistakesOf('--port=99999', '--model_name=m', '--model=broken', '--batching_place=moon', '--what');
  t.equal(problems.length, 5, problems.join('\n'));
});

t.test('nothing to serve, a name twice and contradictions are mistakes', async (t) => {
  t.match(mistakesOf(), [/^no model/]);
  t.match(mistakesOf('--model=a:/x', '--model=a:/y'), ['model a is configured twice']);
  t.match(mistakesOf('--model=a:/x', '--group=g:/s:a', '--port=1'), [/^--port/]);
  t.match(mistakesOf('--model_config_file=/nonexistent', '--model_base_path=/x'), [/cannot be combined/, /ENOENT/]);
});

t.test('a configuration file names models, policies and labels', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-config-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, 'models.config');
  writeFileSync(file, 'model_config_list { config { name: "m" base_path: "/m" model_version_policy { all {} } } }');
  t.match(settingsOf(`--model_config_file=${file}`).groups[0]?.models, [{ name: 'm', policy: { kind: 'all' } }]);
  writeFileSync(file, 'model_config_list { config { name: "m" } }');
  t.match(mistakesOf(`--model_config_file=${file}`), [/model m has no base_path/]);
});

t.test('policies on the command line override the default policy', async (t) => {
  const { groups } = settingsOf('--version_policy=all', '--model=a:/a', '--model=b@1+2:/b');
  t.match(groups[0]?.models, [{ policy: { kind: 'all' } }, { policy: { kind: 'specific', versions: [1n, 2n] } }]);
});

t.test('settings survive the way to another process', async (t) => {
  const settings = settingsOf('--model_repository=/models', '--group=g:/s.sock:m@1');
  t.same(structuredClone(settings), settings);
});
