/**
 * Hedging against real upstreams that do as they are told, in each protocol: a slow primary's request is sent elsewhere
 * as well, the first good answer is the caller's, and the other upstream sees its call cancelled.
 */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { request } from 'undici';
import { servedBy } from '../support/grpc-caller.ts';
import { accountedFor, answersWhen, openHedgeLab } from '../support/hedge-lab.ts';
import { until } from '../support/patience.ts';
import { encodeMessage } from '../support/proto-codecs.ts';
import { restAnswers, restFails } from '../support/rest-upstream.ts';
import { framed, hangs, predictResponse, type Script } from '../support/scripted-upstream.ts';

const { proxy, caller, primary, lite, spare, restPrimary, restLite, logFile, eventsOf } = await openHedgeLab(t);

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
      await until(() => asked.resetCode !== null, 'the primary is told');
      test.equal(asked.resetCode, 8, 'CANCEL');
    });
    test.same(seen, { started: 1, won: 1 });
    const last = () => readFileSync(logFile, 'utf8').trimEnd().split('\n').at(-1)!;
    await until(() => last().includes('"hedged":true'), 'it is logged');
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
    await until(() => lite.calls.at(-1)!.resetCode === 8, 'the hedge is cancelled');
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
      setTimeout(opened.resolve, 150);
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
    setTimeout(opened.resolve, 150);
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
    setTimeout(failed.resolve, 150);
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
        if (isFirst) setTimeout(first.resolve, 150);
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
    setTimeout(failed.resolve, 150);
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
      await until(() => socket.destroyed, 'the primary sees its connection closed');
    });
    test.same(seen, { started: 1, won: 1 });
    const opened = Promise.withResolvers<void>();
    restPrimary.script = (call, response) => void opened.promise.then(() => restAnswers('primary')(call, response));
    restLite.script = (call, response) => {
      restFails(503, 'no')(call, response);
      setTimeout(opened.resolve, 150);
    };
    const answer = await post();
    test.equal(answer.headers['x-server'], 'primary');
    await answer.body.dump();
  });
}

t.test('nothing stays in flight, and every hedge that was started is accounted for', async (test) => {
  await accountedFor(test, proxy, 15);
});
