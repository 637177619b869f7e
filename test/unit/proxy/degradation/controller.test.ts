import fc from 'fast-check';
import t from 'tap';
import { runs } from '../../../support/fuzz-runs.ts';
import { Lab, POLICY, SampleKind } from './primary-model.ts';

const MEAN = { p95OverMs: 0, outOfMemory: 0, memoryBelowFraction: 0 };
const TAIL = { meanOverMs: 0 };

t.test('a mean over the limit degrades, only once ten answers are known', async (t) => {
  const lab = new Lab(MEAN);
  lab.answers(9, 5_000);
  t.equal(lab.state, 'normal');
  lab.answers(1, 501);
  t.same([lab.state, lab.share, lab.reasons], ['degraded', 0, ['mean_latency']]);
});

t.test('a mean at the limit, and one slow answer in ten, degrade nothing', async (t) => {
  const lab = new Lab(MEAN);
  lab.answers(30, 500);
  t.equal(lab.state, 'normal');
  const spiky = new Lab(MEAN);
  for (let i = 0; i < 5; i++) {
    spiky.answers(9, 10);
    spiky.answers(1, 4_000);
  }
  t.equal(spiky.state, 'normal');
});

t.test('answers that never came count with the time they were given', async (t) => {
  const lab = new Lab(MEAN);
  lab.answers(10, 2_000, SampleKind.TIMED_OUT);
  t.equal(lab.state, 'degraded');
});

t.test('a 95th percentile over the limit degrades after 15 seconds of it, and not before', async (t) => {
  const lab = new Lab(TAIL);
  // One answer in ten is slow: the mean stays near 160 ms, the 95th percentile is 700 ms.
  const second = () => {
    for (let i = 0; i < 10; i++) {
      lab.nowMs += 100;
      lab.controller.observe(lab.sample(i === 0 ? 700 : 100), lab.nowMs);
      lab.controller.tick(lab.nowMs, null);
    }
  };
  for (let i = 0; i < 14; i++) second();
  t.equal(lab.state, 'normal');
  for (let i = 0; i < 3; i++) second();
  t.same([lab.state, lab.reasons], ['degraded', ['p95_latency']]);
});

t.test('a tail that is slow for ten seconds at a time degrades nothing', async (t) => {
  const lab = new Lab(TAIL);
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < 14; i++) lab.answers(1, 700);
    for (let i = 0; i < 60; i++) lab.answers(1, 100);
  }
  t.equal(lab.state, 'normal');
});

t.test('three out-of-memory answers in a row degrade, two with an answer between do not', async (t) => {
  const lab = new Lab(TAIL);
  lab.answers(2, 5, SampleKind.OUT_OF_MEMORY);
  lab.answers(1, 50);
  lab.answers(2, 5, SampleKind.OUT_OF_MEMORY);
  t.equal(lab.state, 'normal');
  lab.answers(1, 5, SampleKind.OUT_OF_MEMORY);
  t.same([lab.state, lab.reasons], ['degraded', ['out_of_memory']]);
});

t.test('the ladder goes 10, 30, 60, 100 %, twenty good answers a step', async (t) => {
  const lab = new Lab(MEAN);
  lab.answers(10, 900);
  lab.probes(9, 100);
  t.equal(lab.state, 'degraded');
  lab.probes(1, 100);
  t.same([lab.state, lab.share], ['returning', 10]);
  for (const share of [30, 60, 100]) {
    lab.answers(19, 100);
    t.not(lab.share, share);
    lab.answers(1, 100);
    t.equal(lab.share, share);
  }
  t.equal(lab.state, 'returning', 'all the traffic, and still on trial');
  lab.answers(20, 100);
  t.same([lab.state, lab.share], ['normal', 100]);
  t.same(lab.controller.passed, [1_000, 3_000, 6_000, 10_000]);
  t.same(lab.reasons, ['mean_latency', 'probes_passed', ...Array(4).fill('step_passed')]);
});

