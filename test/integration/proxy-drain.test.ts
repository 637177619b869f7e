/** SIGTERM: what is in flight finishes, nothing new comes in, callers are told with GOAWAY, and the exit is 0 in time. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { answerOf, GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { SOON_MS } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { answersAfter, hangs, ScriptedUpstream } from '../support/scripted-upstream.ts';

const upstream = await ScriptedUpstream.start(t, 'upstream', { script: answersAfter('upstream', 400) });

function start(test: Test, env: Record<string, string> = {}): Promise<ProxyProgram> {
  return ProxyProgram.start(test, {
    env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: upstream.address, ...env },
    document: { models: [{ name: 'm', split: [{ model: `m@1 via ${upstream.address}` }] }] },
  });
}

/** Waits until the upstream has been asked `calls` times since it was `before`. */
async function reached(before: number, calls: number): Promise<void> {
  for (const endMs = performance.now() + SOON_MS; upstream.count < before + calls; await delay(5)) {
    if (performance.now() > endMs) throw new Error(`${upstream.count - before} of ${calls} calls reached the upstream`);
  }
}

/** Tells the proxy to end and waits until it has heard that; gives what tells of its exit. */
async function beginStop(proxy: ProxyProgram): Promise<{ exit: Promise<number | null> }> {
  const exit = proxy.stop();
  await proxy.until(() => proxy.logged('draining').length > 0, 'the drain');
  return { exit };
}

/** How a connection that is tried again and again is refused in the end. */
async function refusal(proxy: ProxyProgram): Promise<string> {
  for (const endMs = performance.now() + SOON_MS; performance.now() < endMs; await delay(5)) {
    const socket = dial(proxy);
    const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
      socket.once('error', resolve);
      socket.once('connect', () => resolve(null));
    });
    socket.on('error', () => {});
    socket.destroy();
    if (error !== null) return error.code ?? error.message;
  }
  return 'never refused';
}

function dial(proxy: ProxyProgram) {
  const [host, port] = proxy.address.split(':');
  return connect({ host: host!, port: Number(port) });
}

t.test('requests in flight finish, new connections are refused, callers get GOAWAY, exit is 0', async (test) => {
  const proxy = await start(test, { UNDERSTUDY_CONCURRENCY: '2' });
  const callers = Array.from({ length: 8 }, () => GrpcCaller.to(test, proxy.address));
  const goaways: number[] = [];
  for (const { session } of callers) session.on('goaway', (code: number) => goaways.push(code));
  const idle = GrpcCaller.to(test, proxy.address);
  await once(idle.session, 'connect');
  const before = upstream.count;
  const flying = callers.flatMap((caller) => Array.from({ length: 20 }, () => caller.predict('m')));
  // One that has sent only half of its request.
  const half = callers[0]!.open();
  const halfAnswer = answerOf(half);
  const whole = predictRequest(
    'm',
    Array.from({ length: 30_000 }, () => 1),
  );
  half.write(whole.subarray(0, 50_000));
  await reached(before, flying.length);
  const stoppedMs = performance.now();
  const { exit } = await beginStop(proxy);
  // A connection that the kernel took in the moment of closing is reset instead of refused.
  test.match(await refusal(proxy), /^ECONN(REFUSED|RESET)$/);
  half.end(whole.subarray(50_000));
  const answers = await Promise.all([...flying, halfAnswer]);
  test.ok(answers.every((answer) => answer.status === 0 && servedBy(answer) === 'upstream'));
  test.equal(await exit, 0);
  const tookMs = performance.now() - stoppedMs;
  test.ok(tookMs < SOON_MS, `${tookMs} ms`);
  test.ok(goaways.length >= callers.length && goaways.every((code) => code === 0), String(goaways));
  test.match(proxy.logged('stopped'), [{ requestsCut: 0 }]);
});

