import t from 'tap';
import { InterceptExit, runInterceptCommand } from '../../../../proxy/cli/intercept-command.ts';
import type { Machine } from '../../../../proxy/cli/intercept-machine.ts';
import { FakeIptables } from '../../../support/fake-iptables.ts';

/** A machine with this iptables and these files under /proc, where time passes only by waiting. */
function machineOf(iptables: FakeIptables, files: Record<string, string> = {}): Machine {
  let nowMs = 0;
  return {
    run: iptables.run,
    readProc: (path) => files[path] ?? '',
    destinations: () => ({ available: true, reason: '' }),
    nowMs: () => nowMs,
    waitMs: async (durationMs) => {
      nowMs += durationMs;
    },
  };
}

async function intercept(iptables: FakeIptables, ...argv: string[]) {
  return interceptOn(machineOf(iptables), ...argv);
}

async function interceptOn(machine: Machine, ...argv: string[]) {
  let stdout = '';
  let stderr = '';
  const io = {
    stdout: (text: string) => {
      stdout += text;
    },
    stderr: (text: string) => {
      stderr += text;
    },
  };
  const code = await runInterceptCommand(argv, {}, io, machine);
  return { code, stdout, stderr };
}

t.test('rules stand in the order that keeps loops out', async (t) => {
  const iptables = new FakeIptables();
  const argv = [
    '--inbound-ports',
    '8500',
    '--exclude-outbound-ports',
    '25',
    '--exclude-uids',
    '9',
    '--exclude-outbound-cidrs',
    '10.0.0.0/8',
  ];
  t.equal((await intercept(iptables, 'install', '--families', '4', ...argv)).code, InterceptExit.done);
  const rules = iptables
    .saved('iptables-nft-save')
    .split('\n')
    .filter((line) => line.startsWith('-A UNDERSTUDY_OUTPUT '));
  t.same(
    rules.map((line) => line.slice('-A UNDERSTUDY_OUTPUT '.length)),
    [
      '-d 192.0.2.3/32 -p tcp -j UNDERSTUDY_IN_REDIRECT',
      '-p tcp -m multiport --dports 25 -j RETURN',
      '-s 127.0.0.6/32 -o lo -j RETURN',
      '! -d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1717 -j UNDERSTUDY_INBOUND',
      '! -d 127.0.0.1/32 -o lo -p tcp -m owner --gid-owner 1717 -j UNDERSTUDY_INBOUND',
      '-o lo -m owner ! --uid-owner 1717 -m owner ! --gid-owner 1717 -j RETURN',
      '-m owner --uid-owner 1717 -j RETURN',
      '-m owner --gid-owner 1717 -j RETURN',
      '! -d 192.0.2.2/32 -m owner --uid-owner 9 -j RETURN',
      '-d 127.0.0.0/8 -j RETURN',
      '-d 10.0.0.0/8 -j RETURN',
      '-p tcp -m multiport --dports 8500:8501 -j UNDERSTUDY_REDIRECT',
    ],
  );
});

t.test('blocks go to the rules of their own family', async (t) => {
  const iptables = new FakeIptables();
  await intercept(iptables, 'install', '--families', 'both', '--include-outbound-cidrs', '10.0.0.0/8,fd00::/8');
  t.match(iptables.saved('iptables-nft-save'), /-d 10\.0\.0\.0\/8 .*UNDERSTUDY_REDIRECT/);
  t.notMatch(iptables.saved('iptables-nft-save'), /fd00/);
  t.match(iptables.saved('ip6tables-nft-save'), /-d fd00::\/8 .*UNDERSTUDY_REDIRECT/);
  t.notMatch(iptables.saved('ip6tables-nft-save'), /10\.0\.0\.0/);
});

