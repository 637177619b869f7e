import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readSettings, type WorkerSettings } from '../../../inference-worker/settings.ts';
import { TestAuthority } from '../../support/certificates.ts';

function settingsOf(...argv: string[]): WorkerSettings {
  const result = readSettings(argv, {});
  if (result.kind !== 'settings') throw new Error(JSON.stringify(result));
  return result.settings;
}

function mistakesOf(...argv: string[]): readonly string[] {
  const result = readSettings(argv, {});
  return result.kind === 'mistakes' ? result.problems : [];
}

const directory = mkdtempSync(join(tmpdir(), 'understudy-settings-'));
t.teardown(() => rmSync(directory, { recursive: true, force: true }));
let files = 0;

/** The path of a file with this text. */
function written(text: string): string {
  const path = join(directory, `file-${++files}`);
  writeFileSync(path, text);
  return path;
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
  t.match(mistakesOf('--model_config_file=/nonexistent'), [/ENOENT/]);
  t.match(mistakesOf('--model=a:/x', '--group=g:/s:a', '--rest_api_port=1'), [/^--rest_api_port/]);
});

t.test('flags that others take the meaning from are mistakes, all told at once', async (t) => {
  const off = mistakesOf(
    ...['--model_base_path=/m', '--enable_batching=false', '--max_batch_size=8', '--allowed_batch_sizes=4,8'],
    ...['--batch_timeout_micros=1', '--enable_large_batch_splitting', '--enable_per_model_batching_parameters'],
    ...['--pad_variable_length_inputs=false', '--batching_place=front', '--num_batch_threads=2'],
    ...['--port=8500', '--metrics_port=8500', '--use_alts_credentials', '--platform_config_file=x'],
  );
  t.equal(off.length, 9, off.join('\n'));
  for (const name of ['max_batch_size', 'allowed_batch_sizes', 'enable_per_model_batching_parameters']) {
    t.ok(off.includes(`--${name}: cannot be combined with --enable_batching=false`), name);
  }
  t.match(off.join('\n'), /^--use_alts_credentials: expected false: .*--ssl_config_file/m);
  t.match(mistakesOf('--model_base_path=/m', '--max_execution_batch_size=8'), [/needs --enable_large_batch_splitting/]);
  t.match(mistakesOf('--model_base_path=/m', '--rest_api_port=9', '--metrics_port=9'), [/^--metrics_port: expected/]);
  t.same(mistakesOf('--model_base_path=/m', '--use_alts_credentials=false', '--platform_config_file='), []);
});

