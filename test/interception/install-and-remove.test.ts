import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { InterceptionLab, PEER_V4, PEER_V6 } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables');
const skipLegacy =
  skip || (spawnSync('iptables-legacy-save', ['-V']).error === undefined ? false : 'needs iptables of the legacy kind');

/** Rules that somebody else has in the pod, in the way of ours. */
const FOREIGN_RULES = `*nat
:SOMEBODY - [0:0]
-A PREROUTING -p tcp -m tcp --dport 7000 -j SOMEBODY
-A OUTPUT -p udp -m udp --dport 53 -m comment --comment "names; 'quoted'" -j SOMEBODY
-A SOMEBODY -p tcp -j REDIRECT --to-ports 7001
COMMIT
*filter
-A INPUT -p tcp -m tcp --dport 1 -j DROP
COMMIT
`;

/** No packet comes or goes that a chain could count. */
function quiet(lab: InterceptionLab): void {
  lab.pod.must('ip', 'link', 'set', 'eth0', 'down');
}

t.test('a namespace without rules is left without rules, tables included', { skip }, async (t) => {
  const lab = new InterceptionLab();
  t.teardown(() => lab.close());
  const before = lab.savedBytes();
  t.notMatch(before['iptables-save'], '*nat');
  lab.mustIntercept('install', '--inbound-ports', 'all');
  t.not(lab.savedBytes()['iptables-save'], before['iptables-save']);
  t.not(lab.savedBytes()['ip6tables-save'], before['ip6tables-save']);
  lab.mustIntercept('remove');
  t.same(lab.savedBytes(), before, 'byte for byte');
  t.notMatch(lab.pod.must('ip', '-6', 'addr', 'show', 'dev', 'lo'), '::6/128', 'the loopback address is gone too');
});

t.test('rules of others survive install and remove, and ours stay behind theirs', { skip }, async (t) => {
  const lab = new InterceptionLab();
  t.teardown(() => lab.close());
  for (const command of ['iptables-nft-restore', 'ip6tables-nft-restore']) {
    t.equal(lab.pod.run(command, [], FOREIGN_RULES).status, 0);
  }
  quiet(lab);
  const before = lab.savedBytes();
  lab.mustIntercept('install', '--inbound-ports', '8500');
  const during = lab.savedBytes()['iptables-save']!;
  for (const line of before['iptables-save']!.split('\n')) t.ok(during.includes(line), line);
  lab.mustIntercept('remove');
  t.same(lab.savedBytes(), before, 'byte for byte, counters of chains included');
});

t.test(
  'installing again changes nothing, and installing differently leaves nothing of the first',
  { skip },
  async (t) => {
    const lab = new InterceptionLab();
    t.teardown(() => lab.close());
    const before = lab.savedRules();
    lab.mustIntercept('install', '--outbound-ports', '8500', '--inbound-ports', '8500');
    const once = lab.savedRules();
    t.match(lab.mustIntercept('install', '--outbound-ports', '8500', '--inbound-ports', '8500'), 'already as wanted');
    t.same(lab.savedRules(), once);
    lab.mustIntercept('install', '--outbound-ports', '9000', '--families', 'both');
    t.notMatch(lab.savedRules()['iptables-nft-save'], /UNDERSTUDY_IN|8500/);
    lab.mustIntercept('remove');
    t.same(lab.savedRules(), before);
    t.match(lab.mustIntercept('remove'), 'no rules of ours');
  },
);

