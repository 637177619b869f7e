/**
 * ModelStreamInfer through the proxy: routed by its first message, every message a call of its own with the model's
 * policies, and answered by the fallback when the primary cannot.
 */
import t from 'tap';
import { InferStream, inferRequest, inferResponse, streamServedBy, streams } from '../support/infer-stream.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { hangs, type Script, ScriptedUpstream } from '../support/scripted-upstream.ts';

const primary = await ScriptedUpstream.start(t, 'primary', { script: streams('primary') });
const fallback = await ScriptedUpstream.start(t, 'lite', { script: streams('lite') });
const spare = await ScriptedUpstream.start(t, 'other', { script: streams('other') });
const off = { breaker: { enabled: false } };
const lite = [{ cluster: 'lite@7' }];
const clusters = [{ name: 'lite@7', model: 'lite', version: '7', endpoints: [fallback.address] }];
const proxy = await ProxyProgram.start(t, {
  ready: false,
  env: { UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: primary.address },
  document: {
    clusters,
    models: [
      { name: 'm', split: [{ model: `m@3 via ${primary.address}` }], fallback: lite, checkOutputs: true, ...off },
      { name: 'alone', split: [{ model: `alone@3 via ${primary.address}` }], checkOutputs: true, ...off },
      { name: 'refused', split: [{ model: 'refused@1 via 127.0.0.1:1' }], fallback: lite, ...off },
      { name: 'nowhere', split: [{ model: 'nowhere@1 via 127.0.0.1:1' }], ...off },
      {
        name: 'broken',
        split: [{ model: `broken@1 via ${primary.address}` }],
        fallback: lite,
        breaker: { consecutiveFailures: 2, open: '1h', maxOpen: '1h' },
      },
      {
        name: 'shared',
        split: [
          { model: `shared@1 via ${primary.address}`, weight: '50%' },
          { model: `shared@2 via ${spare.address}`, weight: '50%' },
        ],
        ...off,
      },
      {
        name: 'small',
        split: [{ model: `small@1 via ${primary.address}` }],
        fallback: lite,
        maxReplaySize: '4KiB',
        ...off,
      },
      {
        name: 'tiny',
        split: [{ model: `tiny@1 via ${primary.address}` }],
        fallback: lite,
        maxReplaySize: '1KiB',
        ...off,
      },
    ],
  },
});

/** Reads a message, then says that it has looked at nothing; answers the stream after that. */
function refusesOnce(): Script {
  let first = true;
  return (call) => {
    if (!first) return streams('primary')(call);
    first = false;
    call.stream.once('data', () => call.refuse());
  };
}

t.beforeEach(() => {
  primary.script = streams('primary');
  fallback.script = streams('lite');
  primary.calls.length = 0;
  fallback.calls.length = 0;
});

t.test(
  'a stream goes to the version of its model, every message asking for it, and answers keep their order',
  async (test) => {
    const asked: string[] = [];
    primary.script = streams('primary', (r) => {
      asked.push(`${r.request.model_name}@${r.request.model_version}#${r.request.id}`);
      r.answer([r.index]);
    });
    const stream = new InferStream(test, proxy.address);
    for (let i = 0; i < 200; i++) stream.send('m', `r${i}`);
    const { status, answers } = await stream.finish();
    test.equal(status, 0);
    test.same(
      answers.map(({ infer_response }) => infer_response.id),
      Array.from({ length: 200 }, (_, i) => `r${i}`),
    );
    test.same(new Set(asked), new Set(Array.from({ length: 200 }, (_, i) => `m@3#r${i}`)));
    test.match(stream.metadata, { 'x-understudy-served-by': 'm@3', 'x-understudy-model-version': '3' });
    test.equal(primary.count, 1, 'one stream upstream');
  },
);

t.test('messages go on as they come: each is answered before the next is sent', async (test) => {
  const stream = new InferStream(test, proxy.address);
  for (let i = 1; i <= 5; i++) {
    stream.send('m', String(i));
    test.equal((await stream.until(i)).infer_response.id, String(i));
  }
  test.equal((await stream.finish()).status, 0);
});

