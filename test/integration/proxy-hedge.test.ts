/**
 * Hedging against real upstreams that do as they are told: a slow primary's request is sent elsewhere as well, the first
 * good answer is the caller's, and the other upstream sees its call cancelled.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { request } from 'undici';
import { GrpcCaller, predictRequest, servedBy } from '../support/grpc-caller.ts';
import { InferStream, streamServedBy, streams } from '../support/infer-stream.ts';
import { encodeMessage } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { RestUpstream, restAnswers, restFails } from '../support/rest-upstream.ts';
import {
  answers,
  framed,
  hangs,
  predictResponse,
  type Script,
  ScriptedUpstream,
} from '../support/scripted-upstream.ts';

const primary = await ScriptedUpstream.start(t, 'primary');
const twin = await ScriptedUpstream.start(t, 'twin');
const lite = await ScriptedUpstream.start(t, 'lite');
const spare = await ScriptedUpstream.start(t, 'spare');
const restPrimary = await RestUpstream.start(t, () => {});
const restLite = await RestUpstream.start(t, restAnswers('lite'));

const logFile = join(mkdtempSync(join(tmpdir(), 'understudy-hedge-')), 'access.log');
t.teardown(() => rmSync(dirname(logFile), { recursive: true, force: true }));

const off = { breaker: { enabled: false }, retries: { attempts: 0 } };
const hedge = { after: '40ms', budget: '100%', budgetFloor: 1000 };
const to = (name: string, upstream: { address: string }) => ({ model: `${name} via ${upstream.address}` });
const breaker = { breaker: { enabled: false } };
const proxy = await ProxyProgram.start(t, {
  ready: false,
  env: {
    UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: primary.address,
    UNDERSTUDY_ACCESS_LOG: 'json',
    UNDERSTUDY_ACCESS_LOG_FILE: logFile,
  },
  document: {
    clusters: [
      { name: 'pair@1', model: 'pair', version: '1', endpoints: [primary.address, twin.address], ...off },
      { name: 'judged@1', model: 'judged', version: '1', endpoints: [primary.address] },
      { name: 'lite@7', model: 'lite', version: '7', endpoints: [lite.address], ...off },
      { name: 'spare@3', model: 'spare', version: '3', endpoints: [spare.address], ...off },
    ],
    models: [
      { name: 'm', split: [to('m@1', primary)], fallback: [{ cluster: 'lite@7' }], hedge, ...breaker },
      {
        name: 'calm',
        split: [to('calm@1', primary)],
        fallback: [{ cluster: 'lite@7' }],
        hedge: { after: '30s' },
        ...breaker,
      },
      {
        name: 'two',
        split: [to('two@1', primary)],
        fallback: [{ cluster: 'spare@3' }, { cluster: 'lite@7' }],
        hedge,
        ...breaker,
      },
      { name: 'pair', split: [{ cluster: 'pair@1' }], hedge: { ...hedge, to: 'endpoint' } },
      {
        name: 'thrifty',
        split: [to('thrifty@1', primary)],
        fallback: [{ cluster: 'lite@7' }],
        hedge: { after: '40ms', budget: '0%', budgetFloor: 0 },
        ...breaker,
      },
      {
        name: 'checked',
        split: [to('checked@1', primary)],
        fallback: [{ cluster: 'lite@7' }],
        hedge,
        checkOutputs: true,
        ...breaker,
      },
      { name: 'judged', split: [{ cluster: 'judged@1' }], fallback: [{ cluster: 'lite@7' }], hedge },
      { name: 'rest', split: [to('rest@1', restPrimary)], fallback: [to('restlite@7', restLite)], hedge, ...breaker },
    ],
  },
});
const caller = GrpcCaller.to(t, proxy.address);

function reset(): void {
  primary.script = answers('primary');
  twin.script = answers('twin');
  lite.script = answers('lite');
  spare.script = answers('spare');
}

/** Answers once `gate` opens. */
function answersWhen(name: string, gate: Promise<unknown>): Script {
  return async (call) => {
    const body = await call.body;
    await gate;
    if (call.ended && call.resetCode === null) call.answer(predictResponse(name, body));
  };
}

async function until(test: Test, condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > end) return void test.fail(what);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  test.pass(what);
}

async function events(model: string): Promise<Record<string, number>> {
  const metrics = await proxy.metrics();
  const names = ['started', 'won', 'lost', 'failed', 'cancelled', 'over_budget', 'refused'];
  return Object.fromEntries(
    names.map((event) => [event, metrics.sum('understudy_cluster_hedges_total', { cluster: `${model}@1`, event })]),
  );
}

