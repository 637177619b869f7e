import t from 'tap';
import { SampleKind } from '../../../../proxy/degradation/answer-sample.ts';
import { DegradationCells, RING_SAMPLES, RingSample } from '../../../../proxy/degradation/cells.ts';
import { DegradationGate } from '../../../../proxy/degradation/gate.ts';
import { RequestOutcome } from '../../../../proxy/stats/slots.ts';
import { POLICY } from './primary-model.ts';

const NOW = 1_790_000_000_123.5;

function shared(threads = 2) {
  const buffer = DegradationCells.allocate(2, threads);
  const views = Array.from({ length: threads }, (_, thread) => new DegradationCells(buffer, thread));
  const policy = { ...POLICY, place: 1 };
  return { control: new DegradationCells(buffer), gates: views.map((view) => new DegradationGate(view, policy)) };
}

t.test('what one thread withholds all gates see at their next request', async (t) => {
  const { control, gates } = shared();
  const taken = () => gates.map((gate) => [0, 0.09, 0.11, 0.999].filter((point) => gate.admits(() => point)).length);
  t.same(taken(), [4, 4], 'zeroed memory withholds nothing');
  control.withhold(1, 9_000);
  t.same(taken(), [1, 1], 'ten percent of the points');
  control.withhold(1, 10_000);
  t.same(taken(), [0, 0]);
  control.withhold(0, 0);
  t.same(taken(), [0, 0], 'another model');
});

t.test('one probe in an interval over all threads, and only while everything is withheld', async (t) => {
  const { control, gates } = shared();
  t.equal(gates[0]!.takesProbe(NOW), false, 'normal');
  control.withhold(1, 10_000);
  t.same([gates[0]!.takesProbe(NOW), gates[1]!.takesProbe(NOW), gates[0]!.takesProbe(NOW + 999)], [true, false, false]);
  t.equal(gates[1]!.takesProbe(NOW + 1_000), true);
  control.withhold(1, 9_000);
  t.equal(gates[0]!.takesProbe(NOW + 60_000), false, 'the ladder has real requests');
});

t.test('samples are read as they were written; sheddings and caller errors are none', async (t) => {
  const { control, gates } = shared();
  const gate = gates[1]!;
  const results = [
    [RequestOutcome.OK, false, SampleKind.ANSWERED],
    [RequestOutcome.DEADLINE, false, SampleKind.TIMED_OUT],
    [RequestOutcome.UPSTREAM_ERROR, true, SampleKind.OUT_OF_MEMORY],
    [RequestOutcome.UPSTREAM_ERROR, false, SampleKind.FAILED],
    [RequestOutcome.CONNECT_FAILED, false, SampleKind.FAILED],
    [RequestOutcome.BAD_OUTPUT, false, SampleKind.FAILED],
  ] as const;
  for (const result of [RequestOutcome.OVERLOADED, RequestOutcome.CALLER_ERROR, RequestOutcome.CANCELLED]) {
    gate.record(result, false, false, 1, NOW);
  }
  for (const [result, isOutOfMemory] of results) gate.record(result, isOutOfMemory, true, 12.345, NOW);
  const base = control.modelBase(1);
  t.same([control.written(base, 0), control.written(base, 1)], [0, results.length]);
  const sample = new RingSample();
  for (const [i, [, , kind]] of results.entries()) {
    t.equal(control.read(base, 1, i, NOW + 50, sample), true);
    t.same({ ...sample }, { endedMs: Math.floor(NOW), latencyMs: 12.345, kind, isProbe: true });
  }
});

t.test('a ring that was overrun tells which samples are gone', async (t) => {
  const { control, gates } = shared();
  const base = control.modelBase(1);
  for (let i = 0; i < RING_SAMPLES + 10; i++) gates[0]!.record(RequestOutcome.OK, false, false, i, NOW);
  const sample = new RingSample();
  t.equal(control.read(base, 0, 9, NOW, sample), false);
  t.equal(control.read(base, 0, 11, NOW, sample), true);
  t.equal(sample.latencyMs, 11);
});
