/** Metrics as Prometheus scrapes them from a running worker: one port for all groups, and the port of the REST API. */
import { mkdirSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { fetch } from 'undici';
import { ModelFolder, scaleModel } from '../support/model-folder.ts';
import { encodeMessage } from '../support/proto-codecs.ts';
import { tfRecord } from '../support/tf-record-writer.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';
import { WorkerProgram } from '../support/worker-program.ts';

const folder = new ModelFolder();
folder.put('primary', 1, scaleModel(2));
folder.put('lite', 3, scaleModel(3));
t.teardown(() => folder.remove());

const x = floats([1, 2], [1, 2]);
const request = { model_spec: modelSpec('primary'), inputs: { x } };
mkdirSync(folder.at('primary', '1', 'assets.extra'));
writeFileSync(
  folder.at('primary', '1', 'assets.extra', 'tf_serving_warmup_requests'),
  tfRecord(encodeMessage('tensorflow.serving.PredictionLog', { predict_log: { request } })),
);

t.test('the metrics port tells of every group, also while one is down', async (t) => {
  const worker = await WorkerProgram.ready([
    `--model_repository=${folder.path}`,
    `--group=main:${folder.at('main.sock')}:primary`,
    `--group=fallback:${folder.at('fallback.sock')}:lite`,
    '--metrics_port=0',
  ]);
  t.teardown(() => worker.stop());
  const port = worker.events.find(({ event }) => event === 'metrics_ready')?.port;
  const scrape = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).text();
  for (const [group, model] of [
    ['main', 'primary'],
    ['fallback', 'lite'],
  ] as const) {
    const client = new TfsClient(`unix:${folder.at(`${group}.sock`)}`);
    for (let i = 0; i < 3; i++) await client.predict({ model_spec: modelSpec(model), inputs: { x } });
    client.close();
  }
  const ours = await scrape('/metrics');
  const labels = (group: string, model: string, version: string) =>
    `group="${group}",model="${model}",version="${version}",signature="serving_default",outcome="answered"`;
  t.match(ours, `understudy_task_total{${labels('main', 'primary', '1')}} 3\n`);
  t.match(ours, `understudy_task_total{${labels('fallback', 'lite', '3')}} 3\n`);
  t.match(ours, 'understudy_provider_info{group="main",provider="cpu"} 1\n');
  const theirs = await scrape('/monitoring/prometheus/metrics');
  t.match(theirs, ':tensorflow:serving:request_count{model_name="primary",status="OK"} 3\n');
  t.match(theirs, ':tensorflow:serving:request_count{model_name="lite",status="OK"} 3\n');
  const warm = `:tensorflow:serving:model_warmup_latency_count{model_path="${folder.at('primary', '1')}",status="OK"} 1\n`;
  t.ok(theirs.includes(warm), 'a warm-up is told as such, and not among the requests');
  t.match(theirs, ':tensorflow:serving:batching_session:wrapped_run_count{model_name="lite"} 3\n');
  t.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 404);

  process.kill(worker.pid('fallback'), 'SIGKILL');
  await worker.until(() => worker.changes('fallback').some(({ to }) => to === 'WAITING'), 'death');
  const down = await scrape('/metrics');
  t.match(down, 'understudy_group_up{group="main"} 1\n');
  t.match(down, `understudy_task_total{${labels('main', 'primary', '1')}} 3\n`);
});

t.test('a provider that is required and missing is a start-up error', async (t) => {
  const worker = new WorkerProgram([`--model_repository=${folder.path}`, '--port=0', '--execution_providers=tensorrt']);
  t.equal(await worker.exit, 1);
  await worker.closed;
  t.match(
    worker.events.find(({ event }) => event === 'group_unservable'),
    { message: /no execution provider of --execution_providers can be used: tensorrt: / },
  );
});
