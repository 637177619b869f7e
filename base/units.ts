/**
 * Quantities as people write them in settings: durations, sizes, percentages and ports.
 *
 * A quantity without its unit is refused, because the reader of `5` cannot know whether its writer meant seconds.
 * Fractions are refused too (except in percentages, which keep two decimals): `1500ms` says what `1.5s` means and
 * every parsed value is an exact integer. Each parser trims outer white space and either returns a value or throws
 * a `UnitError` whose `expectation` completes the sentence "expected ...".
 */

/** A value that is not the quantity it should be; `expectation` says what would have been accepted. */
export class UnitError extends Error {
  readonly expectation: string;

  constructor(text: string, expectation: string) {
    super(`${JSON.stringify(text)} is not ${expectation}`);
    this.name = 'UnitError';
    this.expectation = expectation;
  }
}

/** Ports from `first` to `last`, both included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Longest duration accepted: the longest delay Node's timers take, about 24 days and 20 hours. */
export const MAX_DURATION_MS = 2 ** 31 - 1;

/** Milliseconds per unit, largest first so that formatting finds the shortest exact form. */
const DURATION_UNITS: readonly (readonly [string, number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
];

/** Bytes per unit, largest first. Only binary units: `MB` means two different sizes to two readers. */
const SIZE_UNITS: readonly (readonly [string, number])[] = [
  ['TiB', 2 ** 40],
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
  ['B', 1],
];

const DURATION_EXPECTATION = 'a whole number with a unit of ms, s, m, h or d, at most 24d, such as 250ms or 30s';
const SIZE_EXPECTATION = 'a whole number with a unit of B, KiB, MiB, GiB or TiB, such as 64KiB or 4MiB';
const PERCENT_EXPECTATION = 'a percentage from 0% to 100% with at most two decimals, such as 5% or 0.25%';
const PORTS_EXPECTATION = 'ports from 1 to 65535 and ranges of them separated by commas, such as 8500,9000-9010';

/** `250ms` to 250, `30s` to 30000. Whole numbers up to `MAX_DURATION_MS`; the unit is required. */
export function parseDurationMs(text: string): number {
  const milliseconds = parseWithUnit(text, DURATION_UNITS);
  if (!(milliseconds <= MAX_DURATION_MS)) throw new UnitError(text, DURATION_EXPECTATION);
  return milliseconds;
}

/** `4MiB` to 4194304. Whole numbers up to 2^53 - 1 bytes; the unit is required. */
export function parseSizeBytes(text: string): number {
  const bytes = parseWithUnit(text, SIZE_UNITS);
  if (!(bytes <= Number.MAX_SAFE_INTEGER)) throw new UnitError(text, SIZE_EXPECTATION);
  return bytes;
}

/** `5%` to 500, `0.25%` to 25: hundredths of a percent from 0 to 10000. The `%` is required. */
export function parsePercentHundredths(text: string): number {
  const match = /^(\d{1,3})(?:\.(\d{1,2}))?%$/.exec(text.trim());
  if (match === null) throw new UnitError(text, PERCENT_EXPECTATION);
  const hundredths = Number(match[1]) * 100 + Number((match[2] ?? '').padEnd(2, '0'));
  if (hundredths > 10_000) throw new UnitError(text, PERCENT_EXPECTATION);
  return hundredths;
}

/** `8500,9000-9010` to ranges in ascending order, overlapping and adjoining ones merged. Empty text is refused. */
export function parsePortRanges(text: string): PortRange[] {
  const ranges: PortRange[] = [];
  for (const part of text.split(',')) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim());
    if (match === null) throw new UnitError(text, PORTS_EXPECTATION);
    const first = Number(match[1]);
    const last = match[2] === undefined ? first : Number(match[2]);
    if (first < 1 || last > 65_535 || first > last) throw new UnitError(text, PORTS_EXPECTATION);
    ranges.push({ first, last });
  }
  return mergeRanges(ranges);
}

/** The shortest exact form of a duration: 90000 is `90s`, 60000 is `1m`, 0 is `0s`. */
export function formatDuration(milliseconds: number): string {
  return milliseconds === 0 ? '0s' : formatWithUnit(milliseconds, DURATION_UNITS);
}

/** The shortest exact form of a size: 65536 is `64KiB`, 0 is `0B`. */
export function formatSize(bytes: number): string {
  return bytes === 0 ? '0B' : formatWithUnit(bytes, SIZE_UNITS);
}

/** 500 is `5%`, 25 is `0.25%`. */
export function formatPercent(hundredths: number): string {
  return `${hundredths / 100}%`;
}

/** `8500,9000-9010` again. */
export function formatPortRanges(ranges: readonly PortRange[]): string {
  return ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}

/** How many ports the ranges name together; they must not overlap, as those of `parsePortRanges` do not. */
export function countPorts(ranges: readonly PortRange[]): number {
  let count = 0;
  for (const { first, last } of ranges) count += last - first + 1;
  return count;
}

function parseWithUnit(text: string, units: readonly (readonly [string, number])[]): number {
  const expectation = units === DURATION_UNITS ? DURATION_EXPECTATION : SIZE_EXPECTATION;
  const match = /^(\d{1,16})([A-Za-z]+)$/.exec(text.trim());
  const unit = units.find(([name]) => name === match?.[2]);
  if (match === null || unit === undefined) throw new UnitError(text, expectation);
  return Number(match[1]) * unit[1];
}

function formatWithUnit(amount: number, units: readonly (readonly [string, number])[]): string {
  for (const [name, factor] of units) {
    if (amount % factor === 0) return `${amount / factor}${name}`;
  }
  return `${amount}${units.at(-1)![0]}`;
}

function mergeRanges(ranges: PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const range of ranges.sort((a, b) => a.first - b.first)) {
    const previous = merged.at(-1);
    if (previous !== undefined && range.first <= previous.last + 1) {
      merged[merged.length - 1] = { first: previous.first, last: Math.max(previous.last, range.last) };
    } else {
      merged.push(range);
    }
  }
  return merged;
}
