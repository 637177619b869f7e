/**
 * Owns the settings of `understudy intercept` as data: name, kind, default and the reason for it. The same list feeds
 * the parser, the help text and whoever writes annotations, so a flag and its environment twin cannot drift apart.
 */

/** What a value may be; the parser has one reader per kind. */
export type FlagKind = 'ports' | 'port' | 'cidrs' | 'ids' | 'names' | 'duration' | 'choice';

export interface FlagSpec {
  /** Without the dashes: `outbound-ports`. */
  readonly flag: string;
  readonly kind: FlagKind;
  readonly default: string;
  readonly choices?: readonly string[];
  readonly meaning: string;
  /** Who sets it in a pod where it has no annotation of its own; such a flag is not for people who write pods. */
  readonly inPods?: string;
}

/**
 * The user and group that the proxy runs as in our images. Not the 1337 that other meshes use: traffic of that user is
 * exempted by their rules, and a pod may carry both.
 */
export const DEFAULT_PROXY_ID = 1717;
export const DEFAULT_OUTBOUND_PORT = 15001;
export const DEFAULT_INBOUND_PORT = 15006;

const BY_IMAGE = 'none: the image has one user';
const BY_INJECTOR = 'none: the injector places the listeners';
const NOT_IN_PODS = 'none: rules go with their pod';

export const FLAGS = [
  flag(
    'outbound-ports',
    'ports',
    '8500,8501',
    'ports the application dials that come to the proxy: a list, all or none',
  ),
  flag(
    'inbound-ports',
    'ports',
    'none',
    'ports of this pod that come to the proxy when others dial them: a list, all or none',
  ),
  flag('exclude-outbound-ports', 'ports', 'none', 'outbound ports left alone'),
  flag('exclude-inbound-ports', 'ports', 'none', "inbound ports left alone; the proxy's two listeners always are"),
  flag('include-outbound-cidrs', 'cidrs', 'all', 'destinations that come to the proxy, within the outbound ports'),
  flag('exclude-outbound-cidrs', 'cidrs', 'none', 'destinations left alone'),
  flag(
    'include-inbound-cidrs',
    'cidrs',
    'all',
    'callers whose connections come to the proxy, within the inbound ports',
  ),
  flag('exclude-inbound-cidrs', 'cidrs', 'none', 'callers left alone, such as the network of the kubelet'),
  flag(
    'include-interfaces',
    'names',
    'all',
    'network interfaces whose connections come to the proxy, in both directions; a trailing + matches a prefix',
  ),
  flag(
    'exclude-interfaces',
    'names',
    'none',
    'network interfaces left alone, in both directions; a trailing + matches a prefix',
  ),
  flag('include-uids', 'ids', 'all', 'users whose outbound connections come to the proxy'),
  flag('exclude-uids', 'ids', 'none', 'users whose outbound connections are left alone'),
  flag('include-gids', 'ids', 'all', 'groups whose outbound connections come to the proxy'),
  flag('exclude-gids', 'ids', 'none', 'groups whose outbound connections are left alone'),
  {
    ...flag(
      'proxy-uid',
      'ids',
      `${DEFAULT_PROXY_ID}`,
      'user of the proxy, whose own connections must not come back to it',
    ),
    inPods: BY_IMAGE,
  },
  {
    ...flag(
      'proxy-gid',
      'ids',
      `${DEFAULT_PROXY_ID}`,
      'group of the proxy, likewise; none when only the user tells it apart',
    ),
    inPods: BY_IMAGE,
  },
  {
    ...flag('proxy-outbound-port', 'port', `${DEFAULT_OUTBOUND_PORT}`, "the proxy's listener for outbound connections"),
    inPods: BY_INJECTOR,
  },
  {
    ...flag('proxy-inbound-port', 'port', `${DEFAULT_INBOUND_PORT}`, "the proxy's listener for inbound connections"),
    inPods: BY_INJECTOR,
  },
  {
    ...choice('families', 'auto', ['auto', 'both', '4', '6'], 'address families; auto takes those the kernel has'),
    inPods: 'understudy.dev/ip-families, for rules and listeners together',
  },
  choice(
    'backend',
    'auto',
    ['auto', 'nft', 'legacy'],
    'kind of iptables; auto takes the one where rules exist already',
  ),
  {
    ...choice(
      'open-connections',
      'keep',
      ['keep', 'drop'],
      'remove: what happens to redirected connections still open',
    ),
    inPods: NOT_IN_PODS,
  },
  {
    ...flag(
      'drain',
      'duration',
      '5s',
      'remove: how long to wait for them before the rules are only put out of the way',
    ),
    inPods: NOT_IN_PODS,
  },
] as const satisfies readonly FlagSpec[];

export type FlagName = (typeof FLAGS)[number]['flag'];

/** `outbound-ports` is also `UNDERSTUDY_INTERCEPT_OUTBOUND_PORTS`. */
export function environmentTwin(name: string): string {
  return `UNDERSTUDY_INTERCEPT_${name.toUpperCase().replaceAll('-', '_')}`;
}

/** Help text: each flag with its twin, default and meaning. */
export function describeFlags(): string {
  const lines = FLAGS.map((spec: FlagSpec) => {
    const values = spec.choices === undefined ? '' : ` (${spec.choices.join(', ')})`;
    return `  --${spec.flag}  [${spec.default}]${values}\n      ${spec.meaning}\n      ${environmentTwin(spec.flag)}`;
  });
  return lines.join('\n');
}

function flag<const N extends string>(name: N, kind: FlagKind, value: string, meaning: string) {
  return { flag: name, kind, default: value, meaning };
}

function choice<const N extends string>(name: N, value: string, choices: readonly string[], meaning: string) {
  return { flag: name, kind: 'choice' as const, default: value, choices, meaning };
}
