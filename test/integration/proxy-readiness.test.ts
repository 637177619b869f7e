/** Readiness that means warm, what the metrics address shows, and opaque connections that carry nothing. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import t, { type Test } from 'tap';
import { PROTO_DIR, ProtoFile } from '../../proto/files.ts';
import { ProxyProgram } from '../support/proxy-program.ts';

const LOADING = 20;
const AVAILABLE = 30;

/** A worker made of grpc-js whose models have the states it is told; a name it does not have is NOT_FOUND. */
class ScriptedWorker {
  readonly states = new Map<string, number>();
  readonly address: string;
  private readonly server = new grpc.Server();

  constructor(folder: string, name: string) {
    this.address = `unix:${join(folder, `${name}.sock`)}`;
  }

  async start(): Promise<void> {
    const loaded = loadSync(ProtoFile.modelService, { includeDirs: [PROTO_DIR], keepCase: true, longs: String });
    this.server.addService(loaded['tensorflow.serving.ModelService'] as grpc.ServiceDefinition, {
      GetModelStatus: (
        call: grpc.ServerUnaryCall<{ model_spec: { name: string; version: { value: string } | null } }, object>,
        respond: grpc.sendUnaryData<object>,
      ) => {
        const { name, version } = call.request.model_spec;
        const state = this.states.get(`${name}@${version?.value ?? ''}`);
        if (state === undefined) respond({ code: grpc.status.NOT_FOUND, details: 'no such model' });
        else respond(null, { model_version_status: [{ version: version?.value ?? '1', state }] });
      },
    });
    await new Promise<void>((resolve, reject) =>
      this.server.bindAsync(this.address, grpc.ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      ),
    );
  }

  stop(): void {
    this.server.forceShutdown();
  }
}

/** Whether the metrics come to show a line: our side of a connection is closed a moment after the caller's. */
async function shows(proxy: ProxyProgram, line: string): Promise<boolean> {
  for (let i = 0; i < 100; i++, await delay(20)) {
    if ((await (await fetch(`${proxy.adminUrl}/metrics`)).text()).includes(line)) return true;
  }
  return false;
}

/** A reset is as good an end as any. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

function folderOf(test: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-ready-'));
  test.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** `/readyz` once it says what is expected; what it said last when it does not. */
async function readyz(proxy: ProxyProgram, expected: RegExp): Promise<string> {
  let said = '';
  for (let i = 0; i < 100; i++) {
    const answer = await fetch(`${proxy.adminUrl}/readyz`);
    said = `${answer.status} ${await answer.text()}`;
    if (expected.test(said)) break;
    await delay(50);
  }
  return said;
}

t.test('the proxy is ready once its worker has the model loaded, and while a fallback can answer', async (test) => {
  const folder = folderOf(test);
  const worker = new ScriptedWorker(folder, 'worker');
  const spare = new ScriptedWorker(folder, 'spare');
  test.teardown(() => {
    worker.stop();
    spare.stop();
  });
  const proxy = await ProxyProgram.start(test, {
    ready: false,
    env: {
      UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: worker.address,
      UNDERSTUDY_OUTBOUND_FALLBACK_WORKER_ADDRESS: spare.address,
      UNDERSTUDY_MODEL_RISK_PRIMARY: 'risk@3',
      UNDERSTUDY_MODEL_RISK_FALLBACK: 'risk-lite',
    },
  });
  test.match(await readyz(proxy, /accepts/), /^503 .*no endpoint of risk@3 accepts connections/s);
  await spare.start();
  spare.states.set('risk-lite@', AVAILABLE);
  await worker.start();
  test.match(await readyz(proxy, /is not in/), /^503 .*risk@3 is not in the worker/s, 'a fallback alone is no start');
  worker.states.set('risk@3', LOADING);
  test.match(await readyz(proxy, /not loaded/), /^503 .*risk@3 is not loaded yet in the worker/s);
  worker.states.set('risk@3', AVAILABLE);
  test.match(await readyz(proxy, /^200/), /^200/);
  worker.stop();
  await delay(600);
  test.match(await readyz(proxy, /^200/), /^200/, 'calls are still answered, by the fallback');
  spare.states.set('risk-lite@', LOADING);
  test.match(await readyz(proxy, /^503/), /^503 .*no endpoint of risk@3 accepts/s);
});

t.test('the metrics address answers metrics and probes and nothing else', async (test) => {
  const proxy = await ProxyProgram.start(test, { env: { UNDERSTUDY_METRICS_LISTEN: '127.0.0.1:0' } });
  await proxy.until(() => proxy.logged('listening').some(({ role }) => role === 'metrics'), 'its metrics address');
  const { address } = proxy.logged('listening').find(({ role }) => role === 'metrics')!;
  const ask = async (method: string, path: string) => {
    const response = await fetch(`http://${address}${path}`, { method });
    return { status: response.status, text: await response.text() };
  };
  test.match(await ask('GET', '/metrics'), { status: 200, text: /^understudy_downstream_connections_total \d/m });
  test.match(await ask('GET', '/readyz'), { status: 200 });
  test.match(await ask('GET', '/livez'), { status: 200, text: 'ok' });
  for (const path of ['/config', '/models', '/breaker?cluster=x&action=open'])
    for (const method of ['GET', 'POST']) test.match(await ask(method, path), { status: 404 }, `${method} ${path}`);
  test.equal((await ask('POST', '/metrics')).status, 405);
  const index = await ask('GET', '/');
  test.notMatch(index.text, /config|breaker|models/);
});

t.test('an opaque connection that carries nothing is cut after its time and counted, another is not', async (test) => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (bytes) => socket.write(bytes));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  const proxy = await ProxyProgram.start(test, {
    env: {
      UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: `127.0.0.1:${port}`,
      UNDERSTUDY_OUTBOUND_DETECT_TIMEOUT: '50ms',
      UNDERSTUDY_OUTBOUND_OPAQUE_IDLE_TIMEOUT: '600ms',
    },
  });
  const [host, proxyPort] = proxy.address.split(':');
  const dial = () => {
    const socket = connect({ host: host!, port: Number(proxyPort) });
    socket.on('error', () => {});
    test.teardown(() => socket.destroy());
    return socket;
  };
  const silent = dial();
  const busy = dial();
  const chatter = setInterval(() => busy.write('x'), 50);
  test.teardown(() => clearInterval(chatter));
  let echoed = 0;
  busy.on('data', (bytes) => (echoed += bytes.length));
  const beganMs = performance.now();
  await closed(silent);
  test.ok(performance.now() - beganMs >= 550, 'not before its time');
  const before = echoed;
  while (echoed < before + 3) await once(busy, 'data');
  test.notOk(busy.destroyed, 'the one that carries bytes goes on');
  test.ok(await shows(proxy, 'understudy_opaque_connections_cut_total{reason="idle"} 1\n'));
  test.ok(await shows(proxy, 'understudy_opaque_open_connections 1\n'));

  server.close();
  for (const socket of sockets) socket.destroy();
  await closed(busy);
  const refused = dial();
  refused.write('not http');
  await closed(refused);
  test.ok(await shows(proxy, 'understudy_opaque_connections_cut_total{reason="connect_failed"} 1\n'));
});
