/**
 * Keeps the process of one isolation group running: starts it, learns when it serves, starts it again after a delay when
 * it dies, kills it when it says it is stuck, and drains it at the end. Rule: at most one process of the group at a time,
 * and none once STOPPED. Processes and timers come from outside, so tests need neither.
 */
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import type { GroupCommand, GroupReport } from './group-messages.ts';
import type { ListenAddress } from './isolation-groups.ts';
import { LifeSign } from './life-sign.ts';
import type { RestartBackoff } from './restart-backoff.ts';

/** A running process of a group. */
export interface GroupProcess {
  readonly pid: number;
  send(command: GroupCommand): void;
  kill(): void;
}

export interface GroupProcessEvents {
  onReport(report: GroupReport): void;
  /** Called exactly once; `reason` is for people, such as `signal SIGKILL` or `exit code 1`. */
  onExit(reason: string): void;
}

export interface GroupSupervisorOptions {
  readonly name: string;
  readonly spawn: (events: GroupProcessEvents) => GroupProcess;
  readonly backoff: RestartBackoff;
  readonly clock: Clock;
  /** Calls `then` after `ms`; the returned function forgets it. */
  readonly after: (ms: number, then: () => void) => () => void;
  /** How long a draining process may take before it is killed. */
  readonly drainMs: number;
  /** A process that serves and gives no sign of life for this long is killed; 0 or absent never. Milliseconds. */
  readonly silenceMs?: number;
  readonly onChange: (change: GroupChange) => void;
}

export type GroupState =
  /** No process, and none will be started. Also where every group begins. */
  | { readonly kind: 'STOPPED' }
  /** The process loads its models. */
  | { readonly kind: 'STARTING'; readonly process: GroupProcess; readonly sinceMs: number }
  /** The process serves. */
  | { readonly kind: 'READY'; readonly process: GroupProcess; readonly sinceMs: number }
  /** The process died; the next one starts when the delay is over. */
  | { readonly kind: 'WAITING'; readonly cancel: () => void }
  /** The process finishes its calls. */
  | { readonly kind: 'DRAINING'; readonly process: GroupProcess; readonly cancel: () => void };

export type GroupStateKind = GroupState['kind'];

/** Every legal change. */
export const LEGAL_GROUP_TRANSITIONS: Readonly<Record<GroupStateKind, readonly GroupStateKind[]>> = {
  STOPPED: ['STARTING'],
  STARTING: ['READY', 'WAITING', 'DRAINING'],
  READY: ['WAITING', 'DRAINING'],
  WAITING: ['STARTING', 'STOPPED'],
  DRAINING: ['STOPPED'],
};

/** A change of state, with what is worth printing about it. */
export interface GroupChange {
  readonly group: string;
  readonly from: GroupStateKind;
  readonly to: GroupStateKind;
  /** The process concerned; null while there is none. */
  readonly pid: number | null;
  readonly reason?: string;
  readonly restartInMs?: number;
  readonly addresses?: readonly ListenAddress[];
  /** The execution provider in force. */
  readonly provider?: string;
  /** How long the process took to become ready. */
  readonly startedInMs?: number;
}

/** What a stuck process is given to send the failures it has already decided on. */
const BROKEN_GRACE_MS = 100;

export class GroupSupervisor {
  readonly name: string;
  private readonly options: GroupSupervisorOptions;
  private current: GroupState = { kind: 'STOPPED' };
  private stopRequested = false;
  private lifeSign: LifeSign | null = null;
  /** Why this side killed the process, where it did. */
  private killReason: string | null = null;
  private wasReady = false;
  private readonly stopWaiters: (() => void)[] = [];
  /** Why the process cannot serve, when starting it again would not help and it has never served. */
  fatal: string | null = null;

  constructor(options: GroupSupervisorOptions) {
    this.name = options.name;
    this.options = options;
  }

  get state(): GroupState {
    return this.current;
  }

  /** Starts the first process. */
  start(): void {
    this.spawn();
  }

