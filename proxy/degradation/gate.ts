/** Degradation as a data thread sees it: which requests the primary takes now, when to probe it, how it answered. */
import type { DegradationPolicy } from '../config/snapshot.ts';
import { RequestOutcome } from '../stats/slots.ts';
import { SampleKind } from './answer-sample.ts';
import { type DegradationCells, ModelCell } from './cells.ts';

const FULL = 10_000;
const NO_SAMPLE = -1;

export class DegradationGate {
  private readonly shared: DegradationCells;
  private readonly cells: Int32Array;
  private readonly base: number;
  private readonly policy: DegradationPolicy;

  /** All state is in the cells, so a gate may be made anew for each snapshot. */
  constructor(shared: DegradationCells, policy: DegradationPolicy) {
    this.shared = shared;
    this.cells = shared.cells;
    this.base = shared.modelBase(policy.place);
    this.policy = policy;
  }

  /** Whether the primary takes this request. `random` is uniform in 0..1, and asked only while a share is withheld. */
  admits(random: () => number): boolean {
    const withheld = this.cells[this.base + ModelCell.WITHHELD]!;
    return withheld === 0 || (withheld < FULL && random() * FULL >= withheld);
  }

  /** Whether this withheld request should be shown to the primary too: one in an interval, over all threads. */
  takesProbe(nowMs: number): boolean {
    if (this.cells[this.base + ModelCell.WITHHELD] !== FULL) return false;
    const at = this.base + ModelCell.PROBE_DUE;
    const due = Atomics.load(this.cells, at);
    const now = Math.floor(nowMs) | 0;
    const waitMs = (due - now) | 0;
    const { probeIntervalMs } = this.policy;
    // Longer than an interval it never is: the cell is unset, or times have wrapped.
    if (waitMs > 0 && waitMs <= probeIntervalMs) return false;
    return Atomics.compareExchange(this.cells, at, due, (now + probeIntervalMs) | 0) === due;
  }

  /** Tells how the primary answered: a `RequestOutcome`, and whether for want of device memory. */
  record(result: number, isOutOfMemory: boolean, isProbe: boolean, latencyMs: number, nowMs: number): void {
    const kind = isOutOfMemory ? SampleKind.OUT_OF_MEMORY : sampleKind(result);
    if (kind !== NO_SAMPLE) this.shared.write(this.base, kind, isProbe, latencyMs, nowMs);
  }
}

function sampleKind(result: number): number {
  switch (result) {
    case RequestOutcome.OK:
      return SampleKind.ANSWERED;
    case RequestOutcome.DEADLINE:
      return SampleKind.TIMED_OUT;
    case RequestOutcome.UPSTREAM_ERROR:
    case RequestOutcome.UPSTREAM_RESET:
    case RequestOutcome.CONNECT_FAILED:
    case RequestOutcome.BAD_OUTPUT:
      return SampleKind.FAILED;
    default:
      return NO_SAMPLE;
  }
}
