/**
 * Scenario: a breaker is half-open with its probe in flight, a reload takes the cluster away and brings it back, and the
 * probe ends afterwards. Mechanism: ending a thread's part in a breaker forgets its machine's probe while the request
 * still reports an outcome. Consequence: the report found no probe to settle, and the data thread died with everything
 * it carried.
 */
import t from 'tap';
import { BreakerCells } from '../../../../proxy/policy/breaker-cells.ts';
import { CircuitBreaker, Outcome, Verdict } from '../../../../proxy/policy/circuit-breaker.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';
import { POLICY } from './breaker-harness.ts';

for (const [name, outcome] of Object.entries(Outcome)) {
  t.test(
    `a probe that ends with ${name} after its breaker was given up leaves the next request to probe`,
    async (t) => {
      const clock = new VirtualClock();
      const buffer = BreakerCells.allocate(1, 1);
      const policy = { ...POLICY, consecutiveFailures: 1 };
      const make = () => new CircuitBreaker(policy, new BreakerCells(buffer, 0), 0, clock, () => 0);
      const before = make();
      const first = before.tryAcquire(clock.nowMs());
      before.record(first, before.epoch, Outcome.FAILURE, clock.nowMs());
      t.equal(before.state, 'open');
      clock.advance(POLICY.openMs + 1);
      t.equal(before.tryAcquire(clock.nowMs()), Verdict.PROBE);
      const token = before.epoch;
      before.close();
      const after = make();
      before.record(Verdict.PROBE, token, outcome, clock.nowMs());
      t.equal(after.state, 'half_open');
      t.equal(after.tryAcquire(clock.nowMs()), Verdict.PROBE);
      after.record(Verdict.PROBE, after.epoch, Outcome.SUCCESS, clock.nowMs());
      t.equal(after.state, 'closed');
    },
  );
}
