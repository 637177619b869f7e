/**
 * The play: steady traffic, a shadow that errs about one cohort, the primary killed, the understudy on stage, the primary
 * back; and, in longer runs, the primary slowed down, degraded, and back by the ladder.
 *
 * Owns the course of events and the figures told at the end; processes belong to `Stage`, calls to `DemoClient`.
 */
import { DemoClient } from './client.ts';
import { DEMO_DEGRADATION, DegradationAct } from './degradation-act.ts';
import { FailoverWatch } from './failover-watch.ts';
import { figuresOf, type RunFigures } from './figures.ts';
import { LiveTable, type LiveView, type Screen } from './live-table.ts';
import { Narrator } from './narrator.ts';
import { EMPTY_VIEW, readSidecar, type SidecarView } from './sidecar-admin.ts';
import { Stage } from './stage.ts';
import { type CallOutcome, Tally } from './tally.ts';

export interface StoryOptions {
  /** Seconds of traffic; null goes on until `stop`. */
  readonly seconds: number | null;
  readonly ratePerSecond: number;
  readonly killAfterMs: number;
  readonly seed: number;
  readonly screen: Screen;
}

const MODEL = 'credit-risk';
const PRIMARY = `${MODEL}@1`;
const SHADOW = `${MODEL}@2`;
const CALL_DEADLINE_MS = 5000;
/** How often the sidecar is asked, so that no change of a breaker goes unseen for long. */
const POLL_MS = 250;
const REDRAW_MS = 1000;
const KILL_CHECK_MS = 50;
const FIRST_ANSWER_WITHIN_MS = 15_000;
/** A bounded run that was asked to end before the primary is back waits this long for it. */
const RECOVERY_GRACE_MS = 15_000;
/** Comparison runs behind the traffic; the last figures are read when they stand still, or after this. */
const SETTLE_WITHIN_MS = 3000;

/** Runs from this length on have the second act, which begins at this time at the earliest. */
const SECOND_ACT_FROM_SECONDS = 30;
const SECOND_ACT_AT_MS = 16_000;
/** Time between the acts. */
const PEACE_MS = 3000;

/** How far the play is: nobody killed, nobody answering yet, the understudy on stage, the primary back. */
type Phase = 'steady' | 'killed' | 'fallback' | 'recovered';

export class Story {
  readonly #options: StoryOptions;
  readonly #stage: Stage;
  readonly #table: LiveTable;
  readonly #narrator: Narrator;
  readonly #tally = new Tally();
  readonly #watch = new FailoverWatch(PRIMARY);
  readonly #act: DegradationAct;
  readonly #hasSecondAct: boolean;
  #sidecar: SidecarView = EMPTY_VIEW;
  #startedAtMs = 0;
  #drawnAtMs = 0;
  #elapsedMs = 0;
  #recoveredAtMs = 0;
  #phase: Phase = 'steady';
  /** Calls that end after the play has ended are nobody's. */
  #isPlaying = false;
  #isStopping = false;
  #isRefreshing = false;
  #collapse: string | null = null;
  #stop: () => void = () => {};
  readonly #stopped: Promise<void>;