t.test('included interfaces and callers multiply with the ports, each rule as the kernel writes it', async (t) => {
  const iptables = new FakeIptables();
  await intercept(
    iptables,
    ...['install', '--families', '4', '--outbound-ports', '8500', '--inbound-ports', '8600,9000'],
    ...['--include-interfaces', 'eth0,net+', '--include-inbound-cidrs', '10.0.0.0/8,fd00::/8'],
  );
  const rules = iptables.saved('iptables-nft-save').split('\n');
  const redirecting = (chain: string) =>
    rules
      .filter((line) => line.startsWith(`-A ${chain} `) && /_REDIRECT$/.test(line))
      .slice(chain === 'UNDERSTUDY_OUTPUT' ? 1 : 0);
  t.same(redirecting('UNDERSTUDY_INBOUND'), [
    '-A UNDERSTUDY_INBOUND -s 10.0.0.0/8 -i eth0 -p tcp -m multiport --dports 8600,9000 -j UNDERSTUDY_IN_REDIRECT',
    '-A UNDERSTUDY_INBOUND -s 10.0.0.0/8 -i net+ -p tcp -m multiport --dports 8600,9000 -j UNDERSTUDY_IN_REDIRECT',
  ]);
  t.same(redirecting('UNDERSTUDY_OUTPUT'), [
    '-A UNDERSTUDY_OUTPUT -o eth0 -p tcp -m multiport --dports 8500 -j UNDERSTUDY_REDIRECT',
    '-A UNDERSTUDY_OUTPUT -o net+ -p tcp -m multiport --dports 8500 -j UNDERSTUDY_REDIRECT',
  ]);
});

t.test('a second install applies nothing', async (t) => {
  const iptables = new FakeIptables();
  await intercept(iptables, 'install', '--families', 'both');
  const before = iptables.saved('iptables-nft-save');
  iptables.log.length = 0;
  const again = await intercept(iptables, 'install', '--families', 'both');
  t.equal(again.code, InterceptExit.done);
  t.notOk(
    iptables.log.some((line) => line.includes('restore')),
    iptables.log.join('\n'),
  );
  t.equal(iptables.saved('iptables-nft-save'), before);
});

t.test('when the second family fails the first is taken back', async (t) => {
  const iptables = new FakeIptables(['legacy'], 'legacy');
  iptables.seed('iptables-legacy-save', '*nat\n-A OUTPUT -j ACCEPT\nCOMMIT');
  await intercept(iptables, 'install', '--families', '4', '--outbound-ports', '7000');
  const before = iptables.saved('iptables-legacy-save');
  iptables.failures.set('ip6tables-legacy-restore', 'the kernel says no');
  const result = await intercept(iptables, 'install', '--families', 'both');
  t.equal(result.code, InterceptExit.failed);
  t.match(result.stderr, 'the kernel says no; nothing was changed');
  t.equal(iptables.saved('iptables-legacy-save'), before);
});

t.test('a text that one family refuses is not applied to the other', async (t) => {
  const iptables = new FakeIptables();
  iptables.failures.set('ip6tables-nft-restore --test', "unknown option '-m multiport'");
  const result = await intercept(iptables, 'install', '--families', 'both');
  t.equal(result.code, InterceptExit.failed);
  t.equal(iptables.saved('iptables-nft-save'), '');
});

t.test('the kind of iptables is the one where rules are', async (t) => {
  for (const [seeded, expected] of [
    [[], 'nft'],
    [['legacy'], 'legacy'],
    [['nft'], 'nft'],
    [['nft', 'legacy', 'legacy'], 'legacy'],
  ] as const) {
    const iptables = new FakeIptables();
    for (const kind of seeded) iptables.seed(`iptables-${kind}-save`, '*nat\n-A OUTPUT -j ACCEPT\nCOMMIT');
    t.match((await intercept(iptables, 'install', '--families', '4')).stdout, `(${expected})`, seeded.join());
    t.match((await intercept(iptables, 'install', '--families', '4', '--backend', 'auto')).stdout, 'already as wanted');
  }
  const legacyOnly = new FakeIptables(['legacy'], 'legacy');
  t.match((await intercept(legacyOnly, 'install', '--families', '4')).stdout, '(legacy)');
  const refused = await intercept(legacyOnly, 'install', '--backend', 'nft');
  t.equal(refused.code, InterceptExit.unavailable);
  t.match(refused.stderr, 'kind nft is not installed');
});