/** How often each event came during `run`. */
async function eventsOf(model: string, run: () => Promise<void>): Promise<Record<string, number>> {
  const before = await events(model);
  await run();
  const after = await events(model);
  return Object.fromEntries(
    Object.entries(after).flatMap(([key, n]) => (n === before[key] ? [] : [[key, n - before[key]!]])),
  );
}

t.beforeEach(reset);

t.test(
  'a slow primary is hedged: the fallback answers, says why, and the primary sees its call cancelled',
  async (test) => {
    primary.script = hangs;
    const seen = await eventsOf('m', async () => {
      const answer = await caller.predict('m');
      test.equal(answer.status, 0, answer.message);
      test.equal(servedBy(answer), 'lite');
      test.match(answer.served, { 'served-by': 'lite@7', 'model-version': '7', reason: 'hedge' });
      const asked = primary.calls.at(-1)!;
      await until(test, () => asked.resetCode !== null, 'the primary is told');
      test.equal(asked.resetCode, 8, 'CANCEL');
    });
    test.same(seen, { started: 1, won: 1 });
    const last = () => readFileSync(logFile, 'utf8').trimEnd().split('\n').at(-1)!;
    await until(test, () => last().includes('"hedged":true'), 'it is logged');
    test.match(JSON.parse(last()), { model: 'm', flags: 'HG', hedged: true, cluster: 'lite@7', primary: false });
  },
);

t.test('a primary that answers within its time is not hedged', async (test) => {
  const before = lite.count;
  const seen = await eventsOf('calm', async () => {
    for (let i = 0; i < 20; i++) test.equal(servedBy(await caller.predict('calm')), 'primary');
  });
  test.same(seen, {});
  test.equal(lite.count, before);
});

t.test('a primary that answers first after all is the answer, and the hedge sees its call cancelled', async (test) => {
  const opened = Promise.withResolvers<void>();
  primary.script = answersWhen('primary', opened.promise);
  lite.script = (call) => {
    hangs(call);
    opened.resolve();
  };
  const seen = await eventsOf('m', async () => {
    const answer = await caller.predict('m');
    test.equal(servedBy(answer), 'primary');
    test.notOk('reason' in answer.served);
    await until(test, () => lite.calls.at(-1)!.resetCode === 8, 'the hedge is cancelled');
  });
  test.same(seen, { started: 1, lost: 1 });
});

t.test('a hedge that fails leaves the primary to answer', async (test) => {
  for (const fails of [
    ((call) => call.failInHead(14, 'hedge')) as Script,
    ((call) => call.failInTrailers(3, 'hedge')) as Script,
    ((call) => call.reset()) as Script,
  ]) {
    const opened = Promise.withResolvers<void>();
    primary.script = answersWhen('primary', opened.promise);
    lite.script = (call) => {
      fails(call);
      setTimeout(opened.resolve, 20);
    };
    const seen = await eventsOf('m', async () => {
      test.equal(servedBy(await caller.predict('m')), 'primary');
    });
    test.same(seen, { started: 1, failed: 1 });
  }
});

t.test('a hedge with outputs that cannot be believed leaves the primary to answer', async (test) => {
  const opened = Promise.withResolvers<void>();
  primary.script = answersWhen('primary', opened.promise);
  lite.script = async (call) => {
    call.answer(predictResponse('lite', await call.body, [Number.NaN, 1]));
    setTimeout(opened.resolve, 20);
  };
  const seen = await eventsOf('checked', async () => {
    test.equal(servedBy(await caller.predict('checked')), 'primary');
  });
  test.same(seen, { started: 1, failed: 1 });
});

t.test('a primary that fails leaves the hedge to answer', async (test) => {
  const opened = Promise.withResolvers<void>();
  const failed = Promise.withResolvers<void>();
  primary.script = async (call) => {
    await opened.promise;
    call.failInHead(14, 'down');
    setTimeout(failed.resolve, 20);
  };
  lite.script = (call) => {
    opened.resolve();
    return answersWhen('lite', failed.promise)(call);
  };
  const seen = await eventsOf('m', async () => {
    const answer = await caller.predict('m');
    test.equal(servedBy(answer), 'lite');
    test.match(answer.served, { reason: 'hedge' });
  });
  test.same(seen, { started: 1, won: 1 });
});

