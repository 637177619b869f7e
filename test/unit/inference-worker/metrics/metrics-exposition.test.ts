/** What a scrape tells of work that was done: by version and signature in our names, by model in TensorFlow Serving's. */
import t from 'tap';
import { EntryPoint } from '../../../../inference-worker/metrics/entry-points.ts';
import { MetricsExposition } from '../../../../inference-worker/metrics/metrics-exposition.ts';
import { BatchingBench, rows } from '../../../support/fake-executor.ts';
import { refusalOf, submit } from '../../../support/predict-tasks.ts';

const reading = { device: 0, name: 'GPU', memoryTotalBytes: 80, memoryUsedBytes: 8, busyFraction: 0.5 };

function exposition() {
  return new MetricsExposition({
    group: 'main',
    provider: () => 'cuda',
    readDevices: () => [{ ...reading, memoryBusyFraction: Number.NaN }],
  });
}

/** Three tasks in one padded batch of 2 + 1 + 1 rows, one cancelled, one refused. */
function worked(): BatchingBench {
  const bench = new BatchingBench({ maxBatchSize: 8, allowedBatchSizes: [8] });
  submit(bench.servable, rows(2));
  submit(bench.servable, rows(1), (call) => {
    call.entry = EntryPoint.inferRest;
  });
  submit(bench.servable, rows(1)).cancelled = true;
  refusalOf(() => submit(bench.servable, rows(9)));
  bench.advance(3);
  bench.finish(0, 5);
  return bench;
}

t.test('our names carry version and signature', async (t) => {
  const metrics = exposition();
  metrics.add(worked().servable);
  const text = await metrics.render('understudy');
  const labels = 'group="main",model="double",version="1"';
  const task = `${labels},signature="serving_default"`;
  for (const line of [
    `understudy_task_total{${task},outcome="answered"} 2`,
    `understudy_task_total{${task},outcome="cancelled"} 1`,
    `understudy_task_total{${task},outcome="refused"} 1`,
    `understudy_task_rows_total{${task}} 4`,
    `understudy_batch_total{${labels}} 1`,
    `understudy_batch_run_rows_total{${labels}} 3`,
    `understudy_batch_padding_rows_total{${labels}} 5`,
    `understudy_batch_rows_bucket{${labels},le="4"} 1`,
    `understudy_batch_padding_rows_bucket{${labels},le="8"} 1`,
    `understudy_batch_run_seconds_sum{${labels}} 0.005`,
    `understudy_task_compute_seconds_count{${task}} 2`,
    'understudy_provider_info{group="main",provider="cuda"} 1',
    'understudy_device_memory_used_bytes{device="0",name="GPU"} 8',
    'understudy_device_busy_ratio{device="0",name="GPU"} 0.5',
  ]) {
    t.ok(text.includes(`${line}\n`), line);
  }
  t.notMatch(text, /understudy_device_memory_busy_ratio\{/);
  t.match(text, /understudy_process_resident_bytes\{group="main"\} \d{7,}/);
});

t.test("TensorFlow Serving's names carry the model, its API and where the request came in", async (t) => {
  const metrics = exposition();
  metrics.add(worked().servable);
  const text = await metrics.render('tensorflow');
  for (const line of [
    'request_count{model_name="double",status="OK"} 2',
    'request_count{model_name="double",status="CANCELLED"} 1',
    'request_count{model_name="double",status="INVALID_ARGUMENT"} 1',
    'request_latency_count{model_name="double",API="Predict",entrypoint="GRPC"} 1',
    'request_latency_count{model_name="double",API="ModelInfer",entrypoint="REST"} 1',
    'request_latency_bucket{model_name="double",API="Predict",entrypoint="GRPC",le="10"} 0',
    'request_latency_bucket{model_name="double",API="Predict",entrypoint="GRPC",le="18"} 0',
    'runtime_latency_sum{model_name="double",API="Predict",runtime="onnxruntime"} 5000',
    'request_example_counts_sum{model_name="double"} 4',
    'batching_session:queuing_latency_count{model_name="double"} 2',
    'batching_session:input_batch_size_sum{model_name="double"} 4',
    'batching_session:processed_batch_size_sum{model_name="double"} 8',
    'batching_session:padding_size_sum{model_name="double"} 5',
    'batching_session:wrapped_run_count{model_name="double"} 1',
  ]) {
    t.ok(text.includes(`:tensorflow:serving:${line}\n`), line);
  }
});

t.test('versions of a model are added up, and what an unloaded one counted stays', async (t) => {
  const metrics = exposition();
  const [one, two] = [worked(), worked()];
  metrics.add(one.servable);
  metrics.add(two.servable);
  const count = /request_count\{model_name="double",status="OK"\} 4\n/;
  t.match(await metrics.render('tensorflow'), count);
  metrics.retire('double', 1n);
  t.match(await metrics.render('tensorflow'), count);
  t.notMatch(await metrics.render('understudy'), /version="1"/, 'its own series end with it');
});