t.test('a kind the kernel cannot serve is passed over', async (t) => {
  const iptables = new FakeIptables();
  for (const command of ['iptables-nft-save', 'ip6tables-nft-save'])
    iptables.failures.set(command, 'Protocol not supported');
  t.match((await intercept(iptables, 'install', '--families', '4')).stdout, '(legacy)');
});

t.test('without iptables or privilege the code is its own and the explicit-port mode is named', async (t) => {
  const none = await intercept(new FakeIptables([]), 'install');
  t.equal(none.code, InterceptExit.unavailable);
  t.match(none.stderr, /iptables is not installed[\s\S]*explicit-port mode/);
  const denied = new FakeIptables();
  for (const command of denied.installed) denied.failures.set(command, 'Permission denied (you must be root)');
  for (const action of ['install', 'remove']) {
    const result = await intercept(denied, action);
    t.equal(result.code, InterceptExit.unavailable);
    t.match(result.stderr, /NET_ADMIN[\s\S]*explicit-port mode/);
  }
});

t.test('remove takes jumps to us out of chains of others, and leaves the rest', async (t) => {
  const iptables = new FakeIptables(['legacy'], 'legacy');
  iptables.seed('iptables-legacy-save', '*nat\n:OTHER - [0:0]\n-A OTHER -p tcp -j ACCEPT\nCOMMIT');
  const before = iptables.saved('iptables-legacy-save');
  await intercept(iptables, 'install', '--families', '4');
  iptables.seed('iptables-legacy-save', '*nat\n-A OTHER -p tcp -j UNDERSTUDY_OUTPUT\nCOMMIT');
  const result = await intercept(iptables, 'remove', '--open-connections', 'drop');
  t.equal(result.code, InterceptExit.done, result.stderr);
  t.equal(iptables.saved('iptables-legacy-save'), before);
});