t.test(
  'a message that names another model, another version or none is answered with an error, and the stream goes on',
  async (test) => {
    const stream = new InferStream(test, proxy.address);
    stream.send('m', 'a');
    stream.send('alone', 'b');
    stream.send('m', 'c', [1], { model_version: '9' });
    stream.send('', 'd');
    stream.send('m', 'e', [1], { model_version: '3' });
    stream.send('m', '');
    const { status, answers } = await stream.finish();
    test.equal(status, 0);
    test.same(
      answers.map(({ error_message, infer_response }) => [error_message, infer_response.id]),
      [
        ['', 'a'],
        ["this stream is for model 'm', not for 'alone'", 'b'],
        ["this stream is for version '3' of model 'm', not for '9'", 'c'],
        ['model_name is missing', 'd'],
        ['', 'e'],
        ['', ''],
      ],
    );
  },
);

t.test('streams are weighted, and each stays with its version', async (test) => {
  const seen = new Set<string>();
  for (let i = 0; i < 40 && seen.size < 2; i++) {
    const stream = new InferStream(test, proxy.address);
    for (let j = 0; j < 3; j++) stream.send('shared', String(j));
    const servers = new Set((await stream.finish()).answers.map(streamServedBy));
    test.equal(servers.size, 1);
    for (const server of servers) seen.add(server);
  }
  test.same([...seen].sort(), ['other', 'primary']);
});

t.test('an upstream that cannot be connected to is answered for, message by message', async (test) => {
  const stream = new InferStream(test, proxy.address);
  for (let i = 0; i < 3; i++) stream.send('refused', String(i));
  const { status, answers } = await stream.finish();
  test.equal(status, 0);
  test.same(answers.map(streamServedBy), ['lite', 'lite', 'lite']);
  const { parameters, model_name, model_version } = answers[0]!.infer_response;
  test.match(parameters['x-understudy-served-by'], { string_param: 'lite@7' });
  test.match(parameters['x-understudy-reason'], { string_param: 'connect_failed' });
  test.same([model_name, model_version], ['refused', ''], 'the name asked for, and no version of another model');
});

t.test(
  'an upstream that dies in the middle loses no message: what has no answer is answered by the fallback',
  async (test) => {
    primary.script = streams('primary', (r) => {
      if (r.index < 3) r.answer([1]);
      else if (r.index === 5) r.call.stream.session?.socket.destroy();
    });
    const stream = new InferStream(test, proxy.address);
    for (let i = 0; i < 3; i++) stream.send('m', String(i));
    await stream.until(3);
    for (let i = 3; i < 6; i++) stream.send('m', String(i));
    await stream.until(6);
    test.same(stream.answers.map(streamServedBy), ['primary', 'primary', 'primary', 'lite', 'lite', 'lite']);
    test.same(
      stream.answers.map(({ infer_response }) => infer_response.id),
      ['0', '1', '2', '3', '4', '5'],
    );
    primary.script = streams('primary');
    stream.send('m', 'later');
    test.equal(streamServedBy(await stream.until(7)), 'primary', 'the next message asks the primary again');
    test.equal((await stream.finish()).status, 0);
  },
);

t.test('half an answer is never seen: the message is answered by the fallback', async (test) => {
  primary.script = (call) => void call.answerHalf();
  const stream = new InferStream(test, proxy.address);
  stream.send('m', 'a');
  const { status, answers } = await stream.finish();
  test.equal(status, 0);
  test.same(answers.map(streamServedBy), ['lite']);
});

t.test('a status in the head or the trailers is answered by the fallback', async (test) => {
  for (const script of [
    (call: { failInHead(s: number): void }) => call.failInHead(14),
    (call: import('../support/scripted-upstream.ts').UpstreamCall) => {
      call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      call.stream.on('wantTrailers', () => call.stream.sendTrailers({ 'grpc-status': '13' }));
      call.stream.end();
    },
  ]) {
    primary.script = script as typeof hangs;
    const stream = new InferStream(test, proxy.address);
    stream.send('m', 'a');
    stream.send('m', 'b');
    const { status, answers } = await stream.finish();
    test.equal(status, 0);
    test.same(answers.map(streamServedBy), ['lite', 'lite']);
  }
});

