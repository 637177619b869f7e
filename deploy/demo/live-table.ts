/**
 * The picture a person watches: load, latency, who answers, what the shadow would have decided, breaker state.
 *
 * `renderLive` is pure; `LiveTable` owns the screen: on a terminal the table is redrawn in place, with events kept
 * above it; elsewhere a plain line appears every few seconds.
 */

/** One cohort's comparison figures; `agreement` is a fraction, NaN without pairs. */
export interface CohortView {
  readonly name: string;
  readonly pairs: number;
  readonly agreement: number;
}

/** Everything on the screen at one moment. */
export interface LiveView {
  readonly elapsedMs: number;
  readonly requests: number;
  readonly failed: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Answers by model: within the last window, and in all. */
  readonly answerers: readonly { readonly name: string; readonly recently: number; readonly inAll: number }[];
  readonly shadow: {
    readonly name: string;
    readonly pairs: number;
    readonly dropped: number;
    readonly agreement: number;
  };
  readonly cohorts: readonly CohortView[];
  readonly breakers: readonly { readonly name: string; readonly state: string }[];
  readonly degradation: { readonly state: string; readonly primaryPercent: number } | null;
  readonly adminUrl: string;
}

const BAR_WIDTH = 24;
const LABEL_WIDTH = 22;
/** A cohort this far below the shadow's overall agreement is marked, once it has this many pairs. */
const MARK_BELOW = 0.1;
const MARK_FROM_PAIRS = 20;

/** The table as lines; `colour` adds terminal colours, never characters. */
export function renderLive(view: LiveView, colour: boolean): string[] {
  const paint = colour
    ? (code: number, text: string) => `\u001b[${code}m${text}\u001b[0m`
    : (_: number, text: string) => text;
  const failed = view.failed === 0 ? paint(32, '0 failed') : paint(31, `${view.failed} failed`);
  const lines = [
    `${paint(1, `Understudy  ${(view.elapsedMs / 1000).toFixed(0).padStart(4)} s`)}   admin ${view.adminUrl}`,
    '',
    `${label('requests')}${view.perSecond.toFixed(0).padStart(5)} /s   ${view.requests} in all, ${failed}`,
    `${label('latency')}p50 ${milliseconds(view.p50Ms)}   p99 ${milliseconds(view.p99Ms)}`,
    '',
    paint(1, `${label('answered by')}  now`),
  ];
  const recent = view.answerers.reduce((sum, { recently }) => sum + recently, 0);
  for (const { name, recently, inAll } of view.answerers) {
    const share = recent === 0 ? 0 : recently / recent;
    lines.push(`  ${name.padEnd(LABEL_WIDTH - 2)}${percent(share)}  ${bar(share)} ${inAll} in all`);
  }
  const { shadow } = view;
  lines.push(
    '',
    paint(1, `${label(`shadow ${shadow.name}`)}  same decision, ${shadow.pairs} pairs, ${shadow.dropped} dropped`),
  );
  lines.push(`  ${'everybody'.padEnd(LABEL_WIDTH - 2)}${percent(shadow.agreement)}  ${bar(shadow.agreement)}`);
  for (const cohort of view.cohorts) {
    const line = `  ${cohort.name.padEnd(LABEL_WIDTH - 2)}${percent(cohort.agreement)}  ${bar(cohort.agreement)} ${cohort.pairs} pairs`;
    lines.push(standsOut(cohort, shadow.agreement) ? paint(31, `${line}  <- stands out`) : line);
  }
  lines.push('', paint(1, label('breaker')));
  for (const { name, state } of view.breakers) {
    lines.push(`  ${name.padEnd(LABEL_WIDTH - 2)}${paint(state === 'closed' ? 32 : 33, state)}`);
  }
  if (view.degradation !== null) {
    const { state, primaryPercent } = view.degradation;
    const text = `${state}, the primary gets ${primaryPercent} % of the calls`;
    lines.push('', `${paint(1, label('degradation'))}${paint(state === 'normal' ? 32 : 33, text)}`);
  }
  return lines;
}

