/** Answers whose numbers cannot be believed are replaced where the model's policy says so; and time that is gone is gone. */
import t from 'tap';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { answers, hangs, predictResponse, type Script, ScriptedUpstream } from '../support/scripted-upstream.ts';

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
