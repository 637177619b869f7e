/**
 * Runs the degradation controllers on the control thread: takes what data threads wrote of their primaries' answers, lets
 * the controllers decide, and puts their verdicts where every data thread reads them with one load.
 *
 * It owns the timers, the readings of device memory, the counters and the log lines; every decision is a controller's.
 */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { TransitionLog } from '../admin/transition-log.ts';
import type { ClusterSnapshot, MeshSnapshot, ModelSnapshot, TlsOrigination } from '../config/snapshot.ts';
import type { AnswerSample } from '../degradation/answer-sample.ts';
import { type DegradationCells, RING_SAMPLES, RingSample } from '../degradation/cells.ts';
import {
  type DegradationCommand,
  DegradationController,
  type DegradationTransition,
  FULL_SHARE,
} from '../degradation/controller.ts';
import { type DegradationDescription, describeDegradation } from '../degradation/view.ts';
import type { OpenConnection } from '../discovery/health-probe.ts';
import { readDeviceMemory } from './device-memory.ts';

/** How often answers are judged: a trigger is acted on within this time. */
const TICK_MS = 100;
/** How often a worker is asked for its devices' memory, at most. */
const MEMORY_INTERVAL_MS = 5000;
const MIN_MEMORY_INTERVAL_MS = 200;

/** One model that has the policy. */
interface Watched {
  model: ModelSnapshot;
  readonly base: number;
  readonly controller: DegradationController;
  /** Number of the next sample to read, for each thread. */
  readonly next: number[];
  /** The clusters of its primary side. */
  primaries: readonly ClusterSnapshot[];
  memoryUsed: number | null;
  memoryAskedMs: number;
  isAsking: boolean;
  isMemoryTold: boolean;
  missed: number;
  probesJudged: number;
  readonly transitions: Map<string, number>;
}

export interface DegradationDriverOptions {
  readonly cells: DegradationCells;
  readonly clock: Clock;
  readonly log: Logger;
  /** How to reach endpoints that speak TLS. */
  readonly secure: (tls: TlsOrigination) => OpenConnection;
}

export class DegradationDriver {
  private readonly cells: DegradationCells;
  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly secure: (tls: TlsOrigination) => OpenConnection;
  private readonly history = new TransitionLog();
  private watched = new Map<string, Watched>();
  private timer: NodeJS.Timeout | null = null;
  private readonly sample = new RingSample();

  constructor(options: DegradationDriverOptions) {
    this.cells = options.cells;
    this.clock = options.clock;
    this.log = options.log;
    this.secure = options.secure;
  }

  /** Takes a snapshot: new thresholds for models it knows, which keep their state; normality for those that left. */
  apply(snapshot: MeshSnapshot): void {
    const watched = new Map<string, Watched>();
    for (const model of snapshot.models) {
      if (model.degradation === null) continue;
      const known = this.watched.get(model.name) ?? this.watch(model);
      known.model = model;
      known.primaries = model.split.map((share) => snapshot.clusters[share.cluster]!);
      known.controller.updatePolicy(model.degradation);
      this.withhold(known);
      watched.set(model.name, known);
    }
    for (const [name, { model }] of this.watched) {
      if (!watched.has(name)) this.cells.withhold(model.degradation!.place, 0);
    }
    this.watched = watched;
  }