t.test('a NaN in typed or raw contents is replaced, the rest stays', async (test) => {
  primary.script = streams('primary', (r) => {
    if (r.index === 1) r.answer([Number.NaN]);
    else if (r.index === 2) {
      const outputs = [{ name: 'scores', datatype: 'FP64', shape: [1] }];
      const raw = Buffer.alloc(8);
      raw.writeDoubleLE(Number.POSITIVE_INFINITY);
      r.answer([], { infer_response: { id: r.request.id, outputs, raw_output_contents: [raw] } });
    } else r.answer([1]);
  });
  const stream = new InferStream(test, proxy.address);
  for (let i = 0; i < 4; i++) stream.send('m', String(i));
  const { status, answers } = await stream.finish();
  test.equal(status, 0);
  test.same(answers.map(streamServedBy), ['primary', 'lite', 'lite', 'primary']);
  const alone = new InferStream(test, proxy.address);
  for (let i = 0; i < 4; i++) alone.send('alone', String(i));
  const told = (await alone.finish()).answers.map(({ error_message }) => error_message);
  test.same(told, ['', 'the upstream answered with invalid outputs', 'the upstream answered with invalid outputs', '']);
});

t.test(
  'an error of the primary is answered by the fallback; when that errs too, the primary is heard',
  async (test) => {
    primary.script = streams('primary', (r) => r.error(`primary ${r.request.id}`));
    fallback.script = streams('lite', (r) => (r.request.id === 'a' ? r.answer([1]) : r.error('lite says no')));
    const stream = new InferStream(test, proxy.address);
    stream.send('m', 'a');
    stream.send('m', 'b');
    const { answers } = await stream.finish();
    test.equal(streamServedBy(answers[0]!), 'lite');
    test.match(answers[1], { error_message: 'primary b', infer_response: { id: 'b' } });
    const metrics = await proxy.metrics();
    test.equal(metrics.sum('understudy_cluster_requests_total', { cluster: 'm@3', outcome: 'caller_error' }), 1);
    primary.script = streams('primary', (r) => r.error('not yours', { grpc_status: '3' }));
    const blamed = new InferStream(test, proxy.address);
    blamed.send('m', 'c');
    test.match((await blamed.finish()).answers, [{ error_message: 'not yours' }], 'errors of the caller stay its own');
  },
);

t.test('failures open the breaker, and an open breaker is answered for without asking', async (test) => {
  primary.script = streams('primary', (r) =>
    r.error('oom', { grpc_status: '8', 'x-understudy-reason': 'device_out_of_memory' }),
  );
  const stream = new InferStream(test, proxy.address);
  for (let i = 1; i <= 4; i++) {
    stream.send('broken', String(i));
    await stream.until(i);
  }
  const reasons = stream.answers.map(
    ({ infer_response }) => infer_response.parameters['x-understudy-reason'].string_param,
  );
  test.same(reasons, ['status', 'status', 'breaker_open', 'breaker_open']);
  test.equal((await stream.finish()).status, 0);
});

t.test('an upstream that hangs past its share of the deadline is answered for within the deadline', async (test) => {
  primary.script = hangs;
  const stream = new InferStream(test, proxy.address, { deadlineMs: 1500 });
  stream.send('m', 'a');
  stream.send('m', 'b');
  await stream.until(2);
  test.same(stream.answers.map(streamServedBy), ['lite', 'lite']);
  test.equal((await stream.finish()).status, 0);
});

t.test("without a fallback the stream ends with the upstream's failure", async (test) => {
  const failures: [string, import('../support/scripted-upstream.ts').Script, number, RegExp][] = [
    ['nowhere', hangs, 14, /cannot be connected/],
    ['alone', (call) => call.reset(), 14, /the upstream ended the request/],
    ['alone', (call) => call.failInHead(7, 'not allowed'), 7, /^not allowed$/],
  ];
  for (const [model, script, code, text] of failures) {
    primary.script = script;
    const stream = new InferStream(test, proxy.address);
    stream.send(model, 'a');
    const { status, details, answers } = await stream.end;
    test.equal(status, code);
    test.match(details, text);
    test.equal(answers.length, 0);
  }
  primary.script = hangs;
  const late = new InferStream(test, proxy.address, { deadlineMs: 300 });
  late.send('alone', 'a');
  test.equal((await late.end).status, 4);
});