t.test('when both fail the caller gets what the primary said, whichever came first', async (test) => {
  for (const primaryFirst of [true, false]) {
    const opened = Promise.withResolvers<void>();
    const first = Promise.withResolvers<void>();
    const fail =
      (isFirst: boolean, status: number, text: string): Script =>
      async (call) => {
        await (isFirst ? opened.promise : first.promise);
        call.failInHead(status, text);
        if (isFirst) setTimeout(first.resolve, 20);
      };
    primary.script = fail(primaryFirst, 14, 'says the primary');
    lite.script = (call) => {
      opened.resolve();
      return fail(!primaryFirst, 13, 'says the hedge')(call);
    };
    const seen = await eventsOf('m', async () => {
      test.match(await caller.predict('m'), { status: 14, message: 'says the primary' });
    });
    test.same(seen, { started: 1, failed: 1 });
  }
});

t.test('when primary and hedge fail the next fallback answers for what the primary did', async (test) => {
  const opened = Promise.withResolvers<void>();
  const failed = Promise.withResolvers<void>();
  primary.script = async (call) => {
    await opened.promise;
    call.failInHead(14, 'down');
    setTimeout(failed.resolve, 20);
  };
  spare.script = async (call) => {
    opened.resolve();
    await failed.promise;
    call.reset();
  };
  const answer = await caller.predict('two');
  test.equal(servedBy(answer), 'lite');
  test.match(answer.served, { 'served-by': 'lite@7', reason: 'status' });
});

t.test('a hedge has its own share of the deadline', async (test) => {
  primary.script = hangs;
  spare.script = hangs;
  const answer = await caller.predict('two', { 'grpc-timeout': '1000m' });
  test.equal(servedBy(answer), 'lite', 'the second fallback, within the deadline');
  test.match(answer.served, { reason: 'deadline_budget' });
  test.ok(answer.tookMs < 1000, `${answer.tookMs} ms`);
});

t.test('when nobody answers the deadline ends all of it', async (test) => {
  primary.script = hangs;
  lite.script = hangs;
  const seen = await eventsOf('m', async () => {
    test.equal((await caller.predict('m', { 'grpc-timeout': '300m' })).status, 4);
    await until(test, () => primary.calls.at(-1)!.resetCode === 8, 'the primary is cancelled');
    await until(test, () => lite.calls.at(-1)!.resetCode === 8, 'the hedge is cancelled');
  });
  test.same(seen, { started: 1, failed: 1 });
});

t.test('a caller that leaves cancels both', async (test) => {
  primary.script = hangs;
  lite.script = hangs;
  const before = lite.count;
  const seen = await eventsOf('m', async () => {
    const stream = caller.open();
    stream.on('error', () => {});
    stream.end(predictRequest('m'));
    await until(test, () => lite.count > before, 'the hedge is under way');
    stream.close(8);
    await until(test, () => primary.calls.at(-1)!.resetCode === 8, 'the primary is cancelled');
    await until(test, () => lite.calls.at(-1)!.resetCode === 8, 'the hedge is cancelled');
  });
  test.same(seen, { started: 1, cancelled: 1 });
});

t.test('another endpoint of the same cluster is asked where that is wanted', async (test) => {
  const scripts = [primary, twin];
  for (let i = 0; i < 4; i++) {
    // Whichever is asked first hangs, the other one answers.
    let first = true;
    for (const upstream of scripts) {
      upstream.script = (call) => {
        if (!first) return answers(upstream.name)(call);
        first = false;
      };
    }
    const before = [primary.count, twin.count];
    const answer = await caller.predict('pair');
    test.equal(answer.status, 0, answer.message);
    test.match(answer.served, { 'served-by': 'pair@1', reason: 'hedge' });
    test.same([primary.count - before[0]!, twin.count - before[1]!], [1, 1]);
  }
});

t.test('the log says that an endpoint hedge does not reach streams', async (test) => {
  test.same(
    proxy.logged('hedge_not_for_streams').map(({ model }) => model),
    ['pair'],
  );
});

t.test('hedges above the budget are not sent, and counted', async (test) => {
  const opened = Promise.withResolvers<void>();
  primary.script = answersWhen('primary', opened.promise);
  const before = lite.count;
  const seen = await eventsOf('thrifty', async () => {
    const answer = caller.predict('thrifty');
    const end = performance.now() + 5000;
    while ((await events('thrifty'))['over_budget'] === 0 && performance.now() < end);
    opened.resolve();
    test.equal(servedBy(await answer), 'primary');
  });
  test.same(seen, { over_budget: 1 });
  test.equal(lite.count, before);
});

