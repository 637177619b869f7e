/**
 * Owns `understudy intercept install|remove|print|verify`: words in, exit code out. Says what was done on standard output
 * and what went wrong on standard error, always with the way that needs no rules at all.
 */
import { runCommand } from './command-runner.ts';
import { describeFlags } from './intercept-flags.ts';
import { installRules } from './intercept-install.ts';
import { type ChangeReport, lacksNetAdmin, type Machine, systemMachine } from './intercept-machine.ts';
import { type InterceptOptions, readInterceptOptions } from './intercept-options.ts';
import { removeRules } from './intercept-remove.ts';
import { buildRuleSet, planChange } from './intercept-rules.ts';
import { ABSENT_TABLE } from './intercept-tables.ts';
import { verifyInterception } from './intercept-verify.ts';

/** Where the command writes; each call is one or more whole lines, the last newline included. */
export interface InterceptIo {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
}

/** Exit codes, one per thing a script may want to do next. */
export const InterceptExit = {
  done: 0,
  /** The rules could not be changed, or changed only in part. */
  failed: 1,
  /** The command line or the environment holds mistakes; nothing was touched. */
  usage: 2,
  /** No privilege, no iptables or no koffi here: use the explicit-port mode. */
  unavailable: 3,
  /** No new connection is redirected, but open ones still need what is left: remove again once they are closed. */
  detached: 4,
  /** A connection that should come to the proxy does not, or comes with the wrong address. */
  notVerified: 5,
} as const;

const EXPLICIT_PORT_MODE =
  'without rules: point the application at the port of the proxy itself (explicit-port mode), which needs no privilege and no iptables';

const USAGE = `usage: understudy intercept install|remove|print|verify [--flag value ...]

  install   puts the rules in place, in one transaction per address family; again and again is the same as once
  remove    takes them away and leaves the rest as it was
  print     shows the rules of a fresh install, for iptables-restore --noflush, and touches nothing
  verify    proves by connections, within 5 s, that the original destination comes back right, each direction

Lists are comma-separated, ports like 8500,9000-9010. Each flag has an environment twin; the flag wins.

${describeFlags()}
`;

/** Runs one `intercept` command. Never throws for what a caller may get wrong; resolves to an `InterceptExit` code. */
export async function runInterceptCommand(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  io: InterceptIo,
  machine: Machine = systemMachine(runCommand),
): Promise<number> {
  const [action, ...rest] = argv;
  if (action === '--help' || action === 'help' || rest.includes('--help')) {
    io.stdout(USAGE);
    return InterceptExit.done;
  }
  if (!isAction(action)) {
    io.stderr(`${action === undefined ? 'a command must follow' : `${action}: not a command of intercept`}\n${USAGE}`);
    return InterceptExit.usage;
  }
  const { options, mistakes } = readInterceptOptions(rest, env);
  if (options === null) {
    for (const mistake of mistakes) io.stderr(`${mistake}\n`);
    return InterceptExit.usage;
  }
  if (action === 'print') {
    io.stdout(printedRules(options));
    return InterceptExit.done;
  }
  if (action !== 'remove') {
    // Without it the proxy could not send on what it does not serve: rules would only do harm.
    const { available, reason } = machine.destinations();
    if (!available) {
      io.stderr(`${reason}\n${EXPLICIT_PORT_MODE}\n`);
      return InterceptExit.unavailable;
    }
  }
  if (action === 'verify') {
    const { verified, notes } = await verifyInterception(options, machine);
    for (const note of notes) (verified ? io.stdout : io.stderr)(`${note}\n`);
    return verified ? InterceptExit.done : InterceptExit.notVerified;
  }
  if (lacksNetAdmin(machine)) {
    io.stderr(`this process lacks NET_ADMIN, without which nobody may change rules\n${EXPLICIT_PORT_MODE}\n`);
    return InterceptExit.unavailable;
  }
  return report(action === 'install' ? installRules(options, machine) : await removeRules(options, machine), io);
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

function isAction(word: string | undefined): word is 'install' | 'remove' | 'print' | 'verify' {
  return word === 'install' || word === 'remove' || word === 'print' || word === 'verify';
}

function report(change: ChangeReport, io: InterceptIo): number {
  const code = exitCodeOf(change);
  const hopeless = code === InterceptExit.failed || code === InterceptExit.unavailable;
  for (const note of change.notes) (code === InterceptExit.done ? io.stdout : io.stderr)(`${note}\n`);
  if (hopeless) io.stderr(`${EXPLICIT_PORT_MODE}\n`);
  return code;
}

function exitCodeOf({ outcome }: ChangeReport): number {
  return outcome === 'changed' || outcome === 'unchanged' ? InterceptExit.done : InterceptExit[outcome];
}
