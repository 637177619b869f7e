/**
 * Turns a model file into a servable. Loading happens in an execution thread, so that served models do not feel it; only a
 * model that proved cheap there is loaded again, quickly, into the front thread.
 */
import { BatchServable } from '../batching/batch-servable.ts';
import type { Servable } from '../batching/batcher.ts';
import { type BatchingOptions, batchingOptionsProblems, executionLimit } from '../batching/batching-options.ts';
import { CostModel } from '../batching/cost-model.ts';
import type { Executor, ExecutorSink } from '../batching/executor.ts';
import { TurnLoop } from '../batching/turn-loop.ts';
import { deviceOutOfMemory, modelLoadFailed, WorkerError } from '../worker-error.ts';
import { deviceLockFor, needsDeviceLock } from './device-lock.ts';
import { FrontExecutor } from './front-executor.ts';
import type { LoadServableOptions } from './load-options.ts';
import type { ModelInfo } from './model-info.ts';
import { inspectModel, loadModel } from './model-loading.ts';
import { isOutOfMemory } from './out-of-memory.ts';
import { DEFAULT_EXECUTION, type ExecutionSettings } from './provider-options.ts';
import type { Signature } from './signature.ts';
import { ThreadExecutor } from './thread-executor.ts';

/** A full batch up to this long may run in the front thread... */
const FRONT_FULL_BATCH_MS = 1;
/** ...and one that turns out longer than this leaves it, while one below that comes in; the gap keeps it from swinging. */
const LEAVE_FRONT_MS = 2;
const ENTER_FRONT_MS = 0.5;
/** Sizes that do not come up by themselves are tried in threads, in steps this large, while the last was fast. */
const PROBE_GROWTH = 4;
/** Loading into the front thread holds up the sockets this long at most: before anybody is served, and after. */
const FRONT_LOAD_MS = 50;
const FRONT_LOAD_WHILE_SERVING_MS = 10;

const EXECUTION_THREAD = new URL('./execution-thread.ts', import.meta.url);
const turnLoops = new WeakMap<object, TurnLoop>();

/** Whether a model whose loading took `loadCpuMs` of a core may be loaded again into the thread that serves. */
export function mayLoadInFront(loadCpuMs: number, isServing: boolean): boolean {
  return loadCpuMs <= (isServing ? FRONT_LOAD_WHILE_SERVING_MS : FRONT_LOAD_MS);
}

type PlacedExecutor = Executor & { sink: ExecutorSink };

/**
 * Loads `options.path`. Rejects with a WorkerError that says what is wrong with the file or the options, having left
 * nothing behind; other servables are not touched.
 */
export async function loadServable(options: LoadServableOptions): Promise<Servable> {
  const problems = batchingOptionsProblems(options.batching);
  if (problems.length > 0) throw modelLoadFailed(options.path, problems.join('; '));
  try {
    return await new Placement(options).load();
  } catch (error) {
    if (error instanceof WorkerError) throw error;
    const message = (error as Error).message.trim();
    if (isOutOfMemory(message)) throw deviceOutOfMemory(`loading ${options.path}: ${message}`, error);
    throw modelLoadFailed(options.path, message, error);
  }
}

/** Decides where one servable runs, at load and again as its costs become known. */
class Placement {
  private readonly options: LoadServableOptions;
  private readonly execution: ExecutionSettings;
  private info!: ModelInfo;
  private moving = false;

  constructor(options: LoadServableOptions) {
    this.options = options;
    this.execution = options.execution ?? DEFAULT_EXECUTION;
  }

  async load(): Promise<Servable> {
    const { batching, clock, log, model, version } = this.options;
    const executor = batching.place === 'front' ? this.inFront() : await this.inThreads();
    const { signature, outputs, batchable } = this.info;
    const signatures = await this.signatures(executor);
    const turns = turnLoops.get(clock) ?? new TurnLoop(clock);
    turnLoops.set(clock, turns);
    const servable = new BatchServable(
      {
        model,
        version,
        shape: { signature, outputs, batchable, options: batching },
        signatures,
        clock,
        log,
        turns,
        onBroken: (broken, error) => this.options.onBroken?.(broken, error),
        review: (reviewed) => this.review(reviewed),
      },
      executor,
    );
    executor.sink = servable.scheduler;
    for (const { rows, ms } of this.info.costs) servable.scheduler.learn(rows, ms);
    servable.stats.fullBatchMs = servable.scheduler.cost.estimateMs(this.fullRows);
    servable.stats.provider = this.execution.providers[0].name;
    this.countInstances(servable);
    log.info('servable_loaded', {
      model,
      version,
      place: executor.place,
      provider: servable.stats.provider,
      instances: servable.stats.instances,
      batchable,
      loadMs: this.info.loadMs,
      fullBatchMs: servable.stats.fullBatchMs,
    });
    return servable;
  }

  /** Undefined when the graph's own is the only one. */
  private async signatures(executor: Executor): Promise<ReadonlyMap<string, Signature> | undefined> {
    try {
      return this.options.signatures?.(this.info.signature);
    } catch (error) {
      await executor.close();
      throw error;
    }
  }