t.test('cancelled losers count against nobody', async (test) => {
  primary.script = hangs;
  for (let i = 0; i < 12; i++) test.equal(servedBy(await caller.predict('judged')), 'lite');
  const metrics = await proxy.metrics();
  const outcomes = (outcome: string) =>
    metrics.sum('understudy_cluster_requests_total', { cluster: 'judged@1', outcome });
  test.equal(outcomes('cancelled'), 12);
  for (const outcome of ['upstream_reset', 'deadline', 'upstream_error', 'connect_failed'])
    test.equal(outcomes(outcome), 0);
  test.equal(metrics.sum('understudy_breaker_events_total', { cluster: 'judged@1' }), 0, 'its breaker saw nothing');
});

t.test('ModelInfer is hedged', async (test) => {
  primary.script = hangs;
  lite.script = async (call) => {
    await call.body;
    call.answer(encodeMessage('inference.ModelInferResponse', { model_name: 'lite', id: 'q' }));
  };
  const asked = framed(encodeMessage('inference.ModelInferRequest', { model_name: 'm', id: 'q' }));
  const answer = await caller.call(asked, { ':path': '/inference.GRPCInferenceService/ModelInfer' });
  test.match(answer, { status: 0, served: { 'served-by': 'lite@7', reason: 'hedge' } });
});

/** Upstreams that answer messages of streams as `when` lets them, by id. */
function answersMessages(name: string, when: (id: string) => Promise<unknown> | null): Script {
  return streams(name, (one) => {
    const gate = when(one.request.id);
    if (gate !== null) void gate.then(() => one.answer([0.5]));
  });
}

t.test('a slow message of a stream is hedged by itself, and answers keep their order', async (test) => {
  primary.script = answersMessages('primary', (id) => (id === 'b' ? null : Promise.resolve()));
  lite.script = streams('lite');
  const seen = await eventsOf('m', async () => {
    const stream = new InferStream(test, proxy.address);
    for (const id of ['a', 'b', 'c']) stream.send('m', id);
    await stream.until(3);
    test.same(stream.answers.map(streamServedBy), ['primary', 'lite', 'primary']);
    test.same(
      stream.answers.map(({ infer_response }) => infer_response.id),
      ['a', 'b', 'c'],
    );
    const { parameters } = stream.answers[1]!.infer_response;
    test.equal(parameters['x-understudy-reason'].string_param, 'hedge');
    test.equal(parameters['x-understudy-served-by'].string_param, 'lite@7');
    await until(test, () => primary.calls.at(-1)!.resetCode === 8, 'nothing else waits there: the primary is told');
    stream.send('m', 'd');
    await stream.until(4);
    test.equal(streamServedBy(stream.answers[3]!), 'primary', 'the next message asks it again');
    test.equal((await stream.finish()).status, 0);
  });
  // On a busy machine a quick answer may be hedged too, and win.
  test.equal(seen['won'], 1);
});

t.test('a message whose primary answers first after all cancels its hedge', async (test) => {
  const opened = Promise.withResolvers<void>();
  primary.script = answersMessages('primary', () => opened.promise);
  lite.script = streams('lite', () => opened.resolve());
  const seen = await eventsOf('m', async () => {
    const stream = new InferStream(test, proxy.address);
    stream.send('m', 'a');
    test.equal(streamServedBy(await stream.until(1)), 'primary');
    await until(test, () => lite.calls.at(-1)!.resetCode === 8, 'the hedge is told');
    await stream.finish();
  });
  test.same(seen, { started: 1, lost: 1 });
});

t.test('a message whose hedge fails is answered by its primary, and the other way round', async (test) => {
  for (const hedgeFails of [true, false]) {
    const opened = Promise.withResolvers<void>();
    const failed = Promise.withResolvers<void>();
    const fails: Script = (call) => {
      const one = streams('none', (asked) => {
        void opened.promise.then(() => {
          asked.error('no', { grpc_status: '14' });
          setTimeout(failed.resolve, 20);
        });
      });
      void one(call);
    };
    primary.script = hedgeFails ? answersMessages('primary', () => failed.promise) : fails;
    const other = hedgeFails ? fails : answersMessages('lite', () => failed.promise);
    lite.script = (call) => {
      opened.resolve();
      return other(call);
    };
    const seen = await eventsOf('m', async () => {
      const stream = new InferStream(test, proxy.address);
      stream.send('m', 'a');
      const answer = await stream.until(1);
      test.equal(streamServedBy(answer), hedgeFails ? 'primary' : 'lite');
      test.equal((await stream.finish()).status, 0);
    });
    test.same(seen, hedgeFails ? { started: 1, failed: 1 } : { started: 1, won: 1 });
  }
});

