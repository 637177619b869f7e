/**
 * Owns `understudy intercept install|remove|print|verify`: words in, exit code out. Says what was done on standard output
 * and what went wrong on standard error, always with the way that needs no rules at all.
 */
import { type CommandRunner, runCommand } from './command-runner.ts';
import { describeFlags } from './intercept-flags.ts';
import { type ChangeReport, installRules, type Machine, removeRules, systemMachine } from './intercept-install.ts';
import { type InterceptOptions, readInterceptOptions } from './intercept-options.ts';
import { buildRuleSet, planChange } from './intercept-rules.ts';
import { ABSENT_TABLE } from './intercept-tables.ts';

/** Where the command writes; each call is one or more whole lines. */
export interface CommandIo {
  out(text: string): void;
  err(text: string): void;
}

/** Exit codes, one per thing a script may want to do next. */
export const InterceptExit = {
  done: 0,
  /** The rules could not be changed, or changed only in part. */
  failed: 1,
  /** The command line or the environment holds mistakes; nothing was touched. */
  usage: 2,
  /** No privilege or no iptables here: use the explicit-port mode. */
  unavailable: 3,
} as const;

const EXPLICIT_PORT_MODE =
  'without rules: point the application at the port of the proxy itself (explicit-port mode), which needs no privilege and no iptables';

const USAGE = `usage: understudy intercept install|remove|print|verify [--flag value ...]

  install   puts the rules in place, in one transaction per address family; again and again is the same as once
  remove    takes them away and leaves the rest as it was
  print     shows the rules of a fresh install, for iptables-restore --noflush, and touches nothing
  verify    proves by a connection that the original destination comes back right

Lists are comma-separated, ports like 8500,9000-9010. Each flag has an environment twin; the flag wins.

${describeFlags()}
`;

/** Runs one `intercept` command. Never throws for what a caller may get wrong; resolves to an `InterceptExit` code. */
export async function runInterceptCommand(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  io: CommandIo,
  run: CommandRunner = runCommand,
): Promise<number> {
  const [action, ...rest] = argv;
  if (action === '--help' || action === 'help' || rest.includes('--help')) {
    io.out(USAGE);
    return InterceptExit.done;
  }
  if (action !== 'install' && action !== 'remove' && action !== 'print') {
    io.err(`${action === undefined ? 'a command must follow' : `${action}: not a command of intercept`}\n${USAGE}`);
    return InterceptExit.usage;
  }
  const result = readInterceptOptions(rest, env);
  if (result.options === null) {
    for (const mistake of result.mistakes) io.err(mistake);
    return InterceptExit.usage;
  }
  if (action === 'print') {
    io.out(printedRules(result.options));
    return InterceptExit.done;
  }
  const machine: Machine = systemMachine(run);
  return report(action === 'install' ? installRules(result.options, machine) : removeRules(machine), io);
}

/** The rules of a fresh install, as two texts for iptables-restore. */
export function printedRules(options: InterceptOptions): string {
  const texts: string[] = [];
  for (const family of [4, 6] as const) {
    if (options.families === (family === 4 ? '6' : '4')) continue;
    const command = family === 4 ? 'iptables-restore' : 'ip6tables-restore';
    texts.push(
      `# IPv${family}: ${command} --noflush`,
      planChange(buildRuleSet(options, family), [], ABSENT_TABLE) ?? '',
    );
  }
  return texts.join('\n');
}

function report(change: ChangeReport, io: CommandIo): number {
  const well = change.outcome === 'changed' || change.outcome === 'unchanged';
  for (const note of change.notes) {
    if (well) io.out(note);
    else io.err(note);
  }
  if (well) return InterceptExit.done;
  io.err(EXPLICIT_PORT_MODE);
  return change.outcome === 'unavailable' ? InterceptExit.unavailable : InterceptExit.failed;
}