  private inFront(): PlacedExecutor {
    const { batching, clock, path } = this.options;
    const loaded = loadModel(path, this.execution, deviceLockFor(this.execution));
    this.info ??= inspectModel(loaded, executionLimit(batching), batching.allowedBatchSizes);
    return new FrontExecutor(loaded.session, clock);
  }

  /** One thread first: its measurements say whether more are wanted, or none. */
  private async inThreads(): Promise<PlacedExecutor> {
    const { batching } = this.options;
    const executor = this.threadExecutor();
    this.info = await executor.addThreads(1);
    const fullMs = fullBatchMs(this.info, batching);
    if (this.mayEnterFront && fullMs <= FRONT_FULL_BATCH_MS) {
      await executor.close();
      return this.inFront();
    }
    if (batching.threads > 1) await this.addRest(executor);
    return executor;
  }

  /**
   * Only what cannot surprise it runs in the thread that serves: a model that is loaded quickly and whose rows all have
   * the shape that was measured.
   * Where a request decides how much there is to do, or the device may be taken by others, it runs in a thread.
   */
  private get mayEnterFront(): boolean {
    const { batchable, signature } = this.info;
    const { batching, isServing } = this.options;
    if (batching.place !== 'auto' || needsDeviceLock(this.execution)) return false;
    if (!mayLoadInFront(this.info.loadCpuMs, isServing?.() ?? false)) return false;
    return batchable && signature.inputs.every(({ shape }) => !shape.includes(-1, 1));
  }

  private threadExecutor(): ThreadExecutor {
    const { batching, clock, path, model, version, log } = this.options;
    const { allowedBatchSizes, executionTimeoutMs } = batching;
    const maxBatchSize = executionLimit(batching);
    const name = `execute ${model}@${version}`;
    const entry = this.options.threadEntry ?? EXECUTION_THREAD;
    return new ThreadExecutor(
      { entry, name, path, execution: this.execution, maxBatchSize, allowedBatchSizes, executionTimeoutMs, clock },
      log,
    );
  }

  private async addRest(executor: ThreadExecutor): Promise<void> {
    try {
      await executor.addThreads(this.options.batching.threads - 1);
    } catch (error) {
      await executor.close();
      throw error;
    }
  }

  /** Moves the servable when what it costs now says so. */
  private review(servable: BatchServable): void {
    if (this.options.batching.place !== 'auto' || this.moving) return;
    const { place, fullBatchMs } = servable.stats;
    const { cost } = servable.scheduler;
    const leaves = place === 'front' && cost.worstMs > LEAVE_FRONT_MS;
    const mayEnter = place === 'thread' && this.mayEnterFront;
    if (mayEnter) this.probe(servable);
    const enters = mayEnter && fullBatchMs < ENTER_FRONT_MS && cost.largestRows >= this.fullRows;
    if (!leaves && !enters) return;
    this.moving = true;
    void this.move(servable, leaves);
  }

  /** Has a larger batch tried than those that come: one in many, and only while none was slow. */
  private probe(servable: BatchServable): void {
    const { cost } = servable.scheduler;
    const rows = Math.min(this.fullRows, cost.largestRows * PROBE_GROWTH);
    if (cost.estimateMs(cost.largestRows) <= FRONT_FULL_BATCH_MS) servable.scheduler.probeRows = rows;
  }

  private get fullRows(): number {
    return this.info.batchable ? executionLimit(this.options.batching) : 1;
  }

  private async move(servable: BatchServable, toThread: boolean): Promise<void> {
    const { log, model, version, batching } = this.options;
    try {
      const executor = await this.newPlace(toThread);
      executor.sink = servable.scheduler;
      if (servable.isClosing || servable.broken !== null) {
        await executor.close();
        return;
      }
      servable.relocate(executor);
      this.countInstances(servable);
      log.info('servable_moved', { model, version, place: executor.place, fullBatchMs: servable.stats.fullBatchMs });
    } catch (error) {
      log.warn('servable_not_moved', { model, version, error, threads: batching.threads });
    } finally {
      this.moving = false;
    }
  }

  private countInstances(servable: BatchServable): void {
    servable.stats.instances = servable.stats.place === 'front' ? 1 : this.options.batching.threads;
  }

  private async newPlace(toThread: boolean): Promise<PlacedExecutor> {
    if (!toThread) return this.inFront();
    const executor = this.threadExecutor();
    await executor.addThreads(this.options.batching.threads);
    return executor;
  }
}

/** Milliseconds of the largest batch; infinite when the model could not be measured. */
function fullBatchMs(info: ModelInfo, batching: BatchingOptions): number {
  const cost = new CostModel();
  for (const { rows, ms } of info.costs) cost.record(rows, ms);
  const estimate = cost.estimateMs(info.batchable ? executionLimit(batching) : 1);
  return Number.isNaN(estimate) ? Number.POSITIVE_INFINITY : estimate;
}
