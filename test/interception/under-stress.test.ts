/** What callers of an intercepted pod see when there are very many of them, when the proxy restarts, when tracking fails. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { InterceptionLab, PEER_V4, PROXY_ID } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';
import { until } from '../support/patience.ts';
import {
  APPLICATION,
  CALLING_APPLICATION,
  EDGE_CLIENT,
  inPod,
  MODEL_SERVER,
  metric,
  startProxy,
} from '../support/sidecar-pod.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables', 'setpriv', 'curl');
const CONNECTIONS = 10_000;
/**
 * A connection that closed keeps its local port for a minute, towards its destination; here the caller's and the proxy's
 * share one namespace. Beyond some thousands the kernel searches long for a free one, so the storm goes to several
 * addresses, as a Service has them.
 */
const STORM_ADDRESSES = [PEER_V4, ...Array.from({ length: 7 }, (_, i) => `10.77.0.${11 + i}`)];
const ANSWER_WITHIN_MS = 15_000;
const MAX_TABLE = 300_000;
const CURL_TIMED_OUT = 28;
const CONNTRACK_FILLER = fileURLToPath(new URL('../support/conntrack-filler.ts', import.meta.url));

/** A running application whose answers are counted: by who gave them, or as a failure. */
class Caller {
  answered = 0;
  readonly failures: string[] = [];
  readonly answerers = new Set<string>();
  private readonly child: ChildProcess;

  constructor(lab: InterceptionLab, mode: 'fresh' | 'steady') {
    this.child = lab.pod.spawn(process.execPath, [CALLING_APPLICATION, mode, `${PEER_V4}:8500`, 'm', '10']);
    createInterface({ input: this.child.stdout! }).on('line', (line) => {
      const { by, error } = JSON.parse(line) as { by?: string; error?: string };
      if (by === undefined) this.failures.push(error!);
      else this.answerers.add(by);
      if (by !== undefined) this.answered++;
    });
  }

  /** Waits for so many answers more. */
  async answers(count: number): Promise<boolean> {
    const end = performance.now() + ANSWER_WITHIN_MS;
    for (const goal = this.answered + count; this.answered < goal; await delay(10)) {
      if (performance.now() > end) return false;
    }
    return true;
  }

  /** Ends once its last call is answered. */
  async end(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.stdin!.end();
    await ended;
  }
}

interface House {
  readonly lab: InterceptionLab;
  proxy: ChildProcess;
}

async function openHouse(test: Test): Promise<House> {
  const lab = new InterceptionLab();
  test.teardown(() => lab.close());
  for (const address of STORM_ADDRESSES.slice(1)) lab.peer.must('ip', 'addr', 'add', `${address}/24`, 'dev', 'eth0');
  const [proxy] = await Promise.all([
    startProxy(lab),
    lab.peer.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'peer', '[::]:8500', '8600']),
  ]);
  lab.mustIntercept('install', '--outbound-ports', '8500,8600');
  return { lab, proxy };
}

const descriptors = ({ proxy }: House) => readdirSync(`/proc/${proxy.pid}/fd`).length;

