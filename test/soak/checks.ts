/** What must hold once the traffic has ended. Each check gives a sentence when it does not hold. */

import { HTTP1_COUNTER_NAMES } from '../../proto/http1/counters.ts';
import { HTTP2_COUNTER_NAMES } from '../../proto/http2/counters.ts';
import type { MetricsReading } from '../support/proxy-program.ts';
import type { Tally } from './tally.ts';

const MIB = 1024 * 1024;

/** Gauges that must be back at zero when no caller is left. */
export const IDLE_GAUGES: readonly string[] = [
  'understudy_downstream_open_connections',
  'understudy_downstream_open_streams',
  'understudy_opaque_open_connections',
  'understudy_cluster_in_flight_requests',
  'understudy_cluster_pending_requests',
  'understudy_mirror_in_flight_requests',
  'understudy_mirror_held_bytes',
  'understudy_replay_held_bytes',
  'understudy_memory_held_bytes',
];

export function isIdle(metrics: MetricsReading): boolean {
  return IDLE_GAUGES.every((gauge) => metrics.sum(gauge) === 0);
}

export function gaugeFaults(metrics: MetricsReading): string[] {
  return IDLE_GAUGES.filter((gauge) => metrics.sum(gauge) !== 0).map(
    (gauge) => `${gauge} is ${metrics.sum(gauge)} with no caller left`,
  );
}

/** The proxy's counters against each other and against what the callers saw. */
export function counterFaults(metrics: MetricsReading, tally: Tally): string[] {
  const faults: string[] = [];
  const within = (what: string, value: number, low: number, high: number) => {
    if (value < low || value > high) faults.push(`${what} is ${value}, not within ${low}..${high}`);
  };
  const ends = (outcome: string) => metrics.sum('understudy_downstream_requests_total', { outcome });
  const accepted = metrics.sum('understudy_downstream_streams_total');
  const [answered, refused, cancelled, cut] = ['answered', 'refused', 'cancelled', 'cut'].map(ends) as [
    number,
    number,
    number,
    number,
  ];
  const sum = answered + refused + cancelled + cut;
  if (sum !== accepted) {
    faults.push(
      `${accepted} streams, but ${answered} answered + ${refused} refused + ${cancelled} cancelled + ${cut} cut`,
    );
  }
  const local = metrics.sum('understudy_local_replies_total');
  if (local < refused) faults.push(`${refused} refused, but only ${local} local replies`);
  // A caller that goes away may do so before its call is seen or after it was answered.
  const calls = /^(grpc|stream|h1)$/;
  const [ok, failed, lost, gone] = [
    tally.count('ok', calls),
    tally.count('failed', calls),
    tally.count('cut', calls),
    tally.count('gone', /^(grpc|stream|h1|h1-half)$/),
  ] as [number, number, number, number];
  within('streams accepted', accepted, ok + failed, ok + failed + lost + gone);
  within('requests answered or refused', answered + refused, ok + failed, ok + failed + lost + gone);
  within('requests cancelled', cancelled, 0, gone);
  const opaque = metrics.sum('understudy_opaque_connections_total');
  within(
    'opaque connections',
    opaque,
    tally.count('ok', /^tcp$/),
    tally.count('ok', /^tcp$/) + tally.count('cut', /^tcp$/) + gone + tally.count('gone', /^tcp$/),
  );
  const early = tally.count('gone');
  within(
    'connections accepted',
    metrics.sum('understudy_downstream_connections_total'),
    tally.connections - early,
    tally.connections + early,
  );
  const shown = metrics.sum('understudy_mirror_requests_total');
  const pairs = metrics.sum('understudy_comparison_results_total');
  if (shown !== pairs) faults.push(`${shown} requests shown to shadows, but ${pairs} pairs accounted for`);
  return faults;
}

const SIDES: readonly (readonly [string, string, readonly string[]])[] = [
  ['caller h2', 'understudy_downstream_http2_events_total', HTTP2_COUNTER_NAMES],
  ['caller h1', 'understudy_downstream_http1_events_total', HTTP1_COUNTER_NAMES],
  ['upstream h2', 'understudy_upstream_http2_events_total', HTTP2_COUNTER_NAMES],
];

/** What the engines met, by side and kind; zeros left out. */
export function engineEvents(metrics: MetricsReading): Record<string, number> {
  const events: Record<string, number> = {};
  for (const [side, metric, kinds] of SIDES) {
    for (const kind of kinds) {
      const count = metrics.sum(metric, { kind });
      if (count > 0) events[`${side} ${kind}`] = count;
    }
  }
  return events;
}

/** Nobody in the soak floods: a limit against floods that was met has met an honest peer. */
export function floodFaults(metrics: MetricsReading): string[] {
  return Object.entries(engineEvents(metrics))
    .filter(([kind]) => kind.endsWith('_floods') || kind.endsWith('unread_control'))
    .map(([kind, count]) => `${count} honest connections ended as floods: ${kind}`);
}

/** Growth of resident memory that is let pass: a tenth and what the garbage collector may be behind by. */
export function memorySlack(baseBytes: number, seconds: number): number {
  return baseBytes * 0.1 + (seconds < 60 ? 128 : 24) * MIB;
}

/**
 * Compares the medians of a window after the warm-up (the first third, a minute at most) and of the last window.
 * `samples` are taken at equal distances, oldest first.
 */
export function memoryFlatness(
  samples: readonly number[],
  seconds: number,
): { from: number; to: number; slack: number } {
  const warm = Math.floor(samples.length * Math.min(1 / 3, 60 / seconds));
  const window = Math.max(3, Math.floor((samples.length - warm) / 4));
  const from = median(samples.slice(warm, warm + window));
  const to = median(samples.slice(-window));
  return { from, to, slack: memorySlack(from, seconds) };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