t.test('when both fail a message is answered with what the primary said', async (test) => {
  const opened = Promise.withResolvers<void>();
  primary.script = streams('none', (one) => {
    void opened.promise.then(() => one.error('says the primary'));
  });
  lite.script = (call) => {
    setTimeout(opened.resolve, 20);
    call.reset();
  };
  const seen = await eventsOf('m', async () => {
    const stream = new InferStream(test, proxy.address);
    stream.send('m', 'a');
    test.equal((await stream.until(1)).error_message, 'says the primary');
    await stream.finish();
  });
  test.same(seen, { started: 1, failed: 1 });
});

t.test('a stream whose caller leaves takes its hedges along', async (test) => {
  primary.script = hangs;
  lite.script = hangs;
  const before = lite.count;
  const seen = await eventsOf('m', async () => {
    const stream = new InferStream(test, proxy.address);
    for (const id of ['a', 'b']) stream.send('m', id);
    await until(test, () => lite.count > before, 'a hedge is under way');
    stream.call.cancel();
    await until(test, () => primary.calls.at(-1)!.resetCode === 8, 'the primary is cancelled');
    await until(test, () => lite.calls.at(-1)!.resetCode === 8, 'the hedge is cancelled');
  });
  test.equal(seen['started'], seen['cancelled']);
  test.ok(seen['started']! >= 1);
});

for (const [api, path, body] of [
  ['TFS REST', '/v1/models/rest:predict', '{"instances":[[1]]}'],
  ['OIP REST', '/v2/models/rest/infer', '{"inputs":[{"name":"n","datatype":"FP32","shape":[1],"data":[1]}]}'],
] as const) {
  t.test(`${api} is hedged, and the loser's connection closed`, async (test) => {
    restPrimary.script = () => {};
    restLite.script = restAnswers('lite');
    const post = () => request(`http://${proxy.address}${path}`, { method: 'POST', body });
    const seen = await eventsOf('rest', async () => {
      const answer = await post();
      test.equal(answer.statusCode, 200);
      test.equal(answer.headers['x-understudy-reason'], 'hedge');
      test.equal(answer.headers['x-server'], 'lite');
      await answer.body.dump();
      const { socket } = restPrimary.calls.at(-1)!;
      await until(test, () => socket.destroyed, 'the primary sees its connection closed');
    });
    test.same(seen, { started: 1, won: 1 });
    const opened = Promise.withResolvers<void>();
    restPrimary.script = (call, response) => void opened.promise.then(() => restAnswers('primary')(call, response));
    restLite.script = (call, response) => {
      restFails(503, 'no')(call, response);
      setTimeout(opened.resolve, 20);
    };
    const answer = await post();
    test.equal(answer.headers['x-server'], 'primary');
    await answer.body.dump();
  });
}

t.test('whatever both upstreams do to streams, each ends and nothing is counted twice', async (test) => {
  let state = 7;
  const random = (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state % below;
  };
  const anything = (name: string): Script =>
    streams(name, (one) => {
      const what = random(10);
      const after = random(120);
      setTimeout(() => {
        if (what < 5) one.answer([0.5]);
        else if (what < 6) one.answer([Number.NaN]);
        else if (what < 7) one.error('no', { grpc_status: '14' });
        else if (what < 8) one.error('no');
        else if (what < 9) one.call.reset();
      }, after);
    });
  const scripts = [primary, lite, spare].map(({ name }) => anything(name));
  [primary.script, lite.script, spare.script] = scripts as [Script, Script, Script];
  const ends = await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      const stream = new InferStream(test, proxy.address, { deadlineMs: 1500 });
      const model = ['m', 'two', 'checked'][i % 3]!;
      for (let k = 0; k < 4; k++) stream.send(model, `${k}`);
      if (i % 10 === 9) setTimeout(() => stream.call.cancel(), 100);
      return (await stream.finish()).status;
    }),
  );
  const statuses = [...new Set(ends)].sort((a, b) => a - b);
  test.ok(
    statuses.every((status) => [0, 1, 4, 14].includes(status)),
    `${statuses}`,
  );
});

t.test('nothing stays in flight, and every hedge that was started is accounted for', async (test) => {
  const metrics = await proxy.metricsOnce((reading) => reading.sum('understudy_cluster_in_flight_requests') === 0);
  test.equal(metrics.sum('understudy_cluster_in_flight_requests'), 0);
  test.equal(metrics.sum('understudy_replay_held_bytes'), 0);
  test.equal(metrics.sum('understudy_downstream_open_streams'), 0);
  const count = (event: string) => metrics.sum('understudy_cluster_hedges_total', { event });
  test.ok(count('started') > 20);
  test.equal(count('started'), count('won') + count('lost') + count('failed') + count('cancelled'));
  test.equal(metrics.sum('understudy_cluster_answers_total', { reason: 'hedge' }), count('won'));
});