t.test('TLS without a port to be on is a mistake', async (t) => {
  const { key, cert } = new TestAuthority().issue({ names: ['localhost'] });
  const file = written(`server_key: ${JSON.stringify(key)} server_cert: ${JSON.stringify(cert)}`);
  const args = ['--model_base_path=/m', `--ssl_config_file=${file}`];
  t.same(mistakesOf(...args), []);
  t.match(mistakesOf(...args, '--port=0', '--grpc_socket_path=/run/w.sock'), [/^--ssl_config_file: needs a gRPC port/]);
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

t.test("what tensorflow_model_server's container image gives beside a configuration file does not count", async (t) => {
  const file = written('model_config_list { config { name: "m" base_path: "/m" } }');
  const { groups, notes } = settingsOf(`--model_config_file=${file}`, '--model_name=model', '--model_base_path=/x');
  t.same(
    groups[0]?.models.map(({ name }) => name),
    ['m'],
  );
  t.same(notes, [
    '--model_name does not count beside --model_config_file',
    '--model_base_path does not count beside --model_config_file',
  ]);
  t.match(groups[0]?.configFile, { path: file, fixed: [], only: null });
});

t.test('defaults are those of tensorflow_model_server but for REST, batching and health', async (t) => {
  const { groups, serving } = settingsOf('--model_base_path=/m');
  t.match(groups[0]?.addresses, [{ port: 8500 }]);
  t.match(groups[0]?.restAddresses, [{ port: 8501 }]);
  t.match(serving, {
    rest: { timeoutMs: 30_000, enableCors: false },
    monitoring: { enabled: false, path: '/monitoring/prometheus/metrics' },
    tls: null,
    healthService: true,
    serializeAsTensorContent: false,
    warmUp: true,
    warmUpIterations: 1,
    perModelBatching: false,
    allowLabelsForUnavailable: false,
    configPollMs: 0,
  });
});

t.test('REST has a port of its own only where there is a fixed one or it is asked for', async (t) => {
  const rest = (...argv: string[]) => settingsOf('--model_base_path=/m', ...argv).groups[0]?.restAddresses;
  t.same(rest('--port=0'), []);
  t.same(rest('--rest_api_port=0'), []);
  t.same(rest('--port=8500', '--rest_api_port=8500'), [], 'one port answers both');
  t.match(rest('--port=0', '--rest_api_port=9000'), [{ port: 9000 }]);
});

t.test('flags that tune TensorFlow alone are taken, and said to have no effect', async (t) => {
  const { notes } = settingsOf(
    '--model_base_path=/m',
    '--tensorflow_session_parallelism=4',
    '--flush_filesystem_caches=false',
    '--enable_profiler',
    '--grpc_channel_arguments=grpc.max_concurrent_streams=100,grpc.max_connection_age_ms=2000',
  );
  t.same(notes, [
    '--flush_filesystem_caches has no effect here',
    '--tensorflow_session_parallelism has no effect here',
    '--enable_profiler has no effect here',
    '--grpc_channel_arguments: grpc.max_connection_age_ms has no effect here',
  ]);
});

t.test('channel arguments bound streams and messages', async (t) => {
  const serving = (argument: string) =>
    settingsOf('--model_base_path=/m', `--grpc_channel_arguments=${argument}`).serving;
  t.equal(serving('grpc.max_concurrent_streams=100').maxConcurrentStreams, 100);
  t.equal(serving('grpc.max_receive_message_length=1000').maxMessageBytes, 1000);
  t.match(mistakesOf('--model_base_path=/m', '--grpc_channel_arguments=grpc.max_concurrent_streams=x,y'), [
    /^--grpc_channel_arguments: expected/,
  ]);
});

t.test('a batching file is read with the defaults of TensorFlow Serving', async (t) => {
  const file = written(`max_batch_size { value: 128 } batch_timeout_micros { value: 500 }
    max_enqueued_batches { value: 7 } thread_pool_name { value: "pool" }
    allowed_batch_sizes: 32 allowed_batch_sizes: 128 pad_variable_length_inputs: true`);
  const { batching } = settingsOf('--model_base_path=/m', `--batching_parameters_file=${file}`).serving;
  t.match(batching, {
    maxBatchSize: 128,
    batchTimeoutMicros: 500,
    maxEnqueuedBatches: 7,
    allowedBatchSizes: [32, 128],
    padVariableLengthInputs: true,
    splitLargeBatches: false,
    maxExecutionBatchSize: 128,
  });
  const empty = settingsOf('--model_base_path=/m', `--batching_parameters_file=${written('')}`).serving.batching;
  t.match(empty, { maxBatchSize: 1000, batchTimeoutMicros: 0, maxEnqueuedBatches: 10, allowedBatchSizes: [] });
});

t.test('every mistake in a file is reported, and so is what contradicts it', async (t) => {
  const file = written('max_batch_size { value: 0 } speed: 3\nallowed_batch_sizes: big');
  const problems = mistakesOf(
    '--model_base_path=/m',
    `--batching_parameters_file=${file}`,
    '--max_batch_size=8',
    '--enable_batching=false',
  );
  t.equal(problems.length, 6, problems.join('\n'));
  t.match(problems, [
    /^--max_batch_size: cannot be combined with --enable_batching=false/,
    /^--batching_parameters_file: cannot be combined with --enable_batching=false/,
    /^--max_batch_size: cannot be combined with --batching_parameters_file/,
    /line 1: max_batch_size: expected a whole number from 1/,
    /line 1: speed: unknown, expected max_batch_size/,
    /line 2: allowed_batch_sizes: expected a whole number/,
  ]);
  const last = written('max_batch_size { value: 8 } allowed_batch_sizes: 4');
  t.match(mistakesOf('--model_base_path=/m', `--batching_parameters_file=${last}`), [
    /last entry to equal maxBatchSize 8, got 4/,
  ]);
});

t.test('a monitoring file turns metrics on at its path', async (t) => {
  const file = written('prometheus_config { enable: true, path: "/metrics/tfs" }');
  const { monitoring } = settingsOf('--model_base_path=/m', `--monitoring_config_file=${file}`).serving;
  t.same(monitoring, { enabled: true, path: '/metrics/tfs' });
  const on = written('prometheus_config { enable: true }');
  t.same(settingsOf('--model_base_path=/m', `--monitoring_config_file=${on}`).serving.monitoring, {
    enabled: true,
    path: '/monitoring/prometheus/metrics',
  });
  const bad = written('prometheus_config { enable: maybe path: "metrics" }');
  t.equal(mistakesOf('--model_base_path=/m', `--monitoring_config_file=${bad}`).length, 2);
});

t.test('an SSL file without a usable key is refused without showing it', async (t) => {
  const file = written('server_key: "-----BEGIN PRIVATE KEY-----secret" server_cert: "-----BEGIN CERTIFICATE-----x"');
  const problems = mistakesOf('--model_base_path=/m', `--ssl_config_file=${file}`);
  t.match(problems, [/server_key: expected PEM/, /server_cert: expected PEM/]);
  t.notMatch(problems.join(), /secret/);
});

t.test('policies on the command line override the default policy', async (t) => {
  const { groups } = settingsOf('--version_policy=all', '--model=a:/a', '--model=b@1+2:/b');
  t.match(groups[0]?.models, [{ policy: { kind: 'all' } }, { policy: { kind: 'specific', versions: [1n, 2n] } }]);
});

t.test('settings survive the way to another process', async (t) => {
  const settings = settingsOf('--model_repository=/models', '--group=g:/s.sock:m@1');
  t.same(structuredClone(settings), settings);
});

t.test('adaptive batching is on, bounded by the flags, and has a goal where one is given', async (t) => {
  t.match(settingsOf('--model_base_path=/m').serving.batching, {
    adaptive: true,
    latencyObjectiveMs: 0,
    batchTimeoutMicros: 5_000,
    padVariableLengthInputs: false,
    splitLargeBatches: false,
  });
  const flags = [
    '--latency_objective_ms=50',
    '--batch_timeout_micros=700',
    '--pad_variable_length_inputs',
    '--enable_large_batch_splitting',
    '--max_execution_batch_size=16',
  ];
  t.match(settingsOf('--model_base_path=/m', ...flags).serving.batching, {
    adaptive: true,
    latencyObjectiveMs: 50,
    batchTimeoutMicros: 700,
    padVariableLengthInputs: true,
    splitLargeBatches: true,
    maxExecutionBatchSize: 16,
  });
  t.match(settingsOf('--model_base_path=/m', '--enable_adaptive_batching=false').serving.batching, { adaptive: false });
});

t.test('providers, devices and threads are read, and what the binding would ignore is a mistake', async (t) => {
  const flags = [
    '--execution_providers=cuda,webgpu,cpu',
    '--execution_provider_option=cuda:deviceId=0+1',
    '--execution_provider_option=webgpu:preferredLayout=NHWC',
    '--num_batch_threads=4',
    '--intra_op_threads=2',
    '--graph_optimization_level=basic',
    '--session_config=session.set_denormal_as_zero=1',
  ];
  const { execution, batching } = settingsOf('--model_base_path=/m', ...flags).serving;
  t.match(execution, {
    providers: [
      { name: 'cuda', deviceIds: [0, 1] },
      { name: 'webgpu', options: { preferredLayout: 'NHWC' } },
      { name: 'cpu' },
    ],
    intraOpThreads: 2,
    graphOptimizationLevel: 'basic',
    extra: { 'session.set_denormal_as_zero': '1' },
  });
  t.equal(batching.threads, 4);
  const mistakes = mistakesOf(
    '--model_base_path=/m',
    '--execution_providers=cpu,tpu',
    '--execution_provider_option=cuda:gpu_mem_limit=1',
    '--session_config=novalue',
  );
  t.equal(mistakes.length, 3, mistakes.join('\n'));
  t.match(mistakes.join('\n'), /tensorrt, cuda, webgpu, cpu/);
  t.match(mistakes.join('\n'), /an option the binding passes to cuda: deviceId/);
});
