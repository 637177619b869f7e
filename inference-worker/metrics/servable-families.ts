/** The figures of servables as metric families: ours with version and signature, and TensorFlow Serving's by model. */
import { GrpcStatus, grpcStatusName } from '../../base/grpc-status.ts';
import type { Servable } from '../batching/batcher.ts';
import { Distribution } from './distribution.ts';
import { ENTRY_POINT_LABELS } from './entry-points.ts';
import type { FamilySet, Labels } from './metric-family.ts';

const MS_TO_SECONDS = 1 / 1000;
const MS_TO_MICROS = 1000;

/** Adds our families of one servable. */
export function addServable(into: FamilySet, servable: Servable, group: Labels): void {
  const { model, version, stats } = servable;
  const labels = { ...group, model, version: String(version) };
  const { place, provider, instances } = stats;
  into.gauge('understudy_servable_info', 'Where a version runs.', { ...labels, place, provider }, 1);
  into.gauge('understudy_servable_instances', 'Sessions of a version.', labels, instances);
  into.gauge('understudy_servable_broken', '1 once a thread of a version is stuck.', labels, servable.broken ? 1 : 0);
  into.gauge('understudy_queue_tasks', 'Accepted tasks not yet being run.', labels, stats.queuedTasks);
  into.gauge('understudy_queue_rows', 'Rows of those tasks.', labels, stats.queuedRows);
  into.gauge('understudy_batch_running', 'Batches being run.', labels, stats.runningBatches);
  addCosts(into, stats, labels);
  into.counter('understudy_batch_total', 'Batches run.', labels, stats.executedBatches);
  into.counter('understudy_batch_run_rows_total', 'Rows of tasks run.', labels, stats.executedRows);
  into.counter(
    'understudy_batch_padding_rows_total',
    'Rows run only to reach an allowed size.',
    labels,
    stats.paddedRows,
  );
  into.histogram('understudy_batch_rows', 'Rows of tasks in a batch.', labels, stats.batchRows);
  into.histogram('understudy_batch_padding_rows', 'Rows added to a batch as padding.', labels, stats.batchPadding);
  into.histogram('understudy_batch_run_seconds', 'Time a batch ran.', labels, stats.batchMs, MS_TO_SECONDS);
  const replaced = 'Execution threads started in place of lost ones.';
  into.counter('understudy_execution_threads_replaced_total', replaced, labels, stats.replacedThreads);
  for (const [signature, tasks] of stats.bySignature) addSignature(into, tasks, { ...labels, signature });
}

function addCosts(into: FamilySet, stats: Servable['stats'], labels: Labels): void {
  const { fullBatchMs, msPerRow, msPerBatch } = stats;
  const full = 'Expected time of a full batch.';
  into.gauge('understudy_cost_full_batch_seconds', full, labels, fullBatchMs * MS_TO_SECONDS);
  into.gauge('understudy_cost_row_seconds', 'What one more row costs.', labels, msPerRow * MS_TO_SECONDS);
  into.gauge('understudy_cost_batch_seconds', 'What a batch costs besides.', labels, msPerBatch * MS_TO_SECONDS);
}

type SignatureStats = Servable['stats']['bySignature'] extends ReadonlyMap<string, infer S> ? S : never;

function addSignature(into: FamilySet, tasks: SignatureStats, labels: Labels): void {
  const help = 'Tasks by how they ended.';
  for (const outcome of ['answered', 'failed', 'expired', 'cancelled', 'refused'] as const) {
    into.counter('understudy_task_total', help, { ...labels, outcome }, tasks[`${outcome}Tasks`]);
  }
  into.counter('understudy_task_rows_total', 'Rows of accepted tasks.', labels, tasks.rows);
  into.histogram('understudy_task_rows', 'Rows of a task.', labels, tasks.inputRows);
  into.histogram('understudy_task_queue_seconds', 'Wait of a task for its run.', labels, tasks.queueMs, MS_TO_SECONDS);
  into.histogram('understudy_task_compute_seconds', "Time of a task's run.", labels, tasks.computeMs, MS_TO_SECONDS);
}

const TFS = ':tensorflow:serving:';

/** The replay of the requests recorded beside a version. */
export interface WarmUpRun {
  /** Directory of the version. */
  readonly path: string;
  readonly ms: number;
}

/** Adds how long a version was warmed up; one whose warm-up fails does not come to be, so all of them went well. */
export function addTfsWarmUp(into: FamilySet, { path, ms }: WarmUpRun): void {
  const once = Distribution.latency();
  once.record(ms);
  const labels = { model_path: path, status: grpcStatusName(GrpcStatus.OK) };
  into.histogram(`${TFS}model_warmup_latency`, 'Microseconds of warming up.', labels, once, MS_TO_MICROS);
}

/** Adds TensorFlow Serving's families of one servable; those of several versions are added up by `mergeFamilies`. */
export function addTfsServable(into: FamilySet, { model, stats }: Servable): void {
  const labels = { model_name: model };
  for (const tasks of stats.bySignature.values()) {
    tasks.statuses.forEach((count, code) => {
      const status = { ...labels, status: grpcStatusName(code) };
      if (count > 0) into.counter(`${TFS}request_count`, 'Requests by model and status.', status, count);
    });
    tasks.latencyMs.forEach((latency, entry) => {
      if (latency === null) return;
      const { API } = ENTRY_POINT_LABELS[entry];
      const where = { ...labels, ...ENTRY_POINT_LABELS[entry] };
      into.histogram(`${TFS}request_latency`, 'Microseconds from acceptance to answer.', where, latency, MS_TO_MICROS);
      const runtime = { ...labels, API, runtime: 'onnxruntime' };
      into.histogram(
        `${TFS}runtime_latency`,
        'Microseconds of the run.',
        runtime,
        tasks.runtimeMs[entry]!,
        MS_TO_MICROS,
      );
    });
    into.histogram(`${TFS}request_example_counts`, 'Rows of a request.', labels, tasks.inputRows);
    const queuing = 'Microseconds in the batch queue.';
    into.histogram(`${TFS}batching_session:queuing_latency`, queuing, labels, tasks.queueMs, MS_TO_MICROS);
    into.histogram(`${TFS}batching_session:input_batch_size`, 'Rows of a task.', labels, tasks.inputRows);
  }
  into.histogram(`${TFS}batching_session:processed_batch_size`, 'Rows of a run.', labels, stats.processedRows);
  into.histogram(`${TFS}batching_session:padding_size`, 'Padding rows of a run.', labels, stats.batchPadding);
  into.counter(`${TFS}batching_session:wrapped_run_count`, 'Runs of the session.', labels, stats.executedBatches);
}
