/**
 * Owns the reading of `iptables-save` output: what the nat table holds now, which of it is ours, and what was there
 * before us. Everything we add is either a chain of ours or a jump to one, so ours can always be told apart by name.
 */

/** Every chain that belongs to us starts with this, and nothing else does. */
export const CHAIN_PREFIX = 'UNDERSTUDY_';
/**
 * Empty chains with this prefix are notes to whoever removes the rules: the installer lives in a container that is gone
 * by then, and the kernel's table is the one place both see. What follows the prefix names what install had to create.
 */
export const MARKER_PREFIX = 'UNDERSTUDY_MADE_';
/** The address for inbound deliveries was added to the loopback interface. */
export const MARKER_LOOPBACK = `${MARKER_PREFIX}LO6`;

/** Built-in chains of the nat table and the letter that stands for each in a marker. */
export const NAT_CHAINS: readonly (readonly [letter: string, chain: string])[] = [
  ['P', 'PREROUTING'],
  ['I', 'INPUT'],
  ['O', 'OUTPUT'],
  ['S', 'POSTROUTING'],
];

/** One nat table as it stands. Lines are verbatim, beginning with `-A `. */
export interface NatTable {
  /** Whether the table exists; an empty one does. */
  readonly present: boolean;
  readonly builtInChains: readonly string[];
  /** Chains of ours, markers included. */
  readonly ownChains: readonly string[];
  /** Rules inside our chains, in order. */
  readonly ownRules: readonly string[];
  /** Rules of other chains that go to one of ours. */
  readonly jumps: readonly string[];
  /** Rules that have nothing to do with us, in all tables. Tells which kind of iptables a machine uses. */
  readonly foreignRuleCount: number;
}

export const ABSENT_TABLE: NatTable = {
  present: false,
  builtInChains: [],
  ownChains: [],
  ownRules: [],
  jumps: [],
  foreignRuleCount: 0,
};

/** Reads the text of `iptables-save` or `ip6tables-save`, of either kind. */
export function parseSavedTables(text: string): NatTable {
  const builtInChains: string[] = [];
  const ownChains: string[] = [];
  const ownRules: string[] = [];
  const jumps: string[] = [];
  let present = false;
  let foreignRuleCount = 0;
  let table = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      table = line.slice(1).trim();
      present ||= table === 'nat';
    } else if (line.startsWith(':') && table === 'nat') {
      const [name, policy] = line.slice(1).split(' ');
      if (name!.startsWith(CHAIN_PREFIX)) ownChains.push(name!);
      else if (policy !== '-') builtInChains.push(name!);
    } else if (line.startsWith('-A ')) {
      if (table === 'nat' && line.startsWith(`-A ${CHAIN_PREFIX}`)) ownRules.push(line);
      else if (table === 'nat' && / -[jg] UNDERSTUDY_/.test(line)) jumps.push(line);
      else foreignRuleCount++;
    }
  }
  return { present, builtInChains, ownChains, ownRules, jumps, foreignRuleCount };
}

/** The marker to leave when these built-in chains have to be created, or null when all exist. */
export function creationMarker(table: NatTable): string | null {
  const missing = NAT_CHAINS.filter(([, chain]) => !table.builtInChains.includes(chain));
  return missing.length === 0 ? null : MARKER_PREFIX + missing.map(([letter]) => letter).join('');
}

/** The markers a table holds. */
export function markersOf(table: NatTable): readonly string[] {
  return table.ownChains.filter((chain) => chain.startsWith(MARKER_PREFIX));
}

/** The built-in chains that the markers say install created. */
export function createdChains(table: NatTable): readonly string[] {
  const letters = markersOf(table)
    .filter((marker) => marker !== MARKER_LOOPBACK)
    .map((chain) => chain.slice(MARKER_PREFIX.length))
    .join('');
  return NAT_CHAINS.filter(([letter]) => letters.includes(letter)).map(([, chain]) => chain);
}

/** Counters and comments aside, the text that two equal rule sets share. For comparing before and after. */
export function comparableSave(text: string): string {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.replace(/ \[\d+:\d+\]$/, ''))
    .join('\n');
}