t.test('print needs nothing, touches nothing and shows both families', async (t) => {
  const iptables = new FakeIptables([]);
  const { code, stdout } = await intercept(iptables, 'print', '--inbound-ports', 'all');
  t.equal(code, InterceptExit.done);
  t.same(iptables.log, []);
  t.match(stdout, /# IPv4: iptables-restore --noflush\n\*nat\n[\s\S]*COMMIT\n[\s\S]*# IPv6: ip6tables-restore/);
});

t.test('a wrong word is answered with the usage, help with every flag and its twin', async (t) => {
  const iptables = new FakeIptables();
  t.equal((await intercept(iptables)).code, InterceptExit.usage);
  t.equal((await intercept(iptables, 'instal')).code, InterceptExit.usage);
  t.equal((await intercept(iptables, 'install', '--families', '5')).code, InterceptExit.usage);
  t.same(iptables.log, []);
  const help = await intercept(iptables, '--help');
  t.match(help.stdout, /--exclude-gids[\s\S]*UNDERSTUDY_INTERCEPT_EXCLUDE_GIDS/);
});

/** /proc/net/tcp with one socket on the port, in the state. */
function socketTable(port: number, state: string): string {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return `  sl  local_address rem_address   st\n   0: ${local} 0200000A:9C40 ${state} 00000000:00000000\n`;
}

t.test('remove waits for redirected connections, then only detaches', async (t) => {
  const iptables = new FakeIptables(['legacy'], 'legacy');
  await intercept(iptables, 'install', '--families', '4');
  const files: Record<string, string> = { '/proc/net/tcp': socketTable(15001, '01') };
  const machine = machineOf(iptables, files);
  const first = await interceptOn(machine, 'remove', '--drain', '2s');
  t.equal(first.code, InterceptExit.detached);
  t.equal(machine.nowMs(), 2000);
  t.notMatch(iptables.saved('iptables-legacy-save'), /-j UNDERSTUDY_OUTPUT/);
  t.match(iptables.saved('iptables-legacy-save'), /REDIRECT --to-ports 15001/);
  files['/proc/net/tcp'] = socketTable(15001, '06');
  t.equal((await interceptOn(machine, 'remove')).code, InterceptExit.done, 'TIME_WAIT carries nothing');
  t.notMatch(iptables.saved('iptables-legacy-save'), /UNDERSTUDY/);
});

t.test('an install after a detached remove is whole again', async (t) => {
  const iptables = new FakeIptables(['legacy'], 'legacy');
  await intercept(iptables, 'install', '--families', '4');
  const whole = iptables.saved('iptables-legacy-save');
  await interceptOn(machineOf(iptables, { '/proc/net/tcp': socketTable(15001, '01') }), 'remove');
  await intercept(iptables, 'install', '--families', '4');
  t.equal(iptables.saved('iptables-legacy-save'), whole);
});

t.test('a process without NET_ADMIN is told so before anything runs', async (t) => {
  const iptables = new FakeIptables();
  const machine = machineOf(iptables, { '/proc/self/status': 'Name:\tnode\nCapEff:\t000001fffeffefff\n' });
  const result = await interceptOn(machine, 'install');
  t.equal(result.code, InterceptExit.unavailable);
  t.match(result.stderr, /lacks NET_ADMIN[\s\S]*explicit-port mode/);
  t.same(iptables.log, []);
});

t.test('without koffi nothing is installed or verified, and the explicit-port mode is named', async (t) => {
  const iptables = new FakeIptables();
  const reason = 'koffi, which reads original destinations, did not load (no such file): explicit-port mode';
  const machine = { ...machineOf(iptables), destinations: () => ({ available: false, reason }) };
  for (const action of ['install', 'verify']) {
    const result = await interceptOn(machine, action);
    t.equal(result.code, InterceptExit.unavailable, action);
    t.match(result.stderr, /koffi.*did not load[\s\S]*needs no privilege/);
  }
  t.same(iptables.log, []);
  await intercept(iptables, 'install', '--families', '4');
  t.equal((await interceptOn(machine, 'remove')).code, InterceptExit.done, 'rules that are there can be taken away');
});

t.test('an install with one family or the other kind leaves nothing of an earlier one in force', async (t) => {
  const iptables = new FakeIptables();
  await intercept(iptables, 'install', '--families', 'both', '--backend', 'legacy');
  const changed = await intercept(iptables, 'install', '--families', '4', '--backend', 'nft');
  t.equal(changed.code, InterceptExit.done);
  t.match(changed.stdout, /IPv4 \(nft\): rules in place/);
  t.match(changed.stdout, /IPv4 \(legacy\): rules of an earlier install put out of the way/);
  t.match(changed.stdout, /IPv6 \(legacy\): rules of an earlier install put out of the way/);
  for (const command of ['iptables-legacy-save', 'ip6tables-legacy-save', 'ip6tables-nft-save'])
    t.notMatch(iptables.saved(command), /-A (OUTPUT|PREROUTING) .*UNDERSTUDY_/, command);
  const again = await intercept(iptables, 'install', '--families', '4', '--backend', 'nft');
  t.equal(again.stdout, 'IPv4 (nft): already as wanted\n');
  iptables.failures.set('iptables-nft-restore', 'the kernel says no');
  const stuck = await intercept(iptables, 'install', '--families', '4', '--backend', 'legacy');
  t.equal(stuck.code, InterceptExit.failed);
  t.match(stuck.stderr, 'rules of an earlier install stay: iptables-nft-restore failed');
});
