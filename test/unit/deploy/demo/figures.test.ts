/** What the demo reads from the sidecar and what it prints at the end. */
import t from 'tap';
import { FailoverWatch } from '../../../../deploy/demo/failover-watch.ts';
import { figuresOf } from '../../../../deploy/demo/figures.ts';
import { LiveTable } from '../../../../deploy/demo/live-table.ts';
import { Narrator } from '../../../../deploy/demo/narrator.ts';
import { EMPTY_VIEW } from '../../../../deploy/demo/sidecar-admin.ts';
import { Tally } from '../../../../deploy/demo/tally.ts';

const VIEW = {
  shadow: { pairs: 200, dropped: 3, agreement: 0.95123 },
  cohorts: [
    { name: 'salaried', pairs: 150, agreement: 0.98 },
    { name: 'freelancer', pairs: 50, agreement: 0.5 },
  ],
  breakers: [{ name: 'credit-risk@1', state: 'closed' }],
  degradation: { state: 'normal', reason: 'step_passed', primaryPercent: 100, entered: 1, ladder: [10, 100] },
  verdicts: { salaried: { harm: false, pairs: 150 }, freelancer: { harm: true, pairs: 50 } },
};

function tallyOf(...answerers: string[]): Tally {
  const tally = new Tally();
  for (const answeredBy of answerers) tally.record({ answeredBy, failure: '', sentAtMs: 0, endedAtMs: 2 });
  return tally;
}

t.test('the figures have the agreed names and at most three decimals', async (t) => {
  const watch = new FailoverWatch('credit-risk@1');
  watch.killed(0);
  watch.record({ answeredBy: 'credit-risk-lite@1', failure: '', sentAtMs: 1, endedAtMs: 4.56789 });
  const figures = figuresOf(tallyOf('credit-risk@1', 'credit-risk-lite@1'), 1000, VIEW, watch.report());
  t.match(figures, {
    requests: 2,
    failed: 0,
    answeredBy: { 'credit-risk@1': 1, 'credit-risk-lite@1': 1 },
    shadow: {
      pairs: 200,
      dropped: 3,
      agreement: 0.951,
      byCohort: { salaried: { pairs: 150, agreement: 0.98 }, freelancer: { pairs: 50, agreement: 0.5 } },
    },
    kill: { failed: 0, fallbackMs: 4.568, recoveredMs: null },
  });
  t.same(Object.keys(figures), ['requests', 'failed', 'p50Ms', 'p99Ms', 'answeredBy', 'shadow', 'kill']);
});

t.test('a run with the second act also has the degradation and the verdicts', async (t) => {
  const degradation = { entered: 1, ladder: [10, 30, 60, 100], failed: 0 };
  const figures = figuresOf(tallyOf('credit-risk@1'), 1000, VIEW, new FailoverWatch('m@1').report(), degradation);
  t.same(Object.keys(figures).slice(-3), ['kill', 'degradation', 'verdicts']);
  t.same(figures.degradation, degradation);
  t.same(figures.verdicts, { salaried: { harm: false, pairs: 150 }, freelancer: { harm: true, pairs: 50 } });
});

t.test('what was never measured is null in JSON, not NaN', async (t) => {
  const figures = figuresOf(new Tally(), 0, EMPTY_VIEW, new FailoverWatch('m@1').report());
  t.same(JSON.parse(JSON.stringify(figures)), figures);
  t.equal(figures.p50Ms, null);
  t.equal(figures.shadow.agreement, null);
});

t.test('the ending names the cohort that stands out and every failure', async (t) => {
  let text = '';
  const narrator = new Narrator(new LiveTable({ write: (line) => (text += line) }), 'credit-risk@1', 'credit-risk@2');
  const tally = tallyOf('credit-risk@1');
  tally.record({ answeredBy: '', failure: 'UNAVAILABLE', sentAtMs: 0, endedAtMs: 1 });
  narrator.ending(tally, VIEW);
  t.match(text, /2 calls: 1 by credit-risk@1; 1 failed/);
  t.match(text, /1 failed with UNAVAILABLE/);
  t.match(text, /credit-risk@2 harms freelancer applicants, on the evidence of 50 pairs/);
  t.notMatch(text, /harms salaried/);
  t.match(text, /95\.1 % of 200 pairs, but for freelancer applicants in 50\.0 %/);
});

t.test('only breakers whose state changed are told of', async (t) => {
  let text = '';
  const narrator = new Narrator(new LiveTable({ write: (line) => (text += line) }), 'credit-risk@1', 'credit-risk@2');
  narrator.breakersChanged(EMPTY_VIEW, VIEW);
  narrator.breakersChanged(VIEW, VIEW);
  t.equal(text, '');
  narrator.breakersChanged(VIEW, { ...VIEW, breakers: [{ name: 'credit-risk@1', state: 'open' }] });
  t.match(text, /credit-risk@1 went from closed to open/);
});