t.test('a pod under stress', { skip }, async (t) => {
  const house = await openHouse(t);
  const { lab } = house;

  t.test(`answers ${CONNECTIONS} connections opened and closed, and keeps nothing of them`, async (t) => {
    const before = descriptors(house);
    const storm = lab.pod.run(
      process.execPath,
      [EDGE_CLIENT, 'storm', STORM_ADDRESSES.join(), '8600', `${CONNECTIONS}`],
      '',
      process.env,
      60_000,
    );
    t.equal(storm.stdout.trim(), JSON.stringify({ answered: CONNECTIONS }), storm.stderr);
    t.equal(metric(lab, 'understudy_opaque_connections_total'), CONNECTIONS, 'through the proxy');
    await until(() => metric(lab, 'understudy_opaque_open_connections') === 0, 'no connection is open');
    t.equal(metric(lab, 'understudy_downstream_open_connections'), 0);
    t.equal(metric(lab, 'understudy_opaque_connections_cut_total'), 0);
    t.ok(descriptors(house) <= before + 8, `${before} descriptors before, ${descriptors(house)} after`);
  });

  t.test('goes on with open connections while no new one can be tracked, and takes new ones after', async (t) => {
    const steady = new Caller(lab, 'steady');
    t.ok(await steady.answers(3));
    // What the kernel does with the first packet of a connection when its table of connections is full. Only to the
    // proxy, for an application it happens to as well never gets as far as us.
    const full = ['-p', 'tcp', '-m', 'owner', '--uid-owner', `${PROXY_ID}`];
    full.push('-m', 'conntrack', '--ctstate', 'NEW', '-j', 'DROP');
    lab.pod.must('iptables', '-I', 'OUTPUT', ...full);
    const beganMs = performance.now();
    const refused = inPod(lab, APPLICATION, 'say', `${STORM_ADDRESSES[1]}:8500`, 'new');
    t.match(refused, { code: 14 }, 'a call that needs a new connection fails with UNAVAILABLE');
    t.ok(performance.now() - beganMs < 9_000, 'before its deadline');
    t.ok(await steady.answers(5), 'the others are answered');
    t.same(steady.failures, []);
    await steady.end();
    lab.pod.must('iptables', '-D', 'OUTPUT', ...full);
    t.same(inPod(lab, APPLICATION, 'say', `${STORM_ADDRESSES[1]}:8500`, 'new'), { said: 'peer: new' });
  });

  t.test("the pod's table of connections, full to the last place", { skip: unfillable(lab) }, async (t) => {
    const steady = new Caller(lab, 'steady');
    t.ok(await steady.answers(3));
    const count = () => Number(lab.pod.must('cat', '/proc/sys/net/netfilter/nf_conntrack_count'));
    const filler = await lab.pod.spawnUntil(['made'], process.execPath, [CONNTRACK_FILLER, 'fill']);
    t.ok(count() > tableSize() - 1000, 'full');
    // The kernel drops the first packet of every connection, that of the application to the proxy before all others.
    const curl = ['--silent', '--max-time', '1.5', `http://${STORM_ADDRESSES[2]}:8500/`];
    t.equal(lab.pod.run('curl', curl).status, CURL_TIMED_OUT, 'no new connection');
    t.ok(await steady.answers(5), 'calls on connections that are open are answered');
    t.same(steady.failures, []);
    const ended = once(filler, 'exit');
    filler.kill();
    await ended;
    inPod(lab, CONNTRACK_FILLER, 'empty');
    t.ok(count() < tableSize() / 2, 'and empty again');
    t.same(inPod(lab, APPLICATION, 'say', `${STORM_ADDRESSES[2]}:8500`, 'new'), { said: 'peer: new' });
    t.ok(await steady.answers(3));
    t.same(steady.failures, []);
    await steady.end();
  });

  t.test('a proxy that is killed and started again: calls fail at once meanwhile, none goes past it', async (t) => {
    const [fresh, steady] = [new Caller(lab, 'fresh'), new Caller(lab, 'steady')];
    t.ok((await Promise.all([fresh.answers(3), steady.answers(3)])).every(Boolean));
    const ended = once(house.proxy, 'exit');
    house.proxy.kill('SIGKILL');
    await ended;
    const answeredBefore = [fresh.answered, steady.answered];
    while (fresh.failures.length < 3) await delay(10);
    t.match(fresh.failures.join(), 'UNAVAILABLE');
    // What was answered in the moment of the kill may still have been on its way here.
    const late = fresh.answered + steady.answered - answeredBefore[0]! - answeredBefore[1]!;
    t.ok(late <= 4, `${late} answers without a proxy`);
    house.proxy = await startProxy(lab);
    t.ok((await Promise.all([fresh.answers(5), steady.answers(5)])).every(Boolean), 'both recover by themselves');
    const failed = [fresh.failures.length, steady.failures.length];
    t.ok((await Promise.all([fresh.answers(5), steady.answers(5)])).every(Boolean));
    t.same([fresh.failures.length, steady.failures.length], failed, 'and fail no more');
    t.same([...fresh.answerers, ...steady.answerers], ['peer', 'peer']);
    const before = descriptors(house);
    t.ok(await fresh.answers(10));
    await Promise.all([fresh.end(), steady.end()]);
    await until(() => metric(lab, 'understudy_downstream_open_connections') === 0, 'no connection is left');
    t.ok(descriptors(house) <= before, 'nor a descriptor');
  });
});

/** How many connections one namespace may have tracked. */
function tableSize(): number {
  return Number(readFileSync('/proc/sys/net/netfilter/nf_conntrack_max', 'utf8'));
}

/** Why the table of a namespace is not filled here, or false. An entry is some 400 bytes of the kernel's memory. */
function unfillable(lab: InterceptionLab): string | false {
  const size = tableSize();
  if (size > MAX_TABLE) return `the table of connections holds ${size}, more than ${MAX_TABLE}`;
  const { status, stderr } = lab.pod.run(process.execPath, [CONNTRACK_FILLER, 'empty']);
  return status === 0 ? false : `needs ctnetlink: ${/Error: .*/.exec(stderr)?.[0] ?? stderr}`;
}
