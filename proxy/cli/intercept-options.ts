/**
 * Owns the reading of `understudy intercept` settings: a flag wins over its environment twin, which wins over the
 * default. Every value is parsed before anything is reported, and what leaves here is safe to write into rules: numbers,
 * checked addresses and names without blanks or quotes.
 */
import { isIP } from 'node:net';
import { parseDurationMs, UnitError } from '../../base/units.ts';
import { environmentTwin, FLAGS, type FlagName, type FlagSpec } from './intercept-flags.ts';
import { includesPort, multiportGroups, type PortRange, type PortSet, parsePortSet } from './intercept-ports.ts';

/** A block of addresses, `10.0.0.0/8`; a bare address is a block of one. */
export interface Cidr {
  readonly family: 4 | 6;
  readonly text: string;
}

export interface InterceptOptions {
  readonly outboundPorts: PortSet;
  readonly inboundPorts: PortSet;
  readonly excludeOutboundPorts: readonly PortRange[];
  readonly excludeInboundPorts: readonly PortRange[];
  readonly includeOutboundCidrs: 'all' | readonly Cidr[];
  readonly excludeOutboundCidrs: readonly Cidr[];
  readonly includeInboundCidrs: 'all' | readonly Cidr[];
  readonly excludeInboundCidrs: readonly Cidr[];
  readonly includeInterfaces: 'all' | readonly string[];
  readonly excludeInterfaces: readonly string[];
  readonly includeUids: 'all' | readonly number[];
  readonly excludeUids: readonly number[];
  readonly includeGids: 'all' | readonly number[];
  readonly excludeGids: readonly number[];
  readonly proxyUids: readonly number[];
  readonly proxyGids: readonly number[];
  readonly proxyOutboundPort: number;
  readonly proxyInboundPort: number;
  readonly families: 'auto' | 'both' | '4' | '6';
  readonly backend: 'auto' | 'nft' | 'legacy';
  readonly openConnections: 'keep' | 'drop';
  readonly drainMs: number;
}

export type OptionsResult =
  | { readonly options: InterceptOptions; readonly mistakes: null }
  | { readonly options: null; readonly mistakes: readonly string[] };

/** Longest list of users, groups, blocks or interfaces: each entry is a rule that every new connection walks. */
export const MAX_LIST_ENTRIES = 64;

/** Most rules that inclusion lists may multiply to: interfaces, times blocks, times groups of ports. */
const MAX_INCLUSION_RULES = 512;

const LARGEST_ID = 0xffff_fffe;
const INTERFACE_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,14}\+?$/;

/** Reads flags (`--name value` or `--name=value`) and environment; reports every mistake at once. */
export function readInterceptOptions(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): OptionsResult {
  const reader = new OptionReader(argv, env);
  const options: InterceptOptions = {
    outboundPorts: reader.ports('outbound-ports'),
    inboundPorts: reader.ports('inbound-ports'),
    excludeOutboundPorts: reader.portList('exclude-outbound-ports'),
    excludeInboundPorts: reader.portList('exclude-inbound-ports'),
    includeOutboundCidrs: reader.allOr('include-outbound-cidrs', (name) => reader.cidrs(name)),
    excludeOutboundCidrs: reader.cidrs('exclude-outbound-cidrs'),
    includeInboundCidrs: reader.allOr('include-inbound-cidrs', (name) => reader.cidrs(name)),
    excludeInboundCidrs: reader.cidrs('exclude-inbound-cidrs'),
    includeInterfaces: reader.allOr('include-interfaces', (name) => reader.interfaces(name)),
    excludeInterfaces: reader.interfaces('exclude-interfaces'),
    includeUids: reader.allOr('include-uids', (name) => reader.ids(name)),
    excludeUids: reader.ids('exclude-uids'),
    includeGids: reader.allOr('include-gids', (name) => reader.ids(name)),
    excludeGids: reader.ids('exclude-gids'),
    proxyUids: reader.ids('proxy-uid'),
    proxyGids: reader.ids('proxy-gid'),
    proxyOutboundPort: reader.port('proxy-outbound-port'),
    proxyInboundPort: reader.port('proxy-inbound-port'),
    families: reader.choice('families') as InterceptOptions['families'],
    backend: reader.choice('backend') as InterceptOptions['backend'],
    openConnections: reader.choice('open-connections') as InterceptOptions['openConnections'],
    drainMs: reader.durationMs('drain'),
  };
  const mistakes = reader.mistakes.length > 0 ? reader.mistakes : contradictions(options);
  return mistakes.length > 0 ? { options: null, mistakes } : { options, mistakes: null };
}

/** Mistakes that only show when the values are seen together. */
function contradictions(options: InterceptOptions): string[] {
  const mistakes: string[] = [];
  if (options.proxyUids.length === 0 && options.proxyGids.length === 0) {
    mistakes.push(
      "--proxy-uid and --proxy-gid are both none: the proxy's own connections would come back to it for ever",
    );
  }
  if (options.proxyOutboundPort === options.proxyInboundPort) {
    mistakes.push(
      `--proxy-outbound-port and --proxy-inbound-port are both ${options.proxyInboundPort}: give each its own`,
    );
  }
  for (const port of [options.proxyOutboundPort, options.proxyInboundPort]) {
    if (options.inboundPorts !== 'all' && includesPort(options.inboundPorts, port)) {
      mistakes.push(`--inbound-ports holds ${port}, a listener of the proxy itself: leave it out`);
    }
  }
  const outbound = options.outboundPorts === 'all' || options.outboundPorts.length > 0;
  const inbound = options.inboundPorts === 'all' || options.inboundPorts.length > 0;
  if (!outbound && !inbound)
    mistakes.push('--outbound-ports and --inbound-ports are both none: there is nothing to intercept');
  for (const [direction, ports, cidrs] of [
    ['outbound', options.outboundPorts, options.includeOutboundCidrs],
    ['inbound', options.inboundPorts, options.includeInboundCidrs],
  ] as const) {
    const groups = ports === 'all' ? 1 : multiportGroups(ports).length;
    const rules = groups * (cidrs === 'all' ? 1 : cidrs.length) * interfaceCount(options);
    if (rules <= MAX_INCLUSION_RULES) continue;
    mistakes.push(
      `--include-interfaces, --include-${direction}-cidrs and --${direction}-ports multiply to ${rules} rules, more than ${MAX_INCLUSION_RULES}`,
    );
  }
  return mistakes;
}

