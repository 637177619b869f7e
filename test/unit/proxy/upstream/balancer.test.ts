import t from 'tap';
import { Balanced, Balancer, type EndpointGuard, Served } from '../../../../proxy/upstream/balancer.ts';

/** Numbers that look random and are the same each time. */
function random(seed = 1): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

class ScriptedGuard implements EndpointGuard {
  ejected = false;
  readonly epoch = 1;
  readonly settled: number[] = [];
  admit(): number {
    return this.ejected ? -1 : 0;
  }
  settle(_admission: number, _epoch: number, served: number): void {
    this.settled.push(served);
  }
}

function cluster(names: string[], maxEjected = 0.5) {
  const unhealthy = new Set<number>();
  const balancer = new Balancer<string>(
    random(),
    (place) => !unhealthy.has(place),
    () => maxEjected,
  );
  const guards = names.map(() => new ScriptedGuard());
  balancer.endpoints = names.map((name, i) => new Balanced(name, name, i, guards[i]!));
  return { balancer, guards, unhealthy };
}

t.test('of two endpoints the one with fewer requests in flight is picked', async (test) => {
  const { balancer } = cluster(['a', 'b']);
  balancer.endpoints[0]!.active = 3;
  for (let i = 0; i < 20; i++) test.equal(balancer.pick(0, null)?.name, 'b');
});

t.test('requests spread evenly over equal endpoints', async (test) => {
  const { balancer } = cluster(['a', 'b', 'c', 'd']);
  const counts = new Map<string, number>();
  for (let i = 0; i < 4000; i++) {
    const picked = balancer.pick(0, null)!;
    picked.active++;
    counts.set(picked.name, (counts.get(picked.name) ?? 0) + 1);
  }
  for (const count of counts.values()) test.ok(count > 950 && count < 1050, `${count} of 4000`);
});

/*
 * Scenario: one of three endpoints fails every request at once, the others need 100 ms each.
 * Mechanism: by requests in flight alone the failing one always looks idle and is picked nearly every time.
 * Consequence: without the penalty most requests of the cluster fail while two endpoints are well.
 */
t.test('an endpoint that fails fast does not draw the traffic', async (test) => {
  const { balancer } = cluster(['bad', 'good', 'fine']);
  const busy: { at: number; endpoint: Balanced<string> }[] = [];
  let failed = 0;
  for (let nowMs = 0; nowMs < 10_000; nowMs += 5) {
    while (busy.length > 0 && busy[0]!.at <= nowMs) {
      const { endpoint } = busy.shift()!;
      balancer.settle(endpoint, 0, 0, Served.OK, nowMs, 0);
    }
    const endpoint = balancer.pick(nowMs, null)!;
    endpoint.active++;
    if (endpoint.name === 'bad') {
      failed++;
      balancer.settle(endpoint, 0, 0, Served.FAILED, nowMs, 0);
    } else {
      busy.push({ at: nowMs + 100, endpoint });
    }
  }
  test.ok(failed < 100, `${failed} of 2000 requests failed`);
  test.ok(failed > 0, 'it is still tried');
});

t.test('an endpoint that asks to be left alone is, for a while', async (test) => {
  const { balancer } = cluster(['a', 'b']);
  const [a, b] = balancer.endpoints as [Balanced<string>, Balanced<string>];
  a.active = 1;
  balancer.settle(a, 0, 0, Served.SHED, 0, 2000);
  b.active = 5;
  test.equal(balancer.pick(0, null), b);
  test.equal(balancer.pick(60_000, null), a, 'later the one with less to do');
});

t.test('unhealthy and ejected endpoints get nothing, and there is no panic when none is left', async (test) => {
  const { balancer, guards, unhealthy } = cluster(['a', 'b', 'c']);
  unhealthy.add(0);
  guards[1]!.ejected = true;
  for (let i = 0; i < 20; i++) test.equal(balancer.pick(0, null)?.name, 'c');
  test.equal(balancer.usable(), 1);
  unhealthy.add(2);
  test.equal(balancer.pick(0, null), null);
});

t.test('a retry goes to another endpoint while there is one', async (test) => {
  const { balancer, unhealthy } = cluster(['a', 'b']);
  const [a, b] = balancer.endpoints as [Balanced<string>, Balanced<string>];
  b.active = 50;
  for (let i = 0; i < 20; i++) test.equal(balancer.pick(0, a), b);
  unhealthy.add(1);
  test.equal(balancer.pick(0, a), a, 'the same one is better than none');
});

t.test('no more endpoints are ejected than their share allows, and never all', async (test) => {
  const { balancer, guards } = cluster(['a', 'b', 'c', 'd']);
  const fail = (i: number) => {
    balancer.endpoints[i]!.active = 1;
    balancer.settle(balancer.endpoints[i]!, 0, 0, Served.FAILED, 0, 0);
    return guards[i]!.settled.at(-1);
  };
  test.equal(fail(0), Served.FAILED);
  guards[0]!.ejected = true;
  test.equal(fail(1), Served.FAILED);
  guards[1]!.ejected = true;
  test.equal(fail(2), Served.UNKNOWN, 'two of four are out: the third is not judged');
  test.equal(fail(0), Served.FAILED, 'a probe of an ejected one is');
  const pair = cluster(['a', 'b'], 1);
  pair.guards[0]!.ejected = true;
  pair.balancer.endpoints[1]!.active = 1;
  pair.balancer.settle(pair.balancer.endpoints[1]!, 0, 0, Served.FAILED, 0, 0);
  test.equal(pair.guards[1]!.settled.at(-1), Served.UNKNOWN, 'the last stays');
});
