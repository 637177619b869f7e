/**
 * The second act: the primary's process is throttled, the sidecar finds it too slow and serves its understudy; throttled
 * no more, it proves itself to the sidecar's probes and comes back by the ladder.
 *
 * The act moves on what the sidecar says of itself; it decides nothing about the models.
 */
import type { DegradationView } from './sidecar-admin.ts';
import type { Tally } from './tally.ts';
import { Throttle } from './throttle.ts';

/** Thresholds of the demo's policy: the presets' would take longer than anybody watches. */
export const DEMO_DEGRADATION = { preset: 'mean', meanOver: '150ms', probeInterval: '100ms' } as const;
/** As it is told. */
export const DEMO_DEGRADATION_TEXT: string =
  'Shorter than the presets: a mean of 10 answers over 150 ms instead of 500 ms degrades, and the primary is probed every ' +
  '100 ms instead of every second.';

/** How long the primary stays throttled once the understudy is on stage. */
const THROTTLED_FOR_MS = 3000;
/** A sidecar that has not noticed by now will not. */
const UNNOTICED_AFTER_MS = 10_000;

/** What `--json` prints of it. */
export interface DegradationFigures {
  /** Times the sidecar degraded the model, by its own count. */
  readonly entered: number;
  /** Steps of the ladder it passed, percent, by its own account. */
  readonly ladder: readonly number[];
  /** Calls that failed from the first throttling to the end of the return. */
  readonly failed: number;
}

type Scene = 'waiting' | 'throttled' | 'degraded' | 'returning' | 'over';

export class DegradationAct {
  scene: Scene = 'waiting';
  readonly #throttle: Throttle;
  readonly #tally: Tally;
  readonly #tell: (text: string) => void;
  readonly #primary: string;
  #startedAtMs = 0;
  #degradedAtMs = 0;
  #failedBefore = 0;
  #failed = 0;
  #percent = 100;
  #view: DegradationView | null = null;

  constructor(primary: string, pid: () => number | null, tally: Tally, tell: (text: string) => void) {
    this.#primary = primary;
    this.#throttle = new Throttle(pid);
    this.#tally = tally;
    this.#tell = tell;
  }

  /** Whether it has begun and is not over. */
  get isOn(): boolean {
    return this.scene !== 'waiting' && this.scene !== 'over';
  }

  begin(nowMs: number): void {
    this.scene = 'throttled';
    this.#startedAtMs = nowMs;
    this.#failedBefore = this.#tally.failed;
    this.#tell(`The process of ${this.#primary} now gets a quarter of its time, as under a CPU limit.`);
    this.#tell(DEMO_DEGRADATION_TEXT);
    this.#throttle.start();
  }

  /** Goes on by what the sidecar says; to be called with each reading. */
  follow(view: DegradationView | null, nowMs: number): void {
    if (view === null || !this.isOn) return;
    this.#view = view;
    this.#failed = this.#tally.failed - this.#failedBefore;
    if (this.scene === 'throttled') {
      if (view.state !== 'normal') {
        this.scene = 'degraded';
        this.#degradedAtMs = nowMs;
        this.#tell(
          `The sidecar degrades the model (${view.reason}): its understudy answers, failed calls: ${this.#failed}.`,
        );
      } else if (nowMs - this.#startedAtMs > UNNOTICED_AFTER_MS) {
        this.#tell('The sidecar has not noticed; the act is over.');
        this.stop();
      }
    }
    if (this.#throttle.isOn && this.scene === 'degraded' && nowMs - this.#degradedAtMs > THROTTLED_FOR_MS) {
      this.#throttle.end();
      this.#tell(`${this.#primary} has all of its time again, and is judged by probes.`);
    }
    if (view.state === 'returning') this.scene = 'returning';
    if (view.primaryPercent !== this.#percent && view.state === 'returning') {
      this.#tell(`${this.#primary} gets ${view.primaryPercent} % of the calls.`);
    }
    this.#percent = view.primaryPercent;
    if (this.scene !== 'throttled' && view.state === 'normal') {
      this.scene = 'over';
      const steps = view.ladder.join(', ');
      this.#tell(`${this.#primary} is back, by steps of ${steps} %. Failed calls meanwhile: ${this.#failed}.`);
    }
  }

  /** Ends it wherever it is; nothing stays throttled. */
  stop(): void {
    this.#throttle.end();
    if (this.isOn) this.scene = 'over';
  }

  figures(): DegradationFigures {
    return { entered: this.#view?.entered ?? 0, ladder: this.#view?.ladder ?? [], failed: this.#failed };
  }
}
