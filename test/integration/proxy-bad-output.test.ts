/** Answers whose numbers cannot be believed are replaced where the model's policy says so; and time that is gone is gone. */
import { once } from 'node:events';
import http2 from 'node:http2';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import { encodeMessage } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import {
  answers,
  framed,
  hangs,
  predictResponse,
  type Script,
  ScriptedUpstream,
} from '../support/scripted-upstream.ts';

const nan: Script = async (call) => call.answer(predictResponse('primary', await call.body, [0.5, Number.NaN]));

t.test('a NaN is replaced by the fallback in the same request, and opens the breaker', async (test) => {
  const primary = await ScriptedUpstream.start(test, 'primary', { script: nan });
  const fallback = await ScriptedUpstream.start(test, 'lite');
  const split = [{ model: `m@1 via ${primary.address}` }];
  const breaker = { consecutiveFailures: 3, open: '1h', maxOpen: '1h' };
  const lite = [{ model: `lite@1 via ${fallback.address}` }];
  const proxy = await ProxyProgram.start(test, {
    document: {
      models: [
        { name: 'm', split, fallback: lite, checkOutputs: true, breaker },
        { name: 'trusting', split: [{ model: `trusting@1 via ${primary.address}` }], fallback: lite, breaker },
        { name: 'alone', split: [{ model: `alone@1 via ${primary.address}` }], checkOutputs: true },
      ],
    },
  });
  const caller = GrpcCaller.to(test, proxy.address);
  const first = await caller.predict('m');
  test.match(first, { status: 0, served: { reason: 'bad_output' } });
  test.equal(servedBy(first), 'lite');
  await caller.predict('m');
  await caller.predict('m');
  test.match(await caller.predict('m'), { status: 0, served: { reason: 'breaker_open' } });
  test.equal(servedBy(await caller.predict('trusting')), 'primary', 'only where it is asked for');
  test.match(await caller.predict('alone'), { status: 13, served: { reason: 'bad_output' } });
});

t.test(
  'declared outputs are held against every answer, compressed or not, and what is wrong is counted',
  async (test) => {
    let scores: readonly number[] = [0.5, 0.5];
    let encoding: 'gzip' | 'snappy' | '' = '';
    const primary = await ScriptedUpstream.start(test, 'primary', {
      script: async (call) => {
        const message = predictResponse('primary', await call.body, scores);
        if (encoding === '') return call.answer(message);
        call.stream.respond(
          { ':status': 200, 'content-type': 'application/grpc', 'grpc-encoding': encoding },
          { waitForTrailers: true },
        );
        call.stream.on('wantTrailers', () => call.stream.sendTrailers({ 'grpc-status': '0' }));
        call.stream.end(framed(encoding === 'gzip' ? gzipSync(message) : message, true));
      },
    });
    const proxy = await ProxyProgram.start(test, {
      document: {
        models: [
          {
            name: 'm',
            split: [{ model: `m@1 via ${primary.address}` }],
            outputs: [{ name: 'scores', dtype: 'FP32', shape: [1, 2], min: 0, max: 1 }],
            breaker: { enabled: false },
          },
        ],
      },
    });
    const client = http2.connect(`http://${proxy.address}`);
    test.teardown(() => client.close());
    const status = async (): Promise<string> => {
      const stream = client.request({
        ':method': 'POST',
        ':path': '/tensorflow.serving.PredictionService/Predict',
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      let found = '';
      stream.on('response', (head) => {
        found = String(head['grpc-status'] ?? found);
      });
      stream.on('trailers', (trailers) => {
        found = String(trailers['grpc-status']);
      });
      stream.resume();
      stream.end(framed(encodeMessage('tensorflow.serving.PredictRequest', { model_spec: { name: 'm' } })));
      await once(stream, 'close');
      return found;
    };
    for (const encoded of ['', 'gzip'] as const) {
      encoding = encoded;
      scores = [0.5, 0.5];
      test.equal(await status(), '0', `good ${encoded}`);
      for (const bad of [[0.5, 1.5], [0.5], [Number.NaN, 0]]) {
        scores = bad;
        test.equal(await status(), '13', `${bad} ${encoded}`);
      }
    }
    encoding = 'snappy';
    test.equal(await status(), '0', 'what cannot be inflated is passed on');
    const metrics = await proxy.metricsOnce((now) => now.sum('understudy_unchecked_answers_total') === 1);
    test.equal(metrics.sum('understudy_unchecked_answers_total'), 1);
    for (const fault of ['range', 'shape', 'not_finite']) {
      test.equal(metrics.sum('understudy_bad_outputs_total', { fault }), 2, fault);
    }
  },
);

t.test('a fallback is told the time that is left, not the time there was', async (test) => {
  const primary = await ScriptedUpstream.start(test, 'primary', { script: hangs });
  const fallback = await ScriptedUpstream.start(test, 'lite', { script: answers('lite') });
  const proxy = await ProxyProgram.start(test, {
    document: {
      models: [
        {
          name: 'm',
          split: [{ model: `m@1 via ${primary.address}` }],
          fallback: [{ model: `lite@1 via ${fallback.address}` }],
          primaryBudget: '50%',
        },
      ],
    },
  });
  const caller = GrpcCaller.to(test, proxy.address);
  const answer = await caller.predict('m', { 'grpc-timeout': '1000m' });
  test.match(answer, { status: 0, served: { reason: 'deadline_budget' } });
  const told = (upstream: ScriptedUpstream): number => {
    const value = String(upstream.calls[0]!.headers['grpc-timeout']);
    return value.endsWith('u') ? Number.parseInt(value, 10) / 1000 : Number.parseInt(value, 10);
  };
  test.ok(told(primary) > 900 && told(primary) <= 1000, String(told(primary)));
  test.ok(told(fallback) > 300 && told(fallback) <= 500, String(told(fallback)));
});
