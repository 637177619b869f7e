/**
 * Starts the process of a group as a child with an IPC channel. `MALLOC_TRIM_THRESHOLD_` makes glibc give the memory of
 * an unloaded model back (measured: 81 MB instead of 163 to 181 after unloading a model of 103 MB).
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ServingSettings } from '../settings.ts';
import type { GroupReport } from './group-messages.ts';
import type { GroupProcess, GroupProcessEvents } from './group-supervisor.ts';
import type { GroupSettings } from './isolation-groups.ts';

const ENTRY = fileURLToPath(new URL('../group-process.ts', import.meta.url));
/**
 * MiB of V8's young generation. What a call allocates dies young, so more room buys nothing (measured: the same CPU per
 * call), while the default of 16 stays resident: 20 loads and unloads of a 100 MB model left 12 % more memory, now 6 %.
 */
const CHILD_FLAGS = ['--max-semi-space-size=4'];
export const CHILD_ENVIRONMENT = { MALLOC_TRIM_THRESHOLD_: '131072' };

/** Forks the process and tells it what to serve. */
export function forkGroup(group: GroupSettings, serving: ServingSettings, events: GroupProcessEvents): GroupProcess {
  const child = fork(ENTRY, [], {
    env: { ...process.env, ...CHILD_ENVIRONMENT },
    execArgv: [...process.execArgv, ...CHILD_FLAGS],
    serialization: 'advanced',
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  let exited = false;
  const exit = (reason: string): void => {
    if (exited) return;
    exited = true;
    events.onExit(reason);
  };
  child.on('message', (message) => events.onReport(message as GroupReport));
  child.on('exit', (code, signal) => exit(signal === null ? `exit code ${code}` : `signal ${signal}`));
  // Without a pid the process never began and has no exit; with one, an error is a message that could not be sent.
  child.on('error', (error) => {
    if (child.pid === undefined) exit(`cannot start: ${error.message}`);
  });
  send(child, { kind: 'start', group, serving });
  return {
    pid: child.pid ?? 0,
    send: (command) => send(child, command),
    kill: () => {
      child.kill('SIGKILL');
    },
  };
}

/** A child that is gone takes no message; its exit says the rest. */
function send(child: ChildProcess, message: object): void {
  if (child.connected) child.send(message, () => {});
}
