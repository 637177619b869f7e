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
  readonly inferenceCount: number;
  readonly executionCount: number;
  readonly success: Duration;
  readonly fail: Duration;
  readonly queue: Duration;
  readonly computeInfer: Duration;
}

const NS_PER_MS = 1e6;

function figuresOf({ model, version, stats }: Servable): Figures {
  const executed = stats.answeredTasks;
  const failed = stats.failedTasks + stats.expiredTasks + stats.cancelledTasks + stats.refusedTasks;
  const queueNs = Math.round(stats.queueMsSum * NS_PER_MS);
  const computeNs = Math.round(stats.executeMsSum * NS_PER_MS);
  return {
    name: model,
    version: String(version),
    inferenceCount: stats.executedRows,
    executionCount: stats.executedBatches,
    success: { count: executed, ns: queueNs + computeNs },
    fail: { count: failed, ns: 0 },
    queue: { count: executed, ns: queueNs },
    computeInfer: { count: stats.executedBatches, ns: computeNs },
  };
}

const NOTHING: Duration = { count: 0, ns: 0 };

/** The JSON form, as an object. */
export function statisticsObject(servables: readonly Servable[]): object {
  const stats = servables.map((servable) => {
    const { name, version, inferenceCount, executionCount, success, fail, queue, computeInfer } = figuresOf(servable);
    return {
      name,
      version,
      last_inference: 0,
      inference_count: inferenceCount,
      execution_count: executionCount,
      inference_stats: {
        success,
        fail,
        queue,
        compute_input: NOTHING,
        compute_infer: computeInfer,
        compute_output: NOTHING,
      },
      batch_stats: [],
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
      .int(4, figures.inferenceCount)
      .int(5, figures.executionCount)
      .message(6, inference);
    response.message(1, message);
  }
  return response.finish();
}

function duration({ count, ns }: Duration): MessageBuilder {
  return new MessageBuilder().int(1, count).int(2, ns);
}
