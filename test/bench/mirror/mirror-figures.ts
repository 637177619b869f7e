/** What the proxy's own metrics say of its one shadow: what was shown, what became of it, what was dropped and why. */

export interface MirrorCounts {
  /** Requests sent to the shadow. */
  readonly shown: number;
  /** Of those, cut short; each has a reason among the drops too. */
  readonly cut: number;
  readonly drops: Readonly<Record<string, number>>;
  /** Pairs by what became of them. */
  readonly results: Readonly<Record<string, number>>;
  readonly inFlight: number;
  readonly heldBytes: number;
}

export async function readMirrorCounts(adminPort: number): Promise<MirrorCounts> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  return {
    shown: total(byLabel(text, 'understudy_mirror_requests_total', 'cluster')),
    cut: total(byLabel(text, 'understudy_mirror_cut_requests_total', 'cluster')),
    drops: byLabel(text, 'understudy_mirror_drops_total', 'reason'),
    results: byLabel(text, 'understudy_comparison_results_total', 'result'),
    inFlight: total(byLabel(text, 'understudy_mirror_in_flight_requests', 'cluster')),
    heldBytes: total(byLabel(text, 'understudy_mirror_held_bytes', 'cluster')),
  };
}

/** Requests of these that the accounts lose: 0 when every one was shown or dropped, and every one shown has a result. */
export function unaccounted(selected: number, counts: MirrorCounts): number {
  const lost = selected - counts.shown - (total(counts.drops) - counts.cut);
  const open = counts.shown - total(counts.results) - counts.inFlight;
  return Math.abs(lost) + Math.abs(open);
}

export function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, value) => sum + value, 0);
}

function byLabel(text: string, name: string, label: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const line of text.split('\n')) {
    if (!line.startsWith(`${name}{`)) continue;
    const key = new RegExp(`${label}="([^"]*)"`).exec(line)?.[1] ?? '';
    const value = Number(line.slice(line.lastIndexOf(' ') + 1));
    if (value > 0) counts[key] = (counts[key] ?? 0) + value;
  }
  return counts;
}
