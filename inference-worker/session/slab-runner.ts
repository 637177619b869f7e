/**
 * Runs a session over one slab. The onnxruntime tensors over the slab are kept as long as the number of rows stays the
 * same, which under steady load and with allowed batch sizes is nearly always.
 */
import type { TensorData } from '../batching/batcher.ts';
import { dimsOf, type LooseOutput, type SlabPlan, type SlabViews } from '../batching/slab.ts';
import { type NativeSession, type OrtFeeds, type OrtFetches, ortTensor } from './native-session.ts';

export class SlabRunner {
  private readonly session: NativeSession;
  private readonly plan: SlabPlan;
  private readonly views: SlabViews;
  private readonly feeds: OrtFeeds = {};
  private readonly fetches: OrtFetches = {};
  private readonly hasStrings: boolean;
  private readonly hasLoose: boolean;
  private rows = -1;

  constructor(session: NativeSession, plan: SlabPlan, views: SlabViews) {
    this.session = session;
    this.plan = plan;
    this.views = views;
    this.hasStrings = views.inputs.includes(null);
    this.hasLoose = views.outputs.includes(null);
  }

  /**
   * Executes the first `rows` rows. `strings` holds string inputs by position, longer than needed or exact. Returns the
   * outputs that are not in the slab by position, or null when all are. Throws onnxruntime's error, or ours when an
   * output does not follow the batch axis.
   */
  run(rows: number, strings: readonly (readonly string[] | null)[]): (LooseOutput | null)[] | null {
    if (rows !== this.rows) this.bind(rows);
    if (this.hasStrings) this.bindStrings(rows, strings);
    const results = this.session.run(this.feeds, this.fetches);
    return this.hasLoose ? this.looseOutputs(rows, results) : null;
  }

  private bind(rows: number): void {
    const { plan, views } = this;
    for (let i = 0; i < plan.inputs.length; i++) {
      const tensor = plan.inputs[i];
      const data = views.inputs[i];
      if (data === null) continue;
      const used = data.subarray(0, rows * tensor.rowElements);
      this.feeds[tensor.name] = ortTensor(tensor.ortType, used, dimsOf(plan, tensor, rows));
    }
    for (let i = 0; i < plan.outputs.length; i++) {
      const tensor = plan.outputs[i];
      const data = views.outputs[i];
      const used = data?.subarray(0, rows * tensor.rowElements);
      this.fetches[tensor.name] = used ? ortTensor(tensor.ortType, used, dimsOf(plan, tensor, rows)) : null;
    }
    this.rows = rows;
  }

  private bindStrings(rows: number, strings: readonly (readonly string[] | null)[]): void {
    const { plan, views } = this;
    for (let i = 0; i < plan.inputs.length; i++) {
      const values = strings[i];
      if (views.inputs[i] !== null || values === null) continue;
      const tensor = plan.inputs[i];
      const used = values.slice(0, rows * tensor.rowElements);
      this.feeds[tensor.name] = ortTensor('string', used, dimsOf(plan, tensor, rows));
    }
  }

  private looseOutputs(rows: number, results: OrtFeeds): (LooseOutput | null)[] {
    return this.plan.outputs.map((tensor, i) => {
      if (this.views.outputs[i] !== null) return null;
      const { data, dims } = results[tensor.name];
      if (this.plan.batched && dims[0] !== rows) {
        throw new Error(`output ${tensor.name} has shape [${dims.join(',')}] for a batch of ${rows} rows`);
      }
      return { data: storageOf(tensor.ortType, data as TensorData | string[]), dims };
    });
  }
}

/** float16 comes back as Float16Array where the runtime has one; we carry its bits. */
function storageOf(ortType: string, data: TensorData | readonly string[]): TensorData | readonly string[] {
  if (ortType !== 'float16' || data instanceof Uint16Array || !ArrayBuffer.isView(data)) return data;
  return new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
}
