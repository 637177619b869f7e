/** Upstreams that leave, in order or not: a GOAWAY loses no request, and a kill -9 none that has a fallback. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { answers, answersAfter, predictResponse, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';

const folder = mkdtempSync(join(tmpdir(), 'understudy-loss-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** Calls without pause until told to stop; returns what did not succeed, and who answered how often. */
class Load {
  readonly failures: string[] = [];
  readonly answered = new Map<string, number>();
  private running = true;
  private readonly loops: Promise<void>[];

  constructor(callers: readonly GrpcCaller[], model: string, atOnce: number) {
    this.loops = callers.flatMap((caller) => Array.from({ length: atOnce }, () => this.loop(caller, model)));
  }

  get count(): number {
    return [...this.answered.values()].reduce((sum, count) => sum + count, this.failures.length);
  }

  async stop(): Promise<void> {
    this.running = false;
    await Promise.all(this.loops);
  }

  private async loop(caller: GrpcCaller, model: string): Promise<void> {
    while (this.running) {
      const answer = await caller.predict(model);
      if (answer.status === 0) {
        const name = servedBy(answer);
        this.answered.set(name, (this.answered.get(name) ?? 0) + 1);
      } else {
        this.failures.push(`${answer.status} ${answer.message} reset ${answer.resetCode}`);
      }
    }
  }
}

async function startServer(name: string, address: string): Promise<ChildProcess> {
  const program = fileURLToPath(new URL('../support/model-server.ts', import.meta.url));
  const child = spawn(process.execPath, [program, name, address], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout!, 'data');
  return child;
}

t.test('a GOAWAY under load loses no request, though nothing stands in', async (test) => {
  const upstream = await ScriptedUpstream.start(test, 'upstream', {
    forget: true,
    script: answersAfter('upstream', 5),
  });
  const proxy = await ProxyProgram.start(test, {
    document: { models: [{ name: 'm', split: [{ model: `m@1 via ${upstream.address}` }] }] },
  });
  const callers = Array.from({ length: 4 }, () => GrpcCaller.to(test, proxy.address));
  const load = new Load(callers, 'm', 8);
  for (let i = 0; i < 10; i++) {
    await delay(100);
    const before = upstream.sessionCount;
    upstream.goaway();
    // On a busy machine the next connection may take longer than the pause.
    for (let waited = 0; waited < 2000 && upstream.sessionCount === before; waited += 20) await delay(20);
  }
  await load.stop();
  test.same(load.failures, []);
  test.ok(load.count > 200, String(load.count));
  test.ok(upstream.sessionCount > 10, 'each made a new connection');
});

t.test('requests that a GOAWAY or REFUSED_STREAM names as not processed are sent again', async (test) => {
  const upstream = await ScriptedUpstream.start(test, 'upstream');
  const proxy = await ProxyProgram.start(test, {
    document: { models: [{ name: 'm', split: [{ model: `m@1 via ${upstream.address}` }] }] },
  });
  const caller = GrpcCaller.to(test, proxy.address);
  let refusals = 0;
  upstream.script = (call) => {
    if (refusals++ % 2 === 0) call.refuse();
    else void answers('upstream')(call);
  };
  for (let i = 0; i < 20; i++) test.equal((await caller.predict('m')).status, 0);
  test.equal(refusals, 40);
  // The first of each session is answered late and the ones behind it are declared unprocessed.
  const seen = new Set<unknown>();
  upstream.script = async (call) => {
    const { session } = call.stream;
    const first = !seen.has(session);
    seen.add(session);
    const body = await call.body;
    if (first) {
      await delay(30);
      session?.goaway(0, call.stream.id);
      await delay(10);
    } else if (seen.size === 1) {
      return;
    }
    call.answer(predictResponse('upstream', body));
  };
  upstream.cut();
  await delay(20);
  const all = await Promise.all(Array.from({ length: 20 }, () => caller.predict('m')));
  test.same([...new Set(all.map(({ status }) => status))], [0]);
});

t.test(
  'a limit on concurrent streams is kept, and what is above it waits or takes another connection',
  async (test) => {
    let most = 0;
    const open = new Map<unknown, number>();
    const upstream = await ScriptedUpstream.start(test, 'upstream', {
      maxConcurrentStreams: 4,
      script: async (call) => {
        const { session } = call.stream;
        open.set(session, (open.get(session) ?? 0) + 1);
        most = Math.max(most, open.get(session)!);
        call.stream.on('close', () => open.set(session, open.get(session)! - 1));
        const body = await call.body;
        await delay(10);
        call.answer(predictResponse('upstream', body));
      },
    });
    const proxy = await ProxyProgram.start(test, {
      document: { models: [{ name: 'm', split: [{ model: `m@1 via ${upstream.address}` }] }] },
    });
    const caller = GrpcCaller.to(test, proxy.address);
    const all = await Promise.all(Array.from({ length: 400 }, () => caller.predict('m')));
    test.same([...new Set(all.map(({ status, message }) => `${status} ${message}`))], ['0 ']);
    test.ok(most <= 4, `${most} at once`);
    test.ok(upstream.sessionCount <= 16 + 1, `${upstream.sessionCount} connections`);
  },
);

t.test(
  'kill -9 of the primary under load loses no request: the fallback answers, then the primary again',
  async (test) => {
    const primarySocket = `unix:${join(folder, 'primary.sock')}`;
    const liteSocket = `unix:${join(folder, 'lite.sock')}`;
    let primary = await startServer('primary', primarySocket);
    const lite = await startServer('lite', liteSocket);
    test.teardown(() => {
      primary.kill('SIGKILL');
      lite.kill('SIGKILL');
    });
    const proxy = await ProxyProgram.start(test, {
      env: {
        UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: primarySocket,
        UNDERSTUDY_OUTBOUND_FALLBACK_WORKER_ADDRESS: liteSocket,
        UNDERSTUDY_MODEL_M_PRIMARY: 'm@1',
        UNDERSTUDY_MODEL_M_FALLBACK: 'lite',
      },
    });
    const callers = Array.from({ length: 8 }, () => GrpcCaller.to(test, proxy.address));
    const load = new Load(callers, 'm', 4);
    const grpcJs = new TfsClient(proxy.address);
    test.teardown(() => grpcJs.close());
    await delay(400);
    primary.kill('SIGKILL');
    await delay(300);
    const reply = await grpcJs.predict({ model_spec: modelSpec('m'), inputs: { x: floats([1], [1]) } });
    test.equal(String(reply.outputs.served_by.string_val[0]), 'lite');
    const { clusters } = await proxy.json('/models');
    test.equal(clusters.find(({ name }: { name: string }) => name === 'm@1').breaker.state, 'open');
    rmSync(join(folder, 'primary.sock'), { force: true });
    primary = await startServer('primary', primarySocket);
    load.answered.set('primary', 0);
    await until(() => load.answered.get('primary')! >= 50, 'the breaker closed again');
    await load.stop();
    test.same(load.failures, []);
    test.ok(load.answered.get('lite')! > 50);
  },
);
