/** Heads and traces through the whole proxy: what a caller cannot steer, what an upstream and a collector are told. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { GrpcCaller } from '../support/grpc-caller.ts';
import { InferStream, streams } from '../support/infer-stream.ts';
import { until } from '../support/patience.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { answers, predictResponse, ScriptedUpstream } from '../support/scripted-upstream.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';

// biome-ignore lint/suspicious/noExplicitAny: the collector's JSON is what is looked at
const spans: any[] = [];
let status = 200;
const collector = createServer((request, response) => {
  let text = '';
  request.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  request.on('end', () => {
    if (status === 200) spans.push(...JSON.parse(text).resourceSpans[0].scopeSpans[0].spans);
    response.statusCode = status;
    response.end('{}');
  });
});
await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
t.teardown(() => {
  collector.closeAllConnections();
  collector.close();
});

const collectorUrl = `http://127.0.0.1:${(collector.address() as AddressInfo).port}/v1/traces`;
const upstream = await ScriptedUpstream.start(t, 'upstream');
const lite = await ScriptedUpstream.start(t, 'lite');
const shadow = await ScriptedUpstream.start(t, 'shadow');
const proxy = await ProxyProgram.start(t, {
  env: {
    UNDERSTUDY_TRACING_ENDPOINT: collectorUrl,
    UNDERSTUDY_TRACING_SAMPLE: '0%',
    UNDERSTUDY_REQUEST_ID: 'create',
    UNDERSTUDY_OUTBOUND_FORWARDED_HEADERS: 'append',
    UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: upstream.address,
  },
  document: {
    clusters: [{ name: 'web', endpoints: [upstream.address] }],
    routes: [
      { name: 'steered', headers: [{ name: 'x-understudy-shadow', value: '1' }], cluster: 'web' },
      { name: 'trusted', pathPrefix: '/trusted', trustInternalHeaders: true, cluster: 'web' },
    ],
    models: [
      {
        name: 'm',
        split: [{ model: `m@1 via ${upstream.address}` }],
        fallback: [{ model: `lite@1 via ${lite.address}` }],
        shadows: [{ model: `m@2 via ${shadow.address}` }],
      },
    ],
    pipelines: [
      {
        name: 'steps',
        inputs: [{ name: 'x', dtype: 'FP32', shape: [-1, 3] }],
        steps: [{ name: 'only', model: 'm', inputs: { x: 'request.x' }, outputs: ['scores'] }],
        outputs: [{ name: 'scores', from: 'only.scores', dtype: 'FP32', shape: [-1, 2] }],
      },
    ],
  },
});
const caller = GrpcCaller.to(t, proxy.address);
const last = () => upstream.calls.at(-1)!.headers;

t.test('internal fields of a caller steer nothing and reach nobody, unless a route trusts them', async (test) => {
  const steering = { 'x-understudy-shadow': '1', 'x-understudy-timing': '1', 'x-understudy-served-by': 'me' };
  const answer = await caller.predict('m', steering);
  test.equal(answer.status, 0, 'the route on an internal header did not take it');
  test.same(
    Object.keys(last()).filter((name) => name.startsWith('x-understudy-')),
    [],
  );
  await until(() => shadow.calls.length > 0);
  test.same(
    Object.entries(shadow.calls[0]!.headers).filter(([name]) => name.startsWith('x-understudy-')),
    [['x-understudy-shadow', '1']],
    'the shadow is marked by us',
  );
  await caller.predict('m', { ':path': '/other/Call', ...steering });
  test.equal(last()['x-understudy-timing'], undefined);
  await caller.predict('m', { ':path': '/trusted/Call', ...steering });
  test.equal(last()['x-understudy-timing'], '1');
});

t.test('without a word about tracing, context passes as it came and nobody is told anything', async (test) => {
  const silent = await ProxyProgram.start(test, {
    document: { models: [{ name: 'm', split: [{ model: `m@1 via ${upstream.address}` }] }] },
  });
  const calling = GrpcCaller.to(test, silent.address);
  const context = { traceparent: `00-${TRACE}-${PARENT}-01`, tracestate: 'a=b', 'x-request-id': 'mine' };
  await calling.predict('m', context);
  test.match(last(), context);
  await calling.predict('m');
  for (const name of Object.keys(context)) test.equal(last()[name], undefined, name);
  test.equal(spans.length, 0);
});

t.test('a request gets an identifier when it has none, and its sender is appended', async (test) => {
  await caller.predict('m');
  const first = String(last()['x-request-id']);
  test.match(first, /^[0-9a-f-]{36}$/);
  test.equal(last()['x-forwarded-for'], '127.0.0.1');
  test.equal(last()['x-forwarded-proto'], 'http');
  await caller.predict('m');
  test.not(last()['x-request-id'], first);
  await caller.predict('m', { 'x-request-id': 'mine', 'x-forwarded-for': '9.9.9.9' });
  test.equal(last()['x-request-id'], 'mine');
  test.equal(last()['x-forwarded-for'], '9.9.9.9, 127.0.0.1');
});

t.test('a sampled request takes our span along and is told of with all that is known of it', async (test) => {
  upstream.script = async (call) => {
    const body = await call.body;
    const timing = {
      'x-understudy-queue-us': '1200',
      'x-understudy-batch-us': '70',
      'x-understudy-compute-us': '3400',
    };
    call.answer(predictResponse('upstream', body), timing);
  };
  await caller.predict('m', { traceparent: `00-${TRACE}-${PARENT}-01`, tracestate: 'vendor=1' });
  const sent = String(last()['traceparent']).split('-');
  test.equal(sent[1], TRACE);
  test.not(sent[2], PARENT);
  test.equal(last()['tracestate'], 'vendor=1');
  test.equal(last()['x-understudy-timing'], '1', 'a worker is asked for its times');
  await until(() => spans.length > 0);
  const [span] = spans;
  test.match(span, { traceId: TRACE, spanId: sent[2], parentSpanId: PARENT, traceState: 'vendor=1', kind: 2 });
  const attributes = Object.fromEntries(
    span.attributes.map(({ key, value }: { key: string; value: object }) => [key, Object.values(value)[0]]),
  );
  test.match(attributes, {
    'understudy.model': 'm',
    'understudy.model_version': '1',
    'understudy.cluster': 'm@1',
    'understudy.answer_reason': 'primary',
    'understudy.breaker_state': 'closed',
    'understudy.queue_us': '1200',
    'understudy.batch_us': '70',
    'understudy.compute_us': '3400',
    'rpc.grpc.status_code': '0',
  });
  test.ok(BigInt(span.endTimeUnixNano) > BigInt(span.startTimeUnixNano));
});

t.test('a trace without a valid parent begins here, and foreign state is not taken into it', async (test) => {
  const always = await ProxyProgram.start(test, {
    env: {
      UNDERSTUDY_TRACING_ENDPOINT: collectorUrl,
      UNDERSTUDY_TRACING_SAMPLE: '100%',
      UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: upstream.address,
    },
    document: { models: [{ name: 'm', split: [{ model: `m@1 via ${upstream.address}` }] }] },
  });
  const calling = GrpcCaller.to(test, always.address);
  const seen = new Set<unknown>();
  const strangers = [{}, { traceparent: 'nonsense' }, { traceparent: `00-${TRACE}-0000000000000000-01` }];
  for (const head of strangers) {
    await calling.predict('m', { ...head, tracestate: 'foreign=1' });
    const { traceparent, tracestate } = last();
    test.match(traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-03$/);
    test.notMatch(traceparent, TRACE);
    test.equal(tracestate, undefined);
    seen.add(traceparent);
  }
  test.equal(seen.size, strangers.length);
  await calling.predict('m', { traceparent: `00-${TRACE}-${PARENT}-00` });
  test.equal(last()['traceparent'], `00-${TRACE}-${PARENT}-00`, 'the parent decided otherwise');
  const stream = new InferStream(test, always.address);
  upstream.script = streams('upstream');
  stream.send('m', 'one');
  test.equal((await stream.finish()).answers.length, 1);
  test.match(last()['traceparent'], /-03$/, 'streams of messages take it along');
  upstream.script = answers('upstream');
});

t.test('a fallback is told of as one', async (test) => {
  spans.length = 0;
  upstream.script = (call) => call.failInHead(14);
  await caller.predict('m', { traceparent: `00-${TRACE}-${PARENT}-01` });
  await until(() => spans.length > 0);
  const values = JSON.stringify(spans[0].attributes);
  test.match(values, /answer_reason[^}]*status/);
  test.match(values, /lite@1/);
  upstream.script = answers('upstream');
});

t.test('a request that is not sampled passes with its context untouched and no span', async (test) => {
  spans.length = 0;
  const traceparent = `00-${TRACE}-${PARENT}-00`;
  await caller.predict('m', { traceparent, tracestate: 'a=b' });
  test.equal(last()['traceparent'], traceparent);
  test.equal(last()['tracestate'], 'a=b');
  await caller.predict('m');
  test.equal(last()['traceparent'], undefined, 'the ratio is 0 %');
  await caller.predict('m', { traceparent: `00-${TRACE}-${PARENT}-01` });
  await until(() => spans.length > 0);
  test.equal(spans.length, 1);
});

t.test('a collector that fails holds nobody up, and what it takes later is counted', async (test) => {
  status = 503;
  const headers = { traceparent: `00-${TRACE}-${PARENT}-01` };
  const all = await Promise.all(Array.from({ length: 50 }, () => caller.predict('m', headers)));
  test.ok(all.every((answer) => answer.status === 0));
  await proxy.until(() => proxy.logged('spans_not_sent').length > 0, 'the trouble');
  const before = (await proxy.metrics()).sum('understudy_trace_spans_total', { result: 'exported' });
  status = 200;
  const reading = await proxy.metricsOnce(
    (r) => r.sum('understudy_trace_spans_total', { result: 'exported' }) >= before + 50,
    10_000,
  );
  test.equal(reading.sum('understudy_trace_spans_total', { result: 'exported' }), before + 50);
  test.equal(reading.sum('understudy_trace_spans_total', { result: 'dropped' }), 0);
});

t.test("the calls of a pipeline's steps are children of its span, and carry its request's identifier", async (test) => {
  spans.length = 0;
  upstream.script = answers('upstream');
  const answer = await caller.predict('steps', { traceparent: `00-${TRACE}-${PARENT}-01`, 'x-request-id': 'p1' });
  test.equal(answer.status, 0);
  test.equal(last()['x-request-id'], 'p1');
  await until(() => spans.length >= 2);
  const named = (model: string) =>
    spans.find(({ attributes }) =>
      attributes.some(({ key, value }: { key: string; value: { stringValue?: string } }) => {
        return key === 'understudy.model' && value.stringValue === model;
      }),
    );
  test.match(named('steps'), { traceId: TRACE, parentSpanId: PARENT });
  test.match(named('m'), { traceId: TRACE, parentSpanId: named('steps').spanId });
  test.equal(String(last()['traceparent']).split('-')[2], named('m').spanId);
});
