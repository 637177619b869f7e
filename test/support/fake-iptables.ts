/**
 * A stand-in for iptables in unit tests: keeps one nat table per kind and family, understands the restore text that the
 * interception commands write, and fails on demand. Restores are transactions: a failing one changes nothing.
 */
import type { CommandResult, CommandRunner } from '../../proxy/cli/command-runner.ts';

interface Table {
  chains: Map<string, string[]>;
}

const BUILT_IN = ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'];

export class FakeIptables {
  /** Commands that are installed; a name not in here is missing. */
  readonly installed = new Set<string>();
  /** Command name to the message it fails with. */
  readonly failures = new Map<string, string>();
  /** Every command line that was run. */
  readonly log: string[] = [];
  readonly #tables = new Map<string, Table>();

  constructor(kinds: readonly ('nft' | 'legacy')[] = ['nft', 'legacy'], defaultKind: 'nft' | 'legacy' = 'nft') {
    this.defaultKind = defaultKind;
    for (const prefix of ['iptables', 'ip6tables']) {
      for (const suffix of ['save', 'restore']) {
        for (const kind of kinds) this.installed.add(`${prefix}-${kind}-${suffix}`);
        if (kinds.length > 0) this.installed.add(`${prefix}-${suffix}`);
      }
    }
  }

  readonly defaultKind: 'nft' | 'legacy';

  /** Puts rules of somebody into a table. */
  seed(command: string, text: string): void {
    this.#restore(this.#tableOf(command), text);
  }

  readonly run: CommandRunner = (command, args, input) => {
    this.log.push([command, ...args].join(' '));
    if (command === 'ip') return answer(0, '');
    if (!this.installed.has(command)) return { missing: true, status: -1, stdout: '', stderr: '' };
    if (args.includes('-V'))
      return answer(0, `${command} v1.8.9 (${this.#kindOf(command) === 'nft' ? 'nf_tables' : 'legacy'})`);
    const failure = this.failures.get(args.includes('--test') ? `${command} --test` : command);
    if (failure !== undefined) return { missing: false, status: 4, stdout: '', stderr: failure };
    const table = this.#tableOf(command);
    if (command.endsWith('-save')) return answer(0, this.#saved(table));
    const copy: Table = { chains: new Map([...table.chains].map(([name, rules]) => [name, [...rules]])) };
    const mistake = this.#restore(copy, input ?? '');
    if (mistake !== null) return { missing: false, status: 2, stdout: '', stderr: mistake };
    if (!args.includes('--test')) table.chains = copy.chains;
    return answer(0, '');
  };

  /** What the save command of this name would print. */
  saved(command: string): string {
    return this.#saved(this.#tableOf(command));
  }

  #kindOf(command: string): string {
    if (command.includes('-nft-')) return 'nft';
    return command.includes('-legacy-') ? 'legacy' : this.defaultKind;
  }

  #tableOf(command: string): Table {
    const key = `${command.startsWith('ip6') ? 6 : 4} ${this.#kindOf(command)}`;
    const table = this.#tables.get(key) ?? { chains: new Map() };
    this.#tables.set(key, table);
    return table;
  }

  #saved(table: Table): string {
    if (table.chains.size === 0) return '';
    const names = [...table.chains.keys()].sort((a, b) => Number(BUILT_IN.includes(b)) - Number(BUILT_IN.includes(a)));
    return [
      '*nat',
      ...names.map((name) => `:${name} ${BUILT_IN.includes(name) ? 'ACCEPT' : '-'} [3:180]`),
      ...names.flatMap((name) => table.chains.get(name)!.map((rule) => `-A ${name} ${rule}`)),
      'COMMIT',
      '',
    ].join('\n');
  }

  #restore({ chains }: Table, text: string): string | null {
    for (const name of BUILT_IN) if (!chains.has(name)) chains.set(name, []);
    for (const line of text.split('\n')) {
      if (line === '' || line === '*nat' || line === 'COMMIT') continue;
      if (line.startsWith(':')) {
        chains.set(line.slice(1).split(' ')[0]!, []);
        continue;
      }
      const [, verb, chain, rule = ''] = /^-([ADFX]) (\S+)(?: (.*))?$/.exec(line) ?? [];
      const rules = chains.get(chain ?? '');
      if (rules === undefined) return `no chain in ${line}`;
      if (verb === 'A') rules.push(rule);
      else if (verb === 'F') rules.length = 0;
      else if (verb === 'D') {
        if (!rules.includes(rule)) return `no rule ${line}`;
        rules.splice(rules.indexOf(rule), 1);
      } else if (rules.length > 0 || [...chains.values()].flat().some((other) => other.endsWith(`-j ${chain}`))) {
        return `chain in use: ${line}`;
      } else {
        chains.delete(chain!);
      }
    }
    return null;
  }
}

function answer(status: number, stdout: string): CommandResult {
  return { missing: false, status, stdout, stderr: '' };
}
