/** A stream's messages are hedged each by itself: answers keep their order, and whatever upstreams do, streams end. */
import t from 'tap';
import { accountedFor, openHedgeLab } from '../support/hedge-lab.ts';
import { InferStream, streamServedBy, streams } from '../support/infer-stream.ts';
import { until } from '../support/patience.ts';
import { hangs, type Script } from '../support/scripted-upstream.ts';

const { proxy, primary, lite, spare, eventsOf } = await openHedgeLab(t);

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
    await until(() => primary.calls.at(-1)!.resetCode === 8, 'nothing else waits there: the primary is told');
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
    await until(() => lite.calls.at(-1)!.resetCode === 8, 'the hedge is told');
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
          setTimeout(failed.resolve, 150);
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

/**
 * Scenario: a message's hedge fails for want of device memory, then its primary answers well. Mechanism: the message, not
 * the attempt, kept that the device was full. Consequence: the primary's answer counted as out of memory, and a few such
 * hedges degraded a primary that was well.
 */
t.test("a hedge out of device memory is not held against the message's primary", async (test) => {
  const failed = Promise.withResolvers<void>();
  primary.script = answersMessages('primary', () => failed.promise);
  lite.script = streams('none', (one) => {
    one.error('full', { grpc_status: '8', 'x-understudy-reason': 'device_out_of_memory' });
    setTimeout(failed.resolve, 150);
  });
  const stream = new InferStream(test, proxy.address);
  stream.send('roomy', 'a');
  test.equal(streamServedBy(await stream.until(1)), 'primary');
  await stream.finish();
  const end = performance.now() + 5000;
  let recent = { answers: 0, outOfMemoryInARow: 0 };
  while (recent.answers + recent.outOfMemoryInARow === 0 && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 150));
    recent = (await proxy.json('/degradation')).find(({ model }: { model: string }) => model === 'roomy').recent;
  }
  test.match(recent, { answers: 1, outOfMemoryInARow: 0 });
});

t.test('when both fail a message is answered with what the primary said', async (test) => {
  const opened = Promise.withResolvers<void>();
  primary.script = streams('none', (one) => {
    void opened.promise.then(() => one.error('says the primary'));
  });
  lite.script = (call) => {
    setTimeout(opened.resolve, 150);
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
    await until(() => lite.count > before, 'a hedge is under way');
    stream.call.cancel();
    await until(() => primary.calls.at(-1)!.resetCode === 8, 'the primary is cancelled');
    await until(() => lite.calls.at(-1)!.resetCode === 8, 'the hedge is cancelled');
  });
  test.equal(seen['started'], seen['cancelled']);
  test.ok(seen['started']! >= 1);
});

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
  await accountedFor(test, proxy, 21);
});
