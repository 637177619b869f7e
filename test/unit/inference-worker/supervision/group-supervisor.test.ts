import t from 'tap';
import type { GroupCommand } from '../../../../inference-worker/supervision/group-messages.ts';
import {
  type GroupChange,
  type GroupProcessEvents,
  GroupSupervisor,
} from '../../../../inference-worker/supervision/group-supervisor.ts';
import { RestartBackoff } from '../../../../inference-worker/supervision/restart-backoff.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

/** A group whose processes and timers are moved by hand. */
class Stage {
  readonly clock = new VirtualClock();
  readonly changes: GroupChange[] = [];
  readonly processes: { events: GroupProcessEvents; sent: GroupCommand[]; killed: boolean }[] = [];
  readonly timers: { dueMs: number; then: () => void }[] = [];
  readonly supervisor: GroupSupervisor;

  constructor(silenceMs = 0) {
    this.supervisor = new GroupSupervisor({
      name: 'g',
      spawn: (events) => {
        const made = { events, sent: [] as GroupCommand[], killed: false };
        this.processes.push(made);
        return {
          pid: 100 + this.processes.length,
          send: (command) => made.sent.push(command),
          kill: () => {
            made.killed = true;
          },
        };
      },
      backoff: new RestartBackoff(() => 0.5),
      clock: this.clock,
      after: (ms, then) => {
        const timer = { dueMs: this.clock.nowMs() + ms, then };
        this.timers.push(timer);
        return () => {
          this.timers.splice(this.timers.indexOf(timer), 1);
        };
      },
      drainMs: 1_000,
      silenceMs,
      onChange: (change) => this.changes.push(change),
    });
  }

  get last() {
    return this.processes.at(-1)!;
  }

  get states(): string[] {
    return this.changes.map(({ to, pid }) => `${to} ${pid}`);
  }

  advance(ms: number): void {
    this.clock.advance(ms);
    for (const timer of [...this.timers]) {
      if (timer.dueMs > this.clock.nowMs()) continue;
      this.timers.splice(this.timers.indexOf(timer), 1);
      timer.then();
    }
  }
}

t.test('a killed process is started again after the delay', async (t) => {
  const stage = new Stage();
  stage.supervisor.start();
  stage.advance(555);
  stage.last.events.onReport({ kind: 'ready', addresses: [] });
  stage.advance(60_000);
  stage.last.events.onExit('signal SIGKILL');
  t.match(stage.changes.at(-1), { to: 'WAITING', pid: 101, reason: 'signal SIGKILL', restartInMs: 100 });
  stage.advance(99);
  t.equal(stage.processes.length, 1);
  stage.advance(1);
  t.equal(stage.processes.length, 2);
  stage.last.events.onReport({ kind: 'ready', addresses: [] });
  t.same(stage.states, ['STARTING 101', 'READY 101', 'WAITING 101', 'STARTING 102', 'READY 102']);
  t.equal(stage.changes[1]?.startedInMs, 555);
});

t.test('a process that keeps dying is started ever more rarely', async (t) => {
  const stage = new Stage();
  stage.supervisor.start();
  for (const delayMs of [100, 200, 400]) {
    stage.last.events.onExit('exit code 1');
    t.equal(stage.changes.at(-1)?.restartInMs, delayMs);
    stage.advance(delayMs);
  }
  t.equal(stage.processes.length, 4);
});

t.test('stop drains the process and resolves when it has ended', async (t) => {
  const stage = new Stage();
  stage.supervisor.start();
  stage.last.events.onReport({ kind: 'ready', addresses: [] });
  const stopped = stage.supervisor.stop();
  t.same(stage.last.sent, [{ kind: 'drain' }]);
  stage.last.events.onExit('exit code 0');
  await stopped;
  t.equal(stage.supervisor.state.kind, 'STOPPED');
  t.equal(stage.timers.length, 0, 'nothing is left to happen');
});

t.test('a process that does not end by the drain deadline is killed', async (t) => {
  const stage = new Stage();
  stage.supervisor.start();
  const stopped = stage.supervisor.stop();
  stage.advance(999);
  t.notOk(stage.last.killed);
  stage.advance(1);
  t.ok(stage.last.killed);
  stage.last.events.onExit('signal SIGKILL');
  await stopped;
});

t.test('stop while waiting to restart starts nothing more', async (t) => {
  const stage = new Stage();
  stage.supervisor.start();
  stage.last.events.onExit('exit code 1');
  await stage.supervisor.stop();
  stage.advance(60_000);
  t.equal(stage.processes.length, 1);
  t.equal(stage.supervisor.state.kind, 'STOPPED');
});

t.test('a stuck process is killed and replaced', async (t) => {
  const stage = new Stage();
  stage.supervisor.start();
  stage.last.events.onReport({ kind: 'ready', addresses: [] });
  stage.last.events.onReport({ kind: 'broken', message: 'stuck' });
  stage.advance(100);
  t.ok(stage.last.killed);
  stage.last.events.onExit('signal SIGKILL');
  stage.advance(100);
  t.equal(stage.processes.length, 2);
});

t.test('an address that cannot be bound is fatal only to a group that never served', async (t) => {
  const never = new Stage();
  never.supervisor.start();
  never.last.events.onReport({ kind: 'unbindable', message: 'in use' });
  t.equal(never.supervisor.fatal, 'in use');
  const served = new Stage();
  served.supervisor.start();
  served.last.events.onReport({ kind: 'ready', addresses: [] });
  served.last.events.onExit('signal SIGSEGV');
  served.advance(100);
  served.last.events.onReport({ kind: 'unbindable', message: 'in use' });
  t.equal(served.supervisor.fatal, null);
});

t.test('a process that gives no sign of life is killed, and the reason is told', async (t) => {
  const stage = new Stage(800);
  stage.supervisor.start();
  const { events } = stage.last;
  events.onReport({ kind: 'ready', addresses: [] });
  for (let i = 0; i < 10; i++) {
    stage.advance(200);
    events.onReport({ kind: 'pong' });
  }
  t.equal(stage.last.killed, false, 'it answers');
  for (let i = 0; i < 3; i++) stage.advance(200);
  t.equal(stage.last.killed, false);
  stage.advance(200);
  stage.advance(200);
  t.equal(stage.last.killed, true);
  events.onExit('signal SIGKILL');
  t.match(stage.changes.at(-1), { to: 'WAITING', reason: 'no sign of life for 800 ms' });
  stage.advance(100_000);
  t.equal(stage.processes.length, 2);
  t.equal(stage.last.sent.length, 0, 'one that loads is left alone');
});

t.test('a machine that slept does not take its processes for dead', async (t) => {
  const stage = new Stage(800);
  stage.supervisor.start();
  stage.last.events.onReport({ kind: 'ready', addresses: [] });
  stage.advance(3_600_000);
  t.equal(stage.last.killed, false);
});