t.test('the return asks for 0.7 of the limit: below it passes, at it does not', async (t) => {
  const lab = new Lab(MEAN);
  lab.answers(10, 900);
  lab.probes(30, 350);
  t.equal(lab.state, 'degraded');
  lab.probes(10, 349);
  t.equal(lab.state, 'returning');
  lab.answers(60, 400);
  t.same([lab.state, lab.share], ['returning', 10], 'neither good enough nor a relapse');
  lab.answers(20, 100);
  t.equal(lab.share, 30);
});

t.test('a failed probe keeps the model degraded until ten good ones follow', async (t) => {
  const lab = new Lab(MEAN);
  lab.answers(10, 900);
  lab.probes(9, 100);
  lab.probes(1, 1, SampleKind.FAILED);
  lab.probes(9, 100);
  t.equal(lab.state, 'degraded');
  lab.probes(1, 100);
  t.equal(lab.state, 'returning');
});

t.test('device memory has to be under its limit for a minute', async (t) => {
  const lab = new Lab(TAIL);
  lab.memory = 0.95;
  lab.answers(3, 5, SampleKind.OUT_OF_MEMORY);
  lab.probes(60, 100);
  t.equal(lab.state, 'degraded', 'probes are good, memory is not');
  lab.memory = 0.5;
  lab.probes(40, 100);
  lab.memory = 0.7;
  lab.probes(1, 100);
  lab.memory = 0.5;
  lab.probes(59, 100);
  t.equal(lab.state, 'degraded', 'a moment at the limit starts the minute again');
  lab.probes(3, 100);
  t.same([lab.state, lab.share], ['returning', 10]);
});

t.test('a reading that is missing is no free memory; a machine without devices has no such condition', async (t) => {
  const lab = new Lab(TAIL);
  lab.memory = Number.NaN;
  lab.answers(3, 5, SampleKind.OUT_OF_MEMORY);
  lab.probes(100, 100);
  t.equal(lab.state, 'degraded');
  lab.memory = null;
  lab.probes(1, 100);
  t.equal(lab.state, 'returning');
});

t.test('a relapse goes one step back, and from the first step to degraded', async (t) => {
  const lab = new Lab({ memoryBelowFraction: 0, meanOverMs: 0 });
  lab.answers(3, 5, SampleKind.OUT_OF_MEMORY);
  lab.probes(10, 100);
  lab.answers(20, 100);
  lab.answers(20, 100);
  t.equal(lab.share, 60);
  lab.answers(3, 5, SampleKind.OUT_OF_MEMORY);
  t.same([lab.state, lab.share, lab.controller.passed], ['returning', 30, [1_000]]);
  lab.answers(3, 5, SampleKind.OUT_OF_MEMORY);
  lab.answers(3, 5, SampleKind.OUT_OF_MEMORY);
  t.same([lab.state, lab.share, lab.controller.passed], ['degraded', 0, []]);
  t.equal(lab.controller.entered, 1, 'it was never well again in between');
});

t.test(
  'a step that relapsed asks for twice the answers, so that a half-bearable load is not tried in a loop',
  async (t) => {
    const lab = new Lab({ memoryBelowFraction: 0 });
    lab.answers(3, 5, SampleKind.OUT_OF_MEMORY);
    lab.probes(10, 100);
    let relapses = 0;
    // The primary bears 30 % of the load and no more.
    for (let i = 0; i < 2_000; i++) {
      if (lab.share <= 30) lab.answers(1, 100);
      else {
        lab.answers(3, 5, SampleKind.OUT_OF_MEMORY);
        relapses++;
      }
    }
    t.ok(relapses <= 9, `${relapses} relapses in 2,000 answers; without the doubling there would be 95`);
    t.ok(lab.share >= 10);
  },
);