function interfaceCount({ includeInterfaces }: InterceptOptions): number {
  return includeInterfaces === 'all' ? 1 : includeInterfaces.length;
}

class OptionReader {
  readonly mistakes: string[] = [];
  readonly #given = new Map<string, string>();
  readonly #env: Readonly<Record<string, string | undefined>>;

  constructor(argv: readonly string[], env: Readonly<Record<string, string | undefined>>) {
    this.#env = env;
    const known = new Set<string>(FLAGS.map((spec) => spec.flag));
    for (let i = 0; i < argv.length; i++) {
      const argument = argv[i]!;
      const equals = argument.indexOf('=');
      const name = argument.slice(2, equals < 0 ? undefined : equals);
      if (!argument.startsWith('--') || !known.has(name)) {
        this.mistakes.push(`${argument}: not a flag of this command; --help lists them`);
      } else if (equals >= 0) {
        this.#given.set(name, argument.slice(equals + 1));
      } else if (i + 1 < argv.length) {
        this.#given.set(name, argv[++i]!);
      } else {
        this.mistakes.push(`${argument}: a value must follow`);
      }
    }
    for (const variable of Object.keys(env)) {
      if (variable.startsWith(environmentTwin('')) && !FLAGS.some((spec) => environmentTwin(spec.flag) === variable)) {
        this.mistakes.push(`${variable}: not a setting of this command; --help lists them`);
      }
    }
  }

  ports(name: FlagName): PortSet {
    return this.#parse(name, parsePortSet, []);
  }

  durationMs(name: FlagName): number {
    return this.#parse(name, parseDurationMs, 0);
  }

  portList(name: FlagName): readonly PortRange[] {
    const set = this.ports(name);
    if (set !== 'all') return set;
    this.#refuse(name, 'all is not a list; set the ports to intercept to none instead');
    return [];
  }

  port(name: FlagName): number {
    const text = this.#text(name).trim();
    const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
    if (port < 1 || port > 65535) this.#refuse(name, 'expected one port within 1-65535');
    return port;
  }

  allOr<T>(name: FlagName, read: (name: FlagName) => readonly T[]): 'all' | readonly T[] {
    return this.#text(name).trim() === 'all' ? 'all' : read(name);
  }

  cidrs(name: FlagName): readonly Cidr[] {
    return this.#entries(name).flatMap((entry) => {
      const slash = entry.indexOf('/');
      const address = slash < 0 ? entry : entry.slice(0, slash);
      const family = isIP(address);
      const longest = family === 4 ? 32 : 128;
      const prefix = slash < 0 ? `${longest}` : entry.slice(slash + 1);
      if (family !== 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= longest && !address.includes('%')) {
        return { family: family as 4 | 6, text: `${address}/${Number(prefix)}` };
      }
      this.#refuse(name, `${JSON.stringify(entry)} is not an address block like 10.0.0.0/8 or fd00::/8`);
      return [];
    });
  }

  ids(name: FlagName): readonly number[] {
    return this.#entries(name).flatMap((entry) => {
      const id = /^\d{1,10}$/.test(entry) ? Number(entry) : -1;
      if (id >= 0 && id <= LARGEST_ID) return id;
      this.#refuse(name, `${JSON.stringify(entry)} is not a numeric id within 0-${LARGEST_ID}`);
      return [];
    });
  }

  interfaces(name: FlagName): readonly string[] {
    return this.#entries(name).filter((entry) => {
      const valid = INTERFACE_NAME.test(entry);
      if (!valid) this.#refuse(name, `${JSON.stringify(entry)} is not an interface name of at most 15 characters`);
      return valid;
    });
  }

  choice(name: FlagName): string {
    const text = this.#text(name).trim();
    const spec: FlagSpec = FLAGS.find((candidate) => candidate.flag === name)!;
    if (!spec.choices!.includes(text)) this.#refuse(name, `expected one of ${spec.choices!.join(', ')}`);
    return text;
  }

  #parse<T>(name: FlagName, parse: (text: string) => T, fallback: T): T {
    try {
      return parse(this.#text(name));
    } catch (error) {
      if (!(error instanceof UnitError)) throw error;
      this.#refuse(name, `expected ${error.expectation}`);
      return fallback;
    }
  }

  #entries(name: FlagName): string[] {
    const text = this.#text(name).trim();
    if (text === '' || text === 'none') return [];
    const entries = [...new Set(text.split(',').map((entry) => entry.trim()))];
    if (entries.length > MAX_LIST_ENTRIES)
      this.#refuse(name, `${entries.length} entries are more than ${MAX_LIST_ENTRIES}`);
    return entries;
  }

  #text(name: FlagName): string {
    return (
      this.#given.get(name) ?? this.#env[environmentTwin(name)] ?? FLAGS.find((spec) => spec.flag === name)!.default
    );
  }

  #refuse(name: FlagName, expectation: string): void {
    const source = this.#given.has(name) ? `--${name}` : environmentTwin(name);
    this.mistakes.push(`${source}=${this.#text(name)}: ${expectation}`);
  }
}