/** The same in one line, for logs. */
export function renderLine(view: LiveView): string {
  const recent = view.answerers.filter(({ recently }) => recently > 0);
  const answerers = recent.map(({ name, recently }) => `${name} ${recently}`).join(', ');
  const lowest = [...view.cohorts].sort((a, b) => a.agreement - b.agreement)[0];
  const breakers = view.breakers.filter(({ state }) => state !== 'closed').map(({ name, state }) => `${name} ${state}`);
  return [
    `${(view.elapsedMs / 1000).toFixed(0)} s`,
    `${view.perSecond.toFixed(0)}/s`,
    `p50 ${milliseconds(view.p50Ms).trim()} p99 ${milliseconds(view.p99Ms).trim()}`,
    `failed ${view.failed}`,
    `answered by ${answerers || 'nobody'}`,
    `shadow agrees ${percent(view.shadow.agreement).trim()}` +
      (lowest === undefined ? '' : `, least for ${lowest.name} ${percent(lowest.agreement).trim()}`),
    `breakers ${breakers.join(', ') || 'closed'}`,
  ].join(' | ');
}

function standsOut(cohort: CohortView, overall: number): boolean {
  return cohort.pairs >= MARK_FROM_PAIRS && cohort.agreement < overall - MARK_BELOW;
}

function label(text: string): string {
  return text.padEnd(LABEL_WIDTH);
}

function milliseconds(value: number): string {
  return Number.isNaN(value) ? '   -   ' : `${value.toFixed(2).padStart(6)} ms`;
}

function percent(fraction: number): string {
  return Number.isNaN(fraction) ? '    - ' : `${(fraction * 100).toFixed(1).padStart(5)}%`;
}

function bar(fraction: number): string {
  const filled = Number.isNaN(fraction) ? 0 : Math.round(fraction * BAR_WIDTH);
  return '#'.repeat(filled) + '.'.repeat(BAR_WIDTH - filled);
}

/** What the table needs of a stream such as `process.stdout`. */
export interface Screen {
  readonly isTTY?: boolean;
  readonly rows?: number;
  write(text: string): unknown;
}

const PLAIN_LINE_EVERY_MS = 3000;
const ERASE_LINE = '\u001b[2K';
const ERASE_BELOW = '\u001b[0J';
const WRAP_OFF = '\u001b[?7l';
const WRAP_ON = '\u001b[?7h';

export class LiveTable {
  readonly #screen: Screen;
  #drawnLines = 0;
  #lastLineAtMs = Number.NEGATIVE_INFINITY;

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  /** Shows `view`: in place on a terminal, else as a line if the last one is some seconds old. */
  draw(view: LiveView): void {
    if (this.#screen.isTTY !== true) {
      if (view.elapsedMs - this.#lastLineAtMs < PLAIN_LINE_EVERY_MS) return;
      this.#lastLineAtMs = view.elapsedMs;
      this.#screen.write(`${renderLine(view)}\n`);
      return;
    }
    // A table taller than the screen could not be gone back over; wrapping would spoil the count of lines.
    const lines = renderLive(view, true).slice(0, Math.max(1, (this.#screen.rows || 24) - 1));
    const text = lines.map((line) => `${ERASE_LINE}${line}\n`).join('');
    this.#screen.write(`${this.#moveToTop()}${WRAP_OFF}${text}${WRAP_ON}${ERASE_BELOW}`);
    this.#drawnLines = lines.length;
  }

  /** Writes a line that stays, above the table. */
  announce(text: string): void {
    this.#screen.write(this.#screen.isTTY === true ? `${this.#moveToTop()}${ERASE_BELOW}${text}\n` : `${text}\n`);
    this.#drawnLines = 0;
  }

  #moveToTop(): string {
    return this.#drawnLines === 0 ? '' : `\u001b[${this.#drawnLines}A\r`;
  }
}