  constructor(options: StoryOptions) {
    this.#options = options;
    this.#table = new LiveTable(options.screen);
    this.#narrator = new Narrator(this.#table, PRIMARY, SHADOW);
    this.#stopped = new Promise((resolve) => {
      this.#stop = resolve;
    });
    const { seconds } = options;
    this.#hasSecondAct = seconds === null || seconds >= SECOND_ACT_FROM_SECONDS;
    this.#act = new DegradationAct(
      PRIMARY,
      () => this.#stage.primaryPid,
      this.#tally,
      (text) => this.#narrator.tell(text),
    );
    this.#stage = new Stage({
      onPrimaryGroup: (change) => {
        if (this.#isPlaying) this.#narrator.groupChanged(change);
      },
      onCollapse: (description) => {
        this.#collapse = description;
        this.#stop();
      },
    });
  }

  /** Ends the play early; `play` resolves with the figures so far. Asked a second time, ends everything at once. */
  stop(): void {
    if (this.#isStopping) this.#stage.kill();
    this.#isStopping = true;
    this.#stop();
  }

  /** Plays until its time is over or `stop` is called. Rejects if the stage cannot be set or falls down. */
  async play(): Promise<RunFigures> {
    try {
      this.#table.announce('Starting a worker with two isolation groups, and a sidecar ...');
      const isSet = await Promise.race([
        this.#stage.set(this.#hasSecondAct ? DEMO_DEGRADATION : null).then(() => true),
        this.#stopped.then(() => false),
      ]);
      if (isSet) await this.#perform();
      if (this.#collapse !== null) throw new Error(this.#collapse);
      const degradation = this.#hasSecondAct ? this.#act.figures() : null;
      return figuresOf(this.#tally, this.#elapsedMs, this.#sidecar, this.#watch.report(), degradation);
    } finally {
      this.#act.stop();
      await this.#stage.clear();
    }
  }

  async #perform(): Promise<void> {
    const client = new DemoClient({
      address: this.#stage.address,
      model: MODEL,
      ratePerSecond: this.#options.ratePerSecond,
      seed: this.#options.seed,
      deadlineMs: CALL_DEADLINE_MS,
      onOutcome: (outcome) => this.#onOutcome(outcome),
    });
    const hasAnswer = await Promise.race([firstAnswer(client).then(() => true), this.#stopped.then(() => false)]);
    if (hasAnswer) await this.#drive(client);
    await client.stop();
    if (hasAnswer && this.#collapse === null) {
      await this.#settle();
      this.#narrator.ending(this.#tally, this.#sidecar);
    }
    this.#isPlaying = false;
  }

  async #drive(client: DemoClient): Promise<void> {
    this.#narrator.opening(this.#stage);
    this.#startedAtMs = performance.now();
    this.#drawnAtMs = this.#startedAtMs;
    this.#isPlaying = true;
    client.start();
    const redraw = setInterval(() => void this.#refresh(), POLL_MS);
    const kill = setInterval(() => this.#killIfDue(), KILL_CHECK_MS);
    await this.#untilTheEnd();
    clearInterval(kill);
    clearInterval(redraw);
    this.#act.stop();
    this.#elapsedMs = performance.now() - this.#startedAtMs;
  }

  async #untilTheEnd(): Promise<void> {
    const { seconds } = this.#options;
    if (seconds === null) return this.#stopped;
    await Promise.race([delay(seconds * 1000), this.#stopped]);
    const graceUntilMs = performance.now() + RECOVERY_GRACE_MS;
    while (this.#isInTheMiddle() && performance.now() < graceUntilMs) {
      const isStopped = await Promise.race([delay(POLL_MS).then(() => false), this.#stopped.then(() => true)]);
      if (isStopped) return;
    }
  }

  #isInTheMiddle(): boolean {
    return (this.#phase !== 'steady' && this.#phase !== 'recovered') || this.#act.isOn;
  }

  #onOutcome(outcome: CallOutcome): void {
    if (!this.#isPlaying) return;
    this.#tally.record(outcome);
    this.#watch.record(outcome);
    const { failed, fallbackMs, recoveredMs } = this.#watch.report();
    if (this.#phase === 'killed' && fallbackMs !== null) {
      this.#phase = 'fallback';
      this.#narrator.fallbackAnswers(outcome.answeredBy, fallbackMs, failed);
    }
    if (this.#phase !== 'recovered' && recoveredMs !== null) {
      this.#phase = 'recovered';
      this.#recoveredAtMs = performance.now();
      this.#narrator.recovered(recoveredMs, failed);
      if (this.#options.seconds === null) this.#narrator.tell('The traffic goes on until Ctrl-C.');
    }
  }

  #killIfDue(): void {
    const { primaryPid } = this.#stage;
    const elapsedMs = performance.now() - this.#startedAtMs;
    if (this.#phase !== 'steady' || elapsedMs < this.#options.killAfterMs || primaryPid === null) return;
    this.#phase = 'killed';
    this.#narrator.killed(primaryPid);
    this.#watch.killed(performance.now());
    try {
      process.kill(primaryPid, 'SIGKILL');
    } catch (error) {
      this.#narrator.tell(`The process was gone already: ${(error as Error).message}`);
    }
  }

  async #refresh(): Promise<void> {
    if (this.#isRefreshing) return;
    this.#isRefreshing = true;
    const before = this.#sidecar;
    await this.#readSidecar();
    this.#isRefreshing = false;
    if (!this.#isPlaying) return;
    this.#act.follow(this.#sidecar.degradation, performance.now());
    this.#beginSecondActIfDue();
    this.#narrator.breakersChanged(before, this.#sidecar);
    if (performance.now() - this.#drawnAtMs > REDRAW_MS - POLL_MS / 2) this.#table.draw(this.#view());
  }

  /** After the first act, with a moment of peace between the two. */
  #beginSecondActIfDue(): void {
    const nowMs = performance.now();
    if (!this.#hasSecondAct || this.#act.scene !== 'waiting' || this.#phase !== 'recovered') return;
    if (this.#sidecar.degradation?.state !== 'normal') this.#recoveredAtMs = nowMs;
    if (nowMs - this.#startedAtMs < SECOND_ACT_AT_MS || nowMs - this.#recoveredAtMs < PEACE_MS) return;
    this.#act.begin(nowMs);
  }

  async #readSidecar(): Promise<void> {
    try {
      this.#sidecar = await readSidecar(this.#stage.adminUrl, MODEL);
    } catch (error) {
      if (this.#isPlaying) this.#narrator.tell(`The admin address did not answer: ${(error as Error).message}`);
    }
  }

  /** Waits until the comparison has caught up with the traffic. */
  async #settle(): Promise<void> {
    const deadlineMs = performance.now() + SETTLE_WITHIN_MS;
    for (let pairs = -1; performance.now() < deadlineMs; ) {
      await this.#readSidecar();
      if (this.#sidecar.shadow.pairs === pairs) return;
      pairs = this.#sidecar.shadow.pairs;
      await delay(POLL_MS);
    }
  }

  #view(): LiveView {
    const nowMs = performance.now();
    const recent = this.#tally.takeWindow(nowMs - this.#drawnAtMs);
    this.#drawnAtMs = nowMs;
    const answerers = [...this.#tally.answeredBy].map(([name, inAll]) => {
      return { name, recently: recent.answeredBy.get(name) ?? 0, inAll };
    });
    return {
      elapsedMs: nowMs - this.#startedAtMs,
      requests: this.#tally.requests,
      failed: this.#tally.failed,
      perSecond: recent.perSecond,
      p50Ms: recent.p50Ms,
      p99Ms: recent.p99Ms,
      answerers,
      shadow: { name: SHADOW, ...this.#sidecar.shadow },
      cohorts: this.#sidecar.cohorts,
      breakers: this.#sidecar.breakers,
      degradation: this.#sidecar.degradation,
      adminUrl: this.#stage.adminUrl,
    };
  }
}

async function firstAnswer(client: DemoClient): Promise<void> {
  const deadlineMs = performance.now() + FIRST_ANSWER_WITHIN_MS;
  for (;;) {
    const { failure } = await client.ask();
    if (failure === '') return;
    if (performance.now() > deadlineMs) throw new Error(`no call was answered: ${failure}`);
    await delay(KILL_CHECK_MS);
  }
}

/** Does not keep the process alive by itself: the child programs do while there is something to wait for. */
function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
