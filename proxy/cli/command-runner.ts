/**
 * Owns the running of system commands for the command line: bounded in time and output, never through a shell, and
 * replaceable in tests.
 */
import { spawnSync } from 'node:child_process';

export interface CommandResult {
  /** The command is not installed. */
  readonly missing: boolean;
  /** Exit status; -1 when it did not run or was stopped by a signal or by the time limit. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type CommandRunner = (command: string, args: readonly string[], input?: string) => CommandResult;

/** Long enough for a lock that another rule writer holds (we ask for 5 s), short enough for an init container. */
const COMMAND_TIMEOUT_MS = 15_000;
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
/** Minimal images leave the sbin folders out of PATH. */
const SYSTEM_FOLDERS = '/usr/local/sbin:/usr/sbin:/sbin';

export const runCommand: CommandRunner = (command, args, input) => {
  const result = spawnSync(command, args, {
    input: input ?? '',
    encoding: 'utf8',
    timeout: COMMAND_TIMEOUT_MS,
    maxBuffer: MAX_OUTPUT_BYTES,
    env: { ...process.env, PATH: `${process.env['PATH'] ?? '/usr/bin:/bin'}:${SYSTEM_FOLDERS}`, LC_ALL: 'C' },
  });
  const error = result.error as NodeJS.ErrnoException | undefined;
  return {
    missing: error?.code === 'ENOENT',
    status: result.status ?? -1,
    stdout: result.stdout ?? '',
    stderr: result.stderr || (error === undefined ? '' : error.message),
  };
};