t.test('requests that start while the caller has not read the GOAWAY yet are served', async (test) => {
  const proxy = await start(test);
  const caller = GrpcCaller.to(test, proxy.address);
  upstream.script = answersAfter('upstream', 20);
  let stopping = false;
  const outcomes: number[] = [];
  const load = Array.from({ length: 16 }, async () => {
    while (!caller.session.closed && !caller.session.destroyed) {
      try {
        const answer = await caller.predict('m');
        outcomes.push(answer.status);
      } catch (error) {
        // node:http2 itself refuses a stream after GOAWAY: the caller is told before anything was sent.
        if ((error as NodeJS.ErrnoException).code !== 'ERR_HTTP2_GOAWAY_SESSION') test.fail((error as Error).message);
        return;
      }
    }
    test.ok(stopping);
  });
  while (outcomes.length < 60) await delay(5);
  stopping = true;
  const exit = proxy.stop();
  await Promise.all(load);
  test.equal(await exit, 0);
  test.same([...new Set(outcomes)], [0]);
  upstream.script = answersAfter('upstream', 400);
});

t.test('what has not finished at the deadline is cut, and the exit is 0 all the same', async (test) => {
  const proxy = await start(test, { UNDERSTUDY_SHUTDOWN_GRACE_PERIOD: '500ms' });
  upstream.script = hangs;
  const caller = GrpcCaller.to(test, proxy.address);
  const before = upstream.count;
  const flying = Array.from({ length: 5 }, () => caller.predict('m'));
  await reached(before, flying.length);
  const stoppedMs = performance.now();
  test.equal(await proxy.stop(), 0);
  const tookMs = performance.now() - stoppedMs;
  test.ok(tookMs > 450 && tookMs < SOON_MS, `${tookMs} ms`);
  for (const answer of await Promise.all(flying)) test.not(answer.status, 0);
  test.match(proxy.logged('stopped'), [{ requestsCut: 5 }]);
  upstream.script = answersAfter('upstream', 400);
});

t.test('a second SIGTERM does not cut what the first lets finish', async (test) => {
  const proxy = await start(test);
  const before = upstream.count;
  const flying = GrpcCaller.to(test, proxy.address).predict('m');
  await reached(before, 1);
  const { exit } = await beginStop(proxy);
  proxy.child.kill('SIGTERM');
  test.equal((await flying).status, 0);
  test.equal(await exit, 0);
});

t.test('within the delay new connections are served, while /readyz already says no', async (test) => {
  const proxy = await start(test, { UNDERSTUDY_SHUTDOWN_DELAY: '2s' });
  upstream.script = answersAfter('upstream', 5);
  const { exit } = await beginStop(proxy);
  test.equal((await fetch(`${proxy.adminUrl}/readyz`)).status, 503);
  test.equal((await fetch(`${proxy.adminUrl}/livez`)).status, 200);
  for (let i = 0; i < 5; i++) {
    const caller = GrpcCaller.to(test, proxy.address);
    test.equal((await caller.predict('m')).status, 0);
  }
  test.equal(await exit, 0);
  upstream.script = answersAfter('upstream', 400);
});

t.test('callers that said nothing yet, or are idle, do not hold the exit up', async (test) => {
  const proxy = await start(test);
  const silent = dial(proxy);
  silent.on('error', () => {});
  await once(silent, 'connect');
  const partial = dial(proxy);
  partial.on('error', () => {});
  partial.write('PRI * HTT');
  const idle = GrpcCaller.to(test, proxy.address);
  await once(idle.session, 'connect');
  await delay(50);
  const stoppedMs = performance.now();
  test.equal(await proxy.stop(), 0);
  const tookMs = performance.now() - stoppedMs;
  test.ok(tookMs < SOON_MS, `${tookMs} ms`);
});

t.test('a caller that never reads its GOAWAY does not hold the exit up beyond the deadline', async (test) => {
  const proxy = await start(test, { UNDERSTUDY_SHUTDOWN_GRACE_PERIOD: '400ms' });
  const deaf = dial(proxy);
  deaf.on('error', () => {});
  deaf.pause();
  deaf.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0');
  await delay(50);
  const stoppedMs = performance.now();
  test.equal(await proxy.stop(), 0);
  test.ok(performance.now() - stoppedMs < SOON_MS);
});

t.test('a SIGTERM while it starts ends it', async (test) => {
  for (const waitMs of [50, 200, 350]) {
    const proxy = new ProxyProgram({ env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: upstream.address } });
    test.teardown(() => proxy.kill());
    await delay(waitMs);
    proxy.child.kill('SIGTERM');
    const code = await Promise.race([proxy.exit, delay(5000, 'still there')]);
    test.ok(code === 0 || code === null, `${waitMs} ms: ${code}`);
  }
});
