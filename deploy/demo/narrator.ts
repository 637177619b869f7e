/**
 * Puts what happens into sentences, above the live table.
 */
import type { LiveTable } from './live-table.ts';
import type { SidecarView } from './sidecar-admin.ts';
import type { PrimaryGroupChange, Stage } from './stage.ts';
import type { Tally } from './tally.ts';

export class Narrator {
  readonly #table: LiveTable;
  readonly #primary: string;
  readonly #shadow: string;
  #startedAtMs = Number.NaN;

  /** @param primary and `shadow` are named as answers name them, such as `credit-risk@1`. */
  constructor(table: LiveTable, primary: string, shadow: string) {
    this.#table = table;
    this.#primary = primary;
    this.#shadow = shadow;
  }

  /** One sentence, with the time since the traffic began. */
  tell(text: string): void {
    const elapsedMs = Number.isNaN(this.#startedAtMs) ? 0 : performance.now() - this.#startedAtMs;
    this.#table.announce(`[${(elapsedMs / 1000).toFixed(1).padStart(5)} s] ${text}`);
  }

  opening(stage: Stage): void {
    this.#startedAtMs = performance.now();
    this.tell(`The sidecar takes calls at ${stage.address}; look at ${stage.adminUrl}/models, /metrics and /config.`);
    this.tell(`Process ${stage.primaryPid} serves ${this.#primary}, in production, and ${this.#shadow}, its shadow.`);
    this.tell(`Process ${stage.fallbackPid} serves credit-risk-lite, the understudy.`);
  }

  killed(pid: number): void {
    this.tell(`SIGKILL to process ${pid}, which serves ${this.#primary} and ${this.#shadow}.`);
  }

  fallbackAnswers(name: string, fallbackMs: number, failed: number): void {
    this.tell(`${name} answers, ${fallbackMs.toFixed(1)} ms after the kill. Failed calls: ${failed}.`);
  }

  recovered(recoveredMs: number, failed: number): void {
    const seconds = (recoveredMs / 1000).toFixed(2);
    this.tell(`${this.#primary} answers steadily again, ${seconds} s after the kill. Failed calls: ${failed}.`);
  }

  groupChanged({ state, pid, startedInMs }: PrimaryGroupChange): void {
    if (state !== 'READY') return;
    const took = startedInMs === null ? '' : `, ready ${startedInMs.toFixed(0)} ms after its start`;
    this.tell(`The worker has a new process ${pid} for ${this.#primary} and ${this.#shadow}${took}.`);
  }

  /** Tells of each breaker whose state is not what it was. */
  breakersChanged(before: SidecarView, after: SidecarView): void {
    for (const { name, state } of after.breakers) {
      const was = before.breakers.find((breaker) => breaker.name === name)?.state ?? state;
      if (was !== state) this.tell(`The breaker of ${name} went from ${was} to ${state}.`);
    }
  }

  ending(tally: Tally, sidecar: SidecarView): void {
    const answered = [...tally.answeredBy].map(([name, count]) => `${count} by ${name}`).join(', ');
    this.tell(`${tally.requests} calls: ${answered}; ${tally.failed} failed.`);
    for (const [reason, count] of tally.failures) this.tell(`  ${count} failed with ${reason}`);
    for (const [cohort, { harm, pairs }] of Object.entries(sidecar.verdicts)) {
      if (harm)
        this.tell(
          `The sidecar finds that ${this.#shadow} harms ${cohort} applicants, on the evidence of ${pairs} pairs.`,
        );
    }
    const lowest = [...sidecar.cohorts].sort((a, b) => a.agreement - b.agreement)[0];
    if (lowest === undefined) return;
    const { pairs, agreement } = sidecar.shadow;
    this.tell(
      `${this.#shadow} would have decided as ${this.#primary} in ${percent(agreement)} of ${pairs} pairs, ` +
        `but for ${lowest.name} applicants in ${percent(lowest.agreement)}.`,
    );
  }
}

function percent(fraction: number): string {
  return `${(fraction * 100).toFixed(1)} %`;
}