t.test('answers to requests begun before a change do not count for the state it made', async (t) => {
  const lab = new Lab(MEAN);
  lab.answers(10, 900);
  lab.nowMs += 400;
  for (let i = 0; i < 20; i++) lab.controller.observe(lab.sample(450, SampleKind.ANSWERED), lab.nowMs);
  lab.probes(10, 100);
  t.equal(lab.state, 'returning', 'stragglers are in no window');
  for (let i = 0; i < 20; i++) lab.controller.observe(lab.sample(5_000), lab.nowMs);
  t.equal(lab.share, 10, 'nor do they relapse');
});

t.test('an operator degrades and holds; restore climbs the ladder, reset skips it', async (t) => {
  const lab = new Lab(MEAN);
  lab.controller.obey('degrade', lab.nowMs);
  lab.probes(50, 10);
  t.same([lab.state, lab.controller.held], ['degraded', true]);
  lab.controller.obey('restore', lab.nowMs);
  t.same([lab.state, lab.share], ['returning', 10]);
  lab.controller.obey('degrade', lab.nowMs);
  lab.controller.obey('reset', lab.nowMs);
  t.same([lab.state, lab.share], ['normal', 100]);
  lab.controller.obey('restore', lab.nowMs);
  t.equal(lab.state, 'normal', 'nothing to restore');
});

t.test('new thresholds take effect at once and keep the state', async (t) => {
  const lab = new Lab(MEAN);
  lab.answers(20, 400);
  t.equal(lab.state, 'normal');
  lab.controller.updatePolicy({ ...POLICY, ...MEAN, meanOverMs: 300 });
  lab.answers(10, 400);
  t.equal(lab.state, 'degraded');
  lab.controller.updatePolicy({ ...POLICY, ...MEAN, meanOverMs: 1_000, probes: 3, stepAnswers: 5 });
  lab.probes(3, 400);
  t.same([lab.state, lab.share], ['returning', 10]);
  lab.answers(5, 400);
  t.equal(lab.share, 30);
  lab.controller.updatePolicy({ ...POLICY, ...MEAN, meanOverMs: 1_000, ladderHundredths: [5_000, 10_000] });
  t.equal(lab.share, 100, 'the second step of the new ladder');
});

t.test('whatever comes, shares are those of the ladder and never skip a step upwards', async () => {
  const event = fc.oneof(
    fc.record({
      kind: fc.constantFrom(0, 1, 2, 3),
      latencyMs: fc.integer({ min: 1, max: 1_500 }),
      isProbe: fc.boolean(),
    }),
    fc.constantFrom('degrade' as const, 'restore' as const),
    fc.record({ memory: fc.constantFrom(null, Number.NaN, 0.2, 0.9) }),
  );
  const SHARES = [0, 10, 30, 60, 100];
  fc.assert(
    fc.property(fc.array(fc.tuple(event, fc.integer({ min: 1, max: 20 })), { maxLength: 60 }), (events) => {
      const lab = new Lab({ memoryForMs: 2_000, p95ForMs: 3_000, probes: 3, stepAnswers: 4 });
      for (const [what, times] of events) {
        for (let i = 0; i < times; i++) {
          lab.pass(500);
          if (typeof what === 'string') lab.controller.obey(what, lab.nowMs);
          else if ('memory' in what) lab.memory = what.memory;
          else lab.controller.observe({ ...what, endedMs: lab.nowMs }, lab.nowMs);
          lab.controller.tick(lab.nowMs, lab.memory);
        }
      }
      for (const { from, to, fromShareHundredths, shareHundredths } of lab.told) {
        const [before, after] = [SHARES.indexOf(fromShareHundredths / 100), SHARES.indexOf(shareHundredths / 100)];
        if (before < 0 || after < 0) return false;
        if (after > before + 1) return false;
        if ((to === 'degraded') !== (after === 0)) return false;
        if (from === 'normal' && to !== 'degraded') return false;
      }
      return true;
    }),
    { numRuns: runs(150) },
  );
});
