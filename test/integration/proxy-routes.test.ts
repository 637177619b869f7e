/** Routes by authority, path, method and header, over both protocols, beside models that are served as ever. */
import t from 'tap';
import { GrpcCaller, servedBy } from '../support/grpc-caller.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { ScriptedUpstream } from '../support/scripted-upstream.ts';

const model = await ScriptedUpstream.start(t, 'model');
const other = await ScriptedUpstream.start(t, 'other');
const proxy = await ProxyProgram.start(t, {
  document: {
    clusters: [{ name: 'other', endpoints: [other.address] }],
    models: [{ name: 'credit', split: [{ model: `credit@1 via ${model.address}` }] }],
    routes: [
      { name: 'testers', headers: [{ name: 'x-tester', value: 'yes' }], cluster: 'other' },
      { name: 'reports', authorities: ['reports.internal'], methods: ['POST'], cluster: 'other' },
    ],
  },
});
const caller = GrpcCaller.to(t, proxy.address);

t.test('a model call that a route takes goes there as it is, the others to their model', async (test) => {
  test.equal(servedBy(await caller.predict('credit')), 'model');
  test.equal(servedBy(await caller.predict('credit', { 'x-tester': 'no' })), 'model');
  test.equal(servedBy(await caller.predict('credit', { 'x-tester': 'yes' })), 'other');
  test.equal(servedBy(await caller.predict('credit', { ':authority': 'reports.internal:80' })), 'other');
  const asked = await other.calls.at(-1)!.request();
  test.match(asked.model_spec, { name: 'credit', version: undefined }, 'the message is untouched');
});
