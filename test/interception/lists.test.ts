/** Each list of what is intercepted and what is not, proved by connections: one that it takes and one that it leaves. */
import t, { type Test } from 'tap';
import { FLAGS } from '../../proxy/cli/intercept-flags.ts';
import { type Caller, InterceptionLab, PEER_V4, PEER_V6, POD_V4, POD_V6 } from '../support/interception-lab.ts';
import { NamespaceAgent } from '../support/namespace-agent.ts';
import { namespacesUnavailable } from '../support/netns.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables');

/** Who may dial: the application inside, or somebody on the peer. */
type Dial = readonly [from: 'pod' | 'peer', host: string, port: number, caller?: Caller];

interface Case {
  readonly says: string;
  readonly flags: readonly string[];
  /** The same by environment twins instead. */
  readonly env?: Readonly<Record<string, string>>;
  readonly taken: Dial;
  readonly left: Dial;
}

const INBOUND = ['--outbound-ports', 'none', '--inbound-ports', 'all'];
const CASES: readonly Case[] = [
  {
    says: 'outbound ports',
    flags: ['--outbound-ports', '8600'],
    taken: ['pod', PEER_V4, 8600],
    left: ['pod', PEER_V4, 8500],
  },
  {
    says: 'outbound ports left out',
    flags: ['--outbound-ports', 'all', '--exclude-outbound-ports', '8590-8610'],
    taken: ['pod', PEER_V6, 8500],
    left: ['pod', PEER_V6, 8600],
  },
  {
    says: 'inbound ports',
    flags: ['--outbound-ports', 'none', '--inbound-ports', '8600'],
    taken: ['peer', POD_V6, 8600],
    left: ['peer', POD_V6, 8500],
  },
  {
    says: 'inbound ports left out',
    flags: [...INBOUND, '--exclude-inbound-ports', '8500'],
    taken: ['peer', POD_V4, 8600],
    left: ['peer', POD_V4, 8500],
  },
  {
    says: 'destinations',
    flags: ['--include-outbound-cidrs', `${PEER_V4}/32,fd99::/16`],
    taken: ['pod', PEER_V4, 8500],
    left: ['pod', PEER_V6, 8500],
  },
  {
    says: 'destinations left out',
    flags: ['--exclude-outbound-cidrs', '10.0.0.0/8'],
    taken: ['pod', PEER_V6, 8500],
    left: ['pod', PEER_V4, 8500],
  },
  {
    says: 'callers',
    flags: [...INBOUND, '--include-inbound-cidrs', 'fd77::/64'],
    taken: ['peer', POD_V6, 8500],
    left: ['peer', POD_V4, 8500],
  },
  {
    says: 'callers left out',
    flags: [...INBOUND, '--exclude-inbound-cidrs', PEER_V6],
    taken: ['peer', POD_V4, 8500],
    left: ['peer', POD_V6, 8500],
  },
  {
    says: 'interfaces',
    flags: ['--include-interfaces', 'eth0'],
    taken: ['pod', PEER_V4, 8500],
    left: ['pod', '10.78.0.2', 8500],
  },
  {
    says: 'interfaces left out, inbound',
    flags: [...INBOUND, '--exclude-interfaces', 'eth1'],
    taken: ['peer', POD_V4, 8500],
    left: ['peer', '10.78.0.1', 8500],
  },
  {
    says: 'users',
    flags: ['--include-uids', '4000,4001'],
    taken: ['pod', PEER_V4, 8500, { uid: 4001 }],
    left: ['pod', PEER_V4, 8500, { uid: 4002 }],
  },
  {
    says: 'users left out',
    flags: ['--exclude-uids', '4000'],
    taken: ['pod', PEER_V6, 8500, { uid: 4001 }],
    left: ['pod', PEER_V6, 8500, { uid: 4000 }],
  },
  {
    says: 'groups',
    flags: ['--include-gids', '5000'],
    taken: ['pod', PEER_V4, 8500, { gid: 5000 }],
    left: ['pod', PEER_V4, 8500, { gid: 5001 }],
  },
  {
    says: 'groups left out',
    flags: ['--exclude-gids', '5000,5001'],
    taken: ['pod', PEER_V6, 8500, { gid: 5002 }],
    left: ['pod', PEER_V6, 8500, { gid: 5001 }],
  },
  {
    says: 'lists that come from the environment',
    flags: [],
    env: {
      UNDERSTUDY_INTERCEPT_OUTBOUND_PORTS: '8600,9000',
      UNDERSTUDY_INTERCEPT_EXCLUDE_GIDS: '5000',
      UNDERSTUDY_INTERCEPT_EXCLUDE_OUTBOUND_CIDRS: `${PEER_V6}/128`,
    },
    taken: ['pod', PEER_V4, 9000, { gid: 5001 }],
    left: ['pod', PEER_V4, 9000, { gid: 5000 }],
  },
];

t.test('lists of what is intercepted', { skip }, async (t) => {
  const lab = await InterceptionLab.open();
  t.teardown(() => lab.close());
  // A second network, so that interfaces can be told apart.
  lab.lab.link(lab.pod, ['10.78.0.1/24'], lab.peer, ['10.78.0.2/24']);
  const agents = { pod: new NamespaceAgent(lab.pod), peer: new NamespaceAgent(lab.peer) };
  const dial = ([from, host, port, caller = {}]: Dial) => agents[from].dial({ host, port, ...caller });
  for (const { says, flags, env = {}, taken, left } of CASES) {
    t.test(says, async (t) => {
      await agents.pod.mustIntercept(['install', ...flags], env);
      t.match(await dial(taken), { verdict: 'redirected', destination: { host: taken[1], port: taken[2] } });
      t.match(await dial(left), { server: left[0] === 'pod' ? 'peer' : 'application' }, 'and no other');
    });
  }
  checkAllAreHere(t);
});

/** A list that is added to the command has to be added here. */
function checkAllAreHere(t: Test): void {
  const used = CASES.flatMap(({ flags }) => flags);
  const lists = FLAGS.filter(({ flag, kind }) => /s$/.test(kind) && !flag.startsWith('proxy-'));
  for (const { flag } of lists) t.ok(used.includes(`--${flag}`), flag);
  t.equal(lists.length, 14);
}