t.test('an upstream that refuses the stream unprocessed is asked again', async (test) => {
  let refused = 0;
  primary.script = (call) => {
    if (refused++ < 2) call.refuse();
    else void streams('primary')(call);
  };
  const stream = new InferStream(test, proxy.address);
  stream.send('alone', 'a');
  test.same((await stream.finish()).answers.map(streamServedBy), ['primary']);
});

t.test('a caller that does not read its answers stops being read, and gets all of them when it does', async (test) => {
  const big = Array.from({ length: 4096 }, (_, i) => i);
  primary.script = streams('primary', (r) => r.answer(big));
  const stream = new InferStream(test, proxy.address);
  stream.call.pause();
  for (let i = 0; i < 400; i++) stream.send('small', String(i), big);
  const metrics = await proxy.metricsOnce((reading) => reading.sum('understudy_replay_held_bytes') > 0);
  test.ok(metrics.sum('understudy_replay_held_bytes') < 2 * 1024 * 1024, 'bounded by the window, not by the caller');
  stream.call.resume();
  const { status, answers } = await stream.finish();
  test.equal(status, 0);
  test.equal(answers.length, 400);
});

/*
 * Scenario: a message whose copy was given up is on a stream that the upstream then refuses unprocessed.
 * Mechanism: the stream is opened again only when all that was on it was kept.
 * Consequence: without that an empty message would be sent in its place, and its caller told whatever came of that.
 */
t.test('a message above the bound of copies is not sent again, and that is counted', async (test) => {
  const large = Array.from({ length: 5000 }, (_, i) => i);
  for (const script of [streams('primary', (r) => r.error('no', { grpc_status: '14' })), refusesOnce()]) {
    primary.script = script;
    const before = fallback.count;
    const stream = new InferStream(test, proxy.address);
    stream.send('tiny', 'a', large);
    const { status, answers } = await stream.finish();
    test.ok(status === 14 || answers[0]!.error_message === 'no', `${status}`);
    test.equal(fallback.count, before);
  }
  const small = new InferStream(test, proxy.address);
  primary.script = streams('primary', (r) => r.error('no', { grpc_status: '14' }));
  small.send('tiny', 'b');
  test.equal(streamServedBy(await small.until(1)), 'lite', 'a small one is answered by the fallback');
  await small.finish();
  const metrics = await proxy.metrics();
  test.equal(metrics.sum('understudy_cluster_unreplayable_requests_total', { cluster: 'tiny@1' }), 2);
});

t.test('a stream of a model that no entry names is relayed as it is', async (test) => {
  const stream = new InferStream(test, proxy.address);
  stream.send('anything', 'a', [1], { model_version: 'blue' });
  stream.send('something else', 'b');
  const { status, answers } = await stream.finish();
  test.equal(status, 0);
  test.same(
    answers.map(({ infer_response: { model_name, model_version } }) => [model_name, model_version]),
    [
      ['anything', 'blue'],
      ['something else', ''],
    ],
  );
});

t.test('a caller that goes away takes the upstream streams with it, and nothing is left', async (test) => {
  primary.script = hangs;
  const stream = new InferStream(test, proxy.address);
  stream.send('m', 'a');
  await proxy.metricsOnce((reading) => reading.sum('understudy_cluster_in_flight_requests') > 0);
  stream.call.cancel();
  const metrics = await proxy.metricsOnce(
    (reading) =>
      reading.sum('understudy_cluster_in_flight_requests') === 0 &&
      reading.sum('understudy_downstream_open_streams') === 0 &&
      reading.sum('understudy_replay_held_bytes') === 0,
  );
  test.equal(metrics.sum('understudy_cluster_in_flight_requests'), 0);
  test.equal(metrics.sum('understudy_downstream_open_streams'), 0);
  test.equal(metrics.sum('understudy_replay_held_bytes'), 0);
  test.ok(inferRequest('m', 'x') && inferResponse('p', {}, []));
});
