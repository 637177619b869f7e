/** The second act: what it tells and counts of the sidecar's words, and that nothing stays stopped. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { DegradationAct } from '../../../../deploy/demo/degradation-act.ts';
import type { DegradationView } from '../../../../deploy/demo/sidecar-admin.ts';
import { Tally } from '../../../../deploy/demo/tally.ts';
import { Throttle } from '../../../../deploy/demo/throttle.ts';

const view = (state: string, primaryPercent: number, ladder: number[] = []): DegradationView => ({
  state,
  reason: 'mean_latency',
  primaryPercent,
  entered: 1,
  ladder,
});

function act() {
  const told: string[] = [];
  const tally = new Tally();
  const made = new DegradationAct(
    'm@1',
    () => null,
    tally,
    (text) => told.push(text),
  );
  t.teardown(() => made.stop());
  return { act: made, tally, told };
}

t.test(
  'the act goes through its scenes by what the sidecar says, and counts calls that failed meanwhile',
  async (t) => {
    const { act: played, tally, told } = act();
    const fails = () => tally.record({ answeredBy: '', failure: 'UNAVAILABLE', sentAtMs: 0, endedAtMs: 1 });
    fails();
    played.follow(view('degraded', 0), 0);
    t.equal(played.scene, 'waiting', 'not begun');
    played.begin(1000);
    played.follow(view('normal', 100), 1100);
    t.equal(played.scene, 'throttled');
    played.follow(view('degraded', 0), 2000);
    fails();
    played.follow(view('degraded', 0), 6000);
    t.match(told.at(-1), /has all of its time again/);
    for (const share of [10, 30, 30, 60, 100]) played.follow(view('returning', share), 7000);
    t.same([played.scene, played.isOn], ['returning', true]);
    played.follow(view('normal', 100, [10, 30, 60, 100]), 8000);
    t.same([played.scene, played.isOn], ['over', false]);
    fails();
    t.same(played.figures(), { entered: 1, ladder: [10, 30, 60, 100], failed: 1 });
    t.equal(told.filter((text) => /gets \d+ % of the calls/.test(text)).length, 4, 'each step once');
    t.match(told.join('\n'), /150 ms instead of 500 ms/);
  },
);

t.test('an act that nobody notices ends', async (t) => {
  const { act: played } = act();
  played.begin(0);
  played.follow(view('normal', 100), 9000);
  t.equal(played.isOn, true);
  played.follow(view('normal', 100), 11_000);
  t.equal(played.isOn, false);
});

t.test('a throttled process is stopped for a while, and runs when the throttle ends', async (t) => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  const isStopped = () => /^State:\s+T/m.test(readFileSync(`/proc/${child.pid}/status`, 'utf8'));
  const throttle = new Throttle(() => child.pid!);
  throttle.start();
  for (let i = 0; i < 100 && !isStopped(); i++) await delay(5);
  t.equal(isStopped(), true);
  throttle.end();
  for (let i = 0; i < 100 && isStopped(); i++) await delay(5);
  t.equal(isStopped(), false);
});

t.test('a throttle whose process is gone does nothing', async () => {
  const throttle = new Throttle(
    () => 1,
    () => {
      throw new Error('ESRCH');
    },
  );
  throttle.start();
  throttle.end();
});
