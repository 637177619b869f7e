/** A servable's figures in Triton's terms, as protobuf and as JSON. Durations are sums in nanoseconds. */

import { MessageBuilder } from '../../../proto/tensor/message-builder.ts';
import type { Servable } from '../../batching/batcher.ts';

interface Duration {
  readonly count: number;
  readonly ns: number;
}

interface Figures {
  readonly name: string;
  readonly version: string;
  /** Milliseconds since 1970; 0 before the first. */
  readonly lastInferenceMs: number;
  readonly inferenceCount: number;
  readonly executionCount: number;
  readonly success: Duration;
  readonly fail: Duration;
  readonly queue: Duration;
  readonly computeInfer: Duration;
  readonly batches: readonly { readonly rows: number; readonly computeInfer: Duration }[];
}

const NS_PER_MS = 1e6;

function figuresOf({ model, version, stats }: Servable): Figures {
  const answered = stats.answeredTasks;
  const failed = stats.failedTasks + stats.expiredTasks + stats.cancelledTasks + stats.refusedTasks;
  const queueNs = Math.round(stats.queueMsSum * NS_PER_MS);
  // What a batch took counts for each request in it, so that the sum over the count is what one request saw.
  let computeMs = 0;
  for (const tasks of stats.bySignature.values()) computeMs += tasks.computeMs.sum;
  const computeNs = Math.round(computeMs * NS_PER_MS);
  return {
    name: model,
    version: String(version),
    inferenceCount: stats.executedRows,
    executionCount: stats.executedBatches,
    lastInferenceMs: Math.floor(stats.lastBatchAtMs),
    success: { count: answered, ns: queueNs + computeNs },
    fail: { count: failed, ns: 0 },
    queue: { count: answered, ns: queueNs },
    computeInfer: { count: answered, ns: computeNs },
    batches: [...stats.byBatchSize].map(([rows, { count, ms }]) => ({
      rows,
      computeInfer: { count, ns: Math.round(ms * NS_PER_MS) },
    })),
  };
}

const NOTHING: Duration = { count: 0, ns: 0 };

/** The JSON form, as an object. */
export function statisticsObject(servables: readonly Servable[]): object {
  const stats = servables.map((servable) => {
    const figures = figuresOf(servable);
    const compute = (computeInfer: Duration): object => ({
      compute_input: NOTHING,
      compute_infer: computeInfer,
      compute_output: NOTHING,
    });
    const { success, fail, queue } = figures;
    return {
      name: figures.name,
      version: figures.version,
      last_inference: figures.lastInferenceMs,
      inference_count: figures.inferenceCount,
      execution_count: figures.executionCount,
      inference_stats: { success, fail, queue, ...compute(figures.computeInfer) },
      batch_stats: figures.batches.map(({ rows, computeInfer }) => ({ batch_size: rows, ...compute(computeInfer) })),
    };
  });
  return { model_stats: stats };
}

/** A ModelStatisticsResponse. */
export function statisticsMessage(servables: readonly Servable[]): Buffer {
  const response = new MessageBuilder();
  for (const servable of servables) {
    const figures = figuresOf(servable);
    const inference = new MessageBuilder()
      .message(1, duration(figures.success))
      .message(2, duration(figures.fail))
      .message(3, duration(figures.queue))
      .message(4, duration(NOTHING))
      .message(5, duration(figures.computeInfer))
      .message(6, duration(NOTHING));
    const message = new MessageBuilder()
      .text(1, figures.name)
      .text(2, figures.version)
      .int(3, figures.lastInferenceMs)
      .int(4, figures.inferenceCount)
      .int(5, figures.executionCount)
      .message(6, inference);
    for (const { rows, computeInfer } of figures.batches) {
      const batch = new MessageBuilder().int(1, rows).message(2, duration(NOTHING));
      message.message(7, batch.message(3, duration(computeInfer)).message(4, duration(NOTHING)));
    }
    response.message(1, message);
  }
  return response.finish();
}

function duration({ count, ns }: Duration): MessageBuilder {
  return new MessageBuilder().int(1, count).int(2, ns);
}
