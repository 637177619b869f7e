/**
 * The fault matrix, as far as a server's answers go: every fault in every protocol, with a fallback and without. With one,
 * no call fails; without, the caller is told what happened in the words of its protocol.
 */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { CostTable, isRest, MatrixCaller, PROTOCOLS, type Protocol } from '../support/fault-matrix.ts';
import { grpcAnswers, isStream, restAnswers, unaryAnswer } from '../support/matrix-servers.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { type RestScript, RestUpstream } from '../support/rest-upstream.ts';
import { ScriptedUpstream, type UpstreamCall } from '../support/scripted-upstream.ts';

const REQUEST_TIMEOUT_MS = 1000;
const SLOW_MS = 2 * REQUEST_TIMEOUT_MS;

// ---- faults

interface Fault {
  readonly name: string;
  readonly grpc: (call: UpstreamCall) => void | Promise<void>;
  readonly rest: RestScript;
  /** Name of the models that have it; those of scripts unless said otherwise. */
  readonly models?: string;
  /** Without a fallback: gRPC status, status in a stream, HTTP status, text. */
  readonly error: readonly [number, number, number, string];
}

const ENDED = 'the upstream ended the request';
const LATE = 'the deadline passed while the upstream held the request';
const INVALID = 'the upstream answered with invalid outputs';
const faults: readonly Fault[] = [
  {
    name: 'connection refused',
    models: 'refused',
    grpc: grpcAnswers(0),
    rest: restAnswers(0),
    error: [14, 14, 503, 'the upstream cannot be connected to'],
  },
  {
    name: 'reset mid-response',
    grpc: (call) => call.answerHalf(),
    rest: (call, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('{"outputs":[');
      setTimeout(() => call.socket.destroy(), 20);
    },
    error: [14, 14, 502, ENDED],
  },
  {
    name: 'slow answer',
    grpc: async (call) => {
      if (isStream(call)) return grpcAnswers(0, () => delay(SLOW_MS))(call);
      await delay(SLOW_MS);
      return grpcAnswers(0)(call);
    },
    rest: (call, response) => void setTimeout(() => restAnswers(0)(call, response), SLOW_MS),
    error: [4, 2, 504, LATE],
  },
  {
    name: 'error status in trailers',
    grpc: async (call) => {
      const { stream } = call;
      if (!isStream(call)) {
        const body = await call.body;
        call.answer(unaryAnswer(call, body, 0, {}), { 'grpc-status': '13', 'grpc-message': 'says the script' });
        return;
      }
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '13', 'grpc-message': 'says the script' }));
      stream.end();
    },
    rest: (_call, response) => {
      response.writeHead(500, { 'content-type': 'application/json' });
      response.end('{"error":"says the script"}');
    },
    error: [13, 13, 500, 'says the script'],
  },
  {
    name: 'NaN outputs',
    grpc: grpcAnswers(Number.NaN),
    rest: restAnswers(Number.NaN),
    error: [13, 2, 502, INVALID],
  },
  {
    name: 'outputs out of range',
    grpc: grpcAnswers(1000),
    rest: restAnswers(1000),
    error: [13, 2, 502, INVALID],
  },
  {
    name: 'outputs of another shape',
    grpc: grpcAnswers(0, undefined, { dims: [1, 1] }),
    rest: restAnswers(0, { dims: [1, 1] }),
    error: [13, 2, 502, INVALID],
  },
  {
    name: 'outputs of another type',
    grpc: grpcAnswers(0, undefined, { double: true }),
    rest: restAnswers(0, { double: true }),
    error: [13, 2, 502, INVALID],
  },
];

const grpcPrimary = await ScriptedUpstream.start(t, 'primary', { script: grpcAnswers(0) });
const grpcLite = await ScriptedUpstream.start(t, 'lite', { script: grpcAnswers(0.5) });
const restPrimary = await RestUpstream.start(t, restAnswers(0));
const restLite = await RestUpstream.start(t, restAnswers(0.5));

function cluster(name: string, address: string) {
  const timeouts = { request: `${REQUEST_TIMEOUT_MS}ms` };
  return { name, model: name, endpoints: [address], timeouts, breaker: { enabled: false } };
}

/** A model with a fallback and the same without. */
function pair(name: string, primary: string, fallback: string) {
  const outputs = [{ name: 'y', dtype: 'FP32', shape: [1], min: 0, max: 100, required: true }];
  const common = { split: [{ cluster: primary }], outputs };
  return [
    { name, ...common, fallback: [{ cluster: fallback }], primaryBudget: '30%' },
    { name: `${name}-alone`, ...common },
  ];
}

const proxy = await ProxyProgram.start(t, {
  ready: false,
  document: {
    clusters: [
      cluster('grpc', grpcPrimary.address),
      cluster('rest', restPrimary.address),
      cluster('nobody', '127.0.0.1:1'),
      cluster('grpc-lite', grpcLite.address),
      cluster('rest-lite', restLite.address),
    ],
    models: [
      ...pair('script-grpc', 'grpc', 'grpc-lite'),
      ...pair('script-rest', 'rest', 'rest-lite'),
      ...pair('refused-grpc', 'nobody', 'grpc-lite'),
      ...pair('refused-rest', 'nobody', 'rest-lite'),
    ],
  },
});
const caller = new MatrixCaller(t, proxy.address);
const table = new CostTable();
const model = (kind: string, protocol: Protocol): string => `${kind}-${isRest(protocol) ? 'rest' : 'grpc'}`;

t.test('undisturbed, the primary answers in every protocol', async (test) => {
  await table.measure(caller, (protocol) => model('script', protocol));
  for (const protocol of PROTOCOLS) {
    for (const name of [model('script', protocol), `${model('script', protocol)}-alone`]) {
      test.equal((await caller.ask(protocol, name, 7n)).value, 7, `${protocol} ${name}`);
    }
  }
});

for (const { name, grpc, rest, models = 'script', error } of faults) {
  t.test(`${name}: with a fallback nobody notices, without one everybody is told`, async (test) => {
    grpcPrimary.script = grpc;
    restPrimary.script = rest;
    const [grpcStatus, streamStatus, httpStatus, text] = error;
    await Promise.all(
      PROTOCOLS.map(async (protocol) => {
        const [replaced, alone] = await Promise.all([
          caller.ask(protocol, model(models, protocol), 7n),
          caller.ask(protocol, `${model(models, protocol)}-alone`, 7n),
        ]);
        test.match(replaced, { value: 7.5, text: '' }, `${protocol} with a fallback`);
        table.add(name, protocol, replaced.tookMs);
        const status = isRest(protocol) ? httpStatus : protocol === 'OIP stream' ? streamStatus : grpcStatus;
        test.match(alone, { value: Number.NaN, status, text }, `${protocol} alone`);
      }),
    );
    grpcPrimary.script = grpcAnswers(0);
    restPrimary.script = restAnswers(0);
  });
}

t.test('afterwards the primary answers again, and nothing is left in flight', async (test) => {
  for (const protocol of PROTOCOLS) {
    test.equal((await caller.ask(protocol, model('script', protocol), 7n)).value, 7, protocol);
  }
  const idle = (name: string) => proxy.metricsOnce((metrics) => metrics.sum(name) === 0);
  for (const name of ['understudy_cluster_in_flight_requests', 'understudy_replay_held_bytes']) {
    test.equal((await idle(name)).sum(name), 0, name);
  }
  test.comment(`\n${table}`);
});
