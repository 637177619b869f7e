/** The table, as text; and how it reaches a terminal or a log. */
import t from 'tap';
import { LiveTable, type LiveView, renderLine, renderLive } from '../../../../deploy/demo/live-table.ts';

const VIEW: LiveView = {
  elapsedMs: 7400,
  requests: 1110,
  failed: 0,
  perSecond: 150.2,
  p50Ms: 1.234,
  p99Ms: 4.5,
  answerers: [
    { name: 'credit-risk@1', recently: 120, inAll: 1000 },
    { name: 'credit-risk-lite@1', recently: 30, inAll: 110 },
  ],
  shadow: { name: 'credit-risk@2', pairs: 980, dropped: 0, agreement: 0.95 },
  cohorts: [
    { name: 'salaried', pairs: 600, agreement: 0.97 },
    { name: 'freelancer', pairs: 50, agreement: 0.56 },
    { name: 'student', pairs: 5, agreement: 0.6 },
  ],
  breakers: [
    { name: 'credit-risk@1', state: 'open' },
    { name: 'credit-risk@2', state: 'closed' },
  ],
  degradation: null,
  adminUrl: 'http://127.0.0.1:15000',
};

class FakeScreen {
  readonly isTTY: boolean;
  rows = 40;
  written = '';
  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }
  write(text: string): void {
    this.written += text;
  }
}

t.test('the table shows load, answerers, agreement by cohort and breakers', async (t) => {
  const text = renderLive(VIEW, false).join('\n');
  for (const part of [
    '150 /s',
    '0 failed',
    'p50   1.23 ms',
    'credit-risk-lite@1   20.0%',
    '980 pairs',
    'open',
    'http://127.0.0.1:15000',
  ]) {
    t.ok(text.includes(part), part);
  }
});

t.test('a cohort far below the rest stands out, once it has pairs enough', async (t) => {
  const marked = renderLive(VIEW, false).filter((line) => line.includes('stands out'));
  t.equal(marked.length, 1);
  t.match(marked[0], /freelancer/);
});

t.test('colours add no visible characters', async (t) => {
  const escapeCharacter = String.fromCharCode(27);
  const bare = renderLive(VIEW, true).map((line) =>
    line
      .split(escapeCharacter)
      .map((part, i) => (i === 0 ? part : part.replace(/^\[\d+m/, '')))
      .join(''),
  );
  t.same(bare, renderLive(VIEW, false));
});

t.test('missing figures are dashes, never NaN', async (t) => {
  const empty = {
    ...VIEW,
    p50Ms: NaN,
    p99Ms: NaN,
    answerers: [],
    cohorts: [],
    breakers: [],
    shadow: { ...VIEW.shadow, agreement: NaN },
  };
  t.notMatch(renderLive(empty, false).join('\n'), /NaN/);
  t.notMatch(renderLine(empty), /NaN/);
});

t.test('one line tells the same', async (t) => {
  t.equal(
    renderLine(VIEW),
    '7 s | 150/s | p50 1.23 ms p99 4.50 ms | failed 0 | answered by credit-risk@1 120, credit-risk-lite@1 30 | shadow agrees 95.0%, least for freelancer 56.0% | breakers credit-risk@1 open',
  );
});

t.test('on a terminal the table is redrawn in place and announcements stay above it', async (t) => {
  const screen = new FakeScreen(true);
  const table = new LiveTable(screen);
  const lines = renderLive(VIEW, false).length;
  table.draw(VIEW);
  t.notOk(screen.written.includes(`\u001b[${lines}A`), 'nothing to go back over at first');
  screen.written = '';
  table.draw(VIEW);
  t.ok(screen.written.startsWith(`\u001b[${lines}A\r`));
  screen.written = '';
  table.announce('killed');
  t.ok(screen.written.startsWith(`\u001b[${lines}A\r`));
  t.ok(screen.written.endsWith('killed\n'));
  screen.written = '';
  table.draw(VIEW);
  t.notOk(screen.written.includes(`\u001b[${lines}A`), 'drawn below the announcement');
});

t.test('a table taller than the terminal is cut', async (t) => {
  const screen = new FakeScreen(true);
  screen.rows = 10;
  const table = new LiveTable(screen);
  table.draw(VIEW);
  t.equal(screen.written.split('\n').length - 1, 9);
});

t.test('elsewhere a plain line appears every few seconds', async (t) => {
  const screen = new FakeScreen(false);
  const table = new LiveTable(screen);
  for (let elapsedMs = 0; elapsedMs < 10_000; elapsedMs += 250) table.draw({ ...VIEW, elapsedMs });
  t.equal(screen.written.trimEnd().split('\n').length, 4);
  t.notOk(screen.written.includes('\u001b'));
});

t.test('a model with a degradation policy has a line that says who gets its calls', async (t) => {
  const text = renderLive({ ...VIEW, degradation: { state: 'returning', primaryPercent: 30 } }, false).join('\n');
  t.match(text, /degradation +returning, the primary gets 30 % of the calls/);
  t.notMatch(renderLive(VIEW, false).join('\n'), /degradation/);
});