  /** Drains the process, or gives up waiting for the next one. Resolves at STOPPED. */
  async stop(): Promise<void> {
    this.stopRequested = true;
    const { current } = this;
    if (current.kind === 'WAITING') {
      current.cancel();
      this.move({ kind: 'STOPPED' }, {});
    } else if (current.kind === 'STARTING' || current.kind === 'READY') {
      const { process } = current;
      const cancel = this.options.after(this.options.drainMs, () => process.kill());
      this.move({ kind: 'DRAINING', process, cancel }, {});
      process.send({ kind: 'drain' });
    }
    if (this.current.kind === 'STOPPED') return;
    await new Promise<void>((resolve) => this.stopWaiters.push(resolve));
  }

  /** Sends to the process that serves, or loads; false when there is none. */
  send(command: GroupCommand): boolean {
    if (!('process' in this.current)) return false;
    this.current.process.send(command);
    return true;
  }

  /** Ends the process at once; what follows is what follows any death. */
  kill(): void {
    if ('process' in this.current) this.current.process.kill();
  }

  private spawn(): void {
    // The first events come in a later turn, when the state below is in place.
    const process = this.options.spawn({
      onReport: (report) => this.reported(process, report),
      onExit: (reason) => this.exited(reason),
    });
    this.move({ kind: 'STARTING', process, sinceMs: this.options.clock.nowMs() }, {});
  }

  private reported(process: GroupProcess, report: GroupReport): void {
    const { current } = this;
    this.lifeSign?.heard();
    if (report.kind === 'metrics' || report.kind === 'pong') return;
    if (report.kind === 'unbindable' || report.kind === 'unservable') {
      if (!this.wasReady) this.fatal = report.message;
    } else if (report.kind === 'broken') {
      this.options.after(BROKEN_GRACE_MS, () => process.kill());
    } else if (current.kind === 'STARTING') {
      this.wasReady = true;
      const nowMs = this.options.clock.nowMs();
      const startedInMs = Math.round(nowMs - current.sinceMs);
      this.watch(process);
      this.move(
        { kind: 'READY', process, sinceMs: nowMs },
        { addresses: report.addresses, provider: report.provider, startedInMs },
      );
    }
  }

  private watch(process: GroupProcess): void {
    const { silenceMs = 0, after } = this.options;
    if (silenceMs === 0) return;
    this.lifeSign = new LifeSign(process, silenceMs, after, () => {
      this.killReason = `no sign of life for ${silenceMs} ms`;
      process.kill();
    });
  }

  private exited(exitReason: string): void {
    const { current } = this;
    const reason = this.killReason ?? exitReason;
    this.killReason = null;
    this.lifeSign?.stop();
    this.lifeSign = null;
    if (current.kind === 'DRAINING') {
      current.cancel();
      this.move({ kind: 'STOPPED' }, { reason });
      for (const resolve of this.stopWaiters.splice(0)) resolve();
      return;
    }
    const readyForMs = current.kind === 'READY' ? this.options.clock.nowMs() - current.sinceMs : 0;
    const delayMs = this.options.backoff.nextDelayMs(readyForMs);
    const cancel = this.options.after(delayMs, () => {
      if (!this.stopRequested) this.spawn();
    });
    this.move({ kind: 'WAITING', cancel }, { reason, restartInMs: Math.round(delayMs) });
  }

  /** Changes state and tells. An illegal change is a programmer's error. */
  private move(next: GroupState, more: Partial<GroupChange>): void {
    const from = this.current;
    const legal = LEGAL_GROUP_TRANSITIONS[from.kind].includes(next.kind);
    assert(legal, `group ${this.name} cannot go from ${from.kind} to ${next.kind}`);
    this.current = next;
    const about = 'process' in next ? next : from;
    const pid = 'process' in about ? about.process.pid : null;
    this.options.onChange({ group: this.name, from: from.kind, to: next.kind, pid, ...more });
  }
}