  start(): void {
    this.timer ??= setInterval(() => this.tick(), TICK_MS);
    this.timer.unref();
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  /** One round over all models; called by the timer, and by tests. */
  tick(): void {
    for (const one of this.watched.values()) {
      this.askMemory(one);
      const nowMs = this.clock.nowMs();
      for (const sample of this.drain(one, nowMs)) {
        if (sample.isProbe) one.probesJudged++;
        one.controller.observe(sample, nowMs);
      }
      one.controller.tick(nowMs, one.memoryUsed);
    }
  }

  /** Does what an operator asks; false for a model without the policy. */
  obey(model: string, command: DegradationCommand): boolean {
    const one = this.watched.get(model);
    if (one === undefined) return false;
    one.controller.obey(command, this.clock.nowMs());
    return true;
  }

  /** What is told of a model; null without the policy. */
  describe(model: string): DegradationDescription | null {
    const one = this.watched.get(model);
    if (one === undefined) return null;
    const { controller, missed, probesJudged } = one;
    return describeDegradation(model, controller, one.model.degradation!, this.clock.nowMs(), {
      missed,
      probesJudged,
      transitions: this.history.of(model),
    });
  }

  describeAll(): DegradationDescription[] {
    return [...this.watched.keys()].map((model) => this.describe(model)!);
  }

  /** Changes so far: model, state gone to, reason. */
  counted(): { labels: string[]; value: number }[] {
    return [...this.watched].flatMap(([model, { transitions }]) =>
      [...transitions].map(([key, value]) => ({ labels: [model, ...key.split(' ')], value })),
    );
  }

  private watch(model: ModelSnapshot): Watched {
    const policy = model.degradation!;
    const base = this.cells.modelBase(policy.place);
    const one: Watched = {
      model,
      base,
      controller: new DegradationController(policy, (transition) => this.changed(one, transition)),
      // What was written under an earlier policy of this name is history.
      next: Array.from({ length: this.cells.threads }, (_, thread) => this.cells.written(base, thread)),
      primaries: [],
      memoryUsed: Number.NaN,
      memoryAskedMs: Number.NEGATIVE_INFINITY,
      isAsking: false,
      isMemoryTold: false,
      missed: 0,
      probesJudged: 0,
      transitions: new Map(),
    };
    return one;
  }

  /** Takes what all threads have written since the last time, in the order of its ends. */
  private drain(one: Watched, nowMs: number): AnswerSample[] {
    const samples: AnswerSample[] = [];
    for (let thread = 0; thread < one.next.length; thread++) {
      const written = this.cells.written(one.base, thread);
      let next = one.next[thread]!;
      const behind = (written - next) | 0;
      if (behind > RING_SAMPLES) {
        one.missed += behind - RING_SAMPLES;
        next = (written - RING_SAMPLES) | 0;
      }
      for (; next !== written; next = (next + 1) | 0) {
        if (this.cells.read(one.base, thread, next, nowMs, this.sample)) samples.push({ ...this.sample });
        else one.missed++;
      }
      one.next[thread] = written;
    }
    return samples.sort((a, b) => a.endedMs - b.endedMs);
  }

  private withhold(one: Watched): void {
    this.cells.withhold(one.model.degradation!.place, FULL_SHARE - one.controller.shareHundredths);
  }

  private changed(one: Watched, transition: DegradationTransition): void {
    this.withhold(one);
    const { from, to, reason, fromShareHundredths, shareHundredths } = transition;
    const key = `${to} ${reason}`;
    one.transitions.set(key, (one.transitions.get(key) ?? 0) + 1);
    this.history.add(one.model.name, told(from, fromShareHundredths), told(to, shareHundredths), reason);
    const primaryPercent = shareHundredths / 100;
    this.log.warn('degradation', { model: one.model.name, from, to, reason, primaryPercent });
  }

  private askMemory(one: Watched): void {
    const { memoryBelowFraction, memoryForMs } = one.model.degradation!;
    if (memoryBelowFraction === 0 || one.isAsking) return;
    const nowMs = this.clock.nowMs();
    const everyMs = Math.max(MIN_MEMORY_INTERVAL_MS, Math.min(MEMORY_INTERVAL_MS, memoryForMs / 4));
    if (nowMs - one.memoryAskedMs < everyMs) return;
    one.memoryAskedMs = nowMs;
    one.isAsking = true;
    const asked = one.primaries.flatMap(({ endpoints, tls }) => {
      const open = tls === null ? null : this.secure(tls);
      return endpoints.map((address) => readDeviceMemory(address, open));
    });
    void Promise.all(asked).then((readings) => this.takeMemory(one, readings));
  }

  private takeMemory(one: Watched, readings: readonly (number | null)[]): void {
    one.isAsking = false;
    const known = readings.filter((reading) => reading !== null);
    one.memoryUsed = known.length === 0 ? null : Math.max(...known);
    if (one.isMemoryTold || Number.isNaN(one.memoryUsed)) return;
    one.isMemoryTold = true;
    const { name: model, degradation } = one.model;
    if (one.memoryUsed === null) {
      const reason = 'the primary tells of no device memory; its return is judged by probes alone';
      this.log.info('degradation_without_device_memory', { model, reason });
    } else {
      const { memoryBelowFraction: below, memoryForMs } = degradation!;
      this.log.info('degradation_device_memory', { model, used: one.memoryUsed, below, forMs: memoryForMs });
    }
  }
}

function told(state: string, shareHundredths: number): string {
  return state === 'returning' ? `returning ${shareHundredths / 100}%` : state;
}