t.test('what print shows is what install puts in place', { skip }, async (t) => {
  const lab = new InterceptionLab();
  t.teardown(() => lab.close());
  const flags = [
    '--outbound-ports',
    '8500,9000-9010',
    '--exclude-uids',
    '4000',
    '--exclude-outbound-cidrs',
    '10.0.0.0/8',
  ];
  const printed = lab.mustIntercept('print', ...flags);
  t.same(lab.savedRules()['iptables-nft-save'], '', 'and touches nothing');
  const [, v4 = '', v6 = ''] = printed.split(/^# IPv[46]: ip6?tables-restore --noflush$/m);
  t.equal(lab.pod.run('iptables-restore', ['--noflush'], v4).status, 0);
  t.equal(lab.pod.run('ip6tables-restore', ['--noflush'], v6).status, 0);
  const restored = lab.savedRules();
  t.match(lab.mustIntercept('install', ...flags), /IPv4.*already as wanted[\s\S]*IPv6.*already as wanted/);
  t.same(lab.savedRules(), restored);
});

t.test('damage to our rules and doubled jumps are repaired by the next install', { skip }, async (t) => {
  const lab = new InterceptionLab();
  t.teardown(() => lab.close());
  lab.mustIntercept('install');
  const good = lab.savedRules();
  lab.pod.must('iptables', '-t', 'nat', '-A', 'OUTPUT', '-p', 'tcp', '-j', 'UNDERSTUDY_OUTPUT');
  lab.pod.must('iptables', '-t', 'nat', '-F', 'UNDERSTUDY_REDIRECT');
  lab.mustIntercept('install');
  t.same(lab.savedRules(), good);
});

t.test(
  'legacy tables are used where rules exist in them, and are left as they were',
  { skip: skipLegacy },
  async (t) => {
    const lab = new InterceptionLab();
    t.teardown(() => lab.close());
    t.equal(lab.pod.run('iptables-legacy-restore', [], FOREIGN_RULES).status, 0);
    t.equal(lab.pod.run('ip6tables-legacy-restore', [], FOREIGN_RULES).status, 0);
    quiet(lab);
    const before = lab.savedBytes();
    t.match(lab.mustIntercept('install', '--inbound-ports', 'all'), '(legacy)');
    t.equal(lab.savedBytes()['iptables-nft-save'], before['iptables-nft-save'], 'nothing of ours in nft');
    t.match(lab.mustIntercept('install', '--inbound-ports', 'all'), 'already as wanted');
    lab.mustIntercept('remove');
    t.same(lab.savedBytes(), before, 'byte for byte, counters of chains included');
  },
);

t.test(
  'legacy asked for redirects as nft does; its empty table stays, for the kernel has no way to drop it',
  { skip: skipLegacy },
  async (t) => {
    const lab = await InterceptionLab.open();
    t.teardown(() => lab.close());
    lab.mustIntercept('install', '--backend', 'legacy');
    t.match(lab.dial(PEER_V4, 8500), { destination: { host: PEER_V4, port: 8500, family: 4 } });
    t.match(lab.dial(PEER_V6, 8500), { destination: { host: PEER_V6, port: 8500, family: 6 } });
    lab.mustIntercept('remove');
    t.match(lab.dial(PEER_V4, 8500), { server: 'peer' });
    const chains = ':PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT';
    t.equal(lab.savedRules()['iptables-legacy-save'], `*nat\n${chains}\nCOMMIT`);
  },
);

t.test('a connection that is open while the rules go away goes on to its end', { skip }, async (t) => {
  const lab = await InterceptionLab.open();
  t.teardown(() => lab.close());
  const before = lab.savedRules();
  lab.mustIntercept('install');
  const { child, nextLine } = lab.talk(PEER_V4, 8500);
  t.match(JSON.parse(await nextLine()), { verdict: 'redirected' });
  lab.mustIntercept('install', '--outbound-ports', '8500-8600');
  child.stdin!.write('after another install\n');
  t.equal(await nextLine(), 'after another install');

  const first = lab.intercept('remove', '--drain', '0s');
  t.equal(first.status, 4, 'detached');
  t.match(first.stderr, 'kept while connections are open (1)');
  t.match(lab.dial(PEER_V4, 8500), { server: 'peer' }, 'new connections go where they meant to');
  child.stdin!.write('after remove\n');
  t.equal(await nextLine(), 'after remove');

  child.kill();
  lab.mustIntercept('remove');
  t.same(lab.savedRules(), before);
});

t.test('remove with drop waits for nobody', { skip }, async (t) => {
  const lab = await InterceptionLab.open();
  t.teardown(() => lab.close());
  const before = lab.savedRules();
  lab.mustIntercept('install');
  const { nextLine } = lab.talk(PEER_V6, 8500);
  t.match(JSON.parse(await nextLine()), { verdict: 'redirected' });
  lab.mustIntercept('remove', '--open-connections', 'drop');
  t.same(lab.savedRules(), before);
});

t.test('a namespace with IPv6 switched off is intercepted on IPv4 alone', { skip }, async (t) => {
  const lab = new InterceptionLab();
  t.teardown(() => lab.close());
  for (const name of ['all', 'default', 'lo', 'eth0'])
    lab.pod.run('sysctl', ['-qw', `net.ipv6.conf.${name}.disable_ipv6=1`]);
  const told = lab.mustIntercept('install');
  t.match(told, 'IPv4');
  t.notMatch(told, 'IPv6');
  t.equal(lab.savedRules()['ip6tables-nft-save'], '');
});

t.test('without the privilege nothing changes and the explicit-port mode is named', { skip }, async (t) => {
  const lab = new InterceptionLab();
  t.teardown(() => lab.close());
  const module = new URL('../../proxy/cli/intercept-command.ts', import.meta.url).href;
  const source = `process.setgroups([]); process.setgid(65534); process.setuid(65534);
    const { runInterceptCommand } = await import(${JSON.stringify(module)});
    process.exitCode = await runInterceptCommand([process.argv[1]], {}, 
      { stdout: console.log, stderr: console.error });`;
  for (const action of ['install', 'remove']) {
    const result = lab.pod.run(process.execPath, ['--input-type=module', '-e', source, '--', action]);
    t.equal(result.status, 3, result.stderr);
    t.match(result.stderr, /NET_ADMIN/);
    t.match(result.stderr, /explicit-port mode/);
  }
  t.equal(lab.savedRules()['iptables-nft-save'], '');
});

t.test('without koffi no rule is installed, and the explicit-port mode is named', { skip }, async (t) => {
  const lab = new InterceptionLab();
  t.teardown(() => lab.close());
  // As on a machine for which koffi has no library.
  const hook = `import { registerHooks } from 'node:module';
    registerHooks({ resolve: (name, context, next) => {
      if (name === 'koffi') throw new Error('no library for this machine');
      return next(name, context);
    } });`;
  const cli = fileURLToPath(new URL('../../proxy/cli/main.ts', import.meta.url));
  const run = (action: string) => {
    const args = ['--import', `data:text/javascript,${encodeURIComponent(hook)}`, cli, 'intercept', action];
    return lab.pod.run(process.execPath, args);
  };
  for (const action of ['install', 'verify']) {
    const { status, stderr } = run(action);
    t.equal(status, 3, stderr);
    t.match(stderr, /koffi.*no library for this machine[\s\S]*explicit-port mode/);
  }
  t.equal(lab.savedRules()['iptables-nft-save'], '');
  lab.mustIntercept('install');
  t.equal(run('remove').status, 0, 'rules that are there can be removed without it');
  t.notMatch(lab.savedRules()['iptables-nft-save'], 'UNDERSTUDY');
});
