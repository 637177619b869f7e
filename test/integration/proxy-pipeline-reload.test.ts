/** A configuration that changes while a pipeline is at work. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { GrpcCaller } from '../support/grpc-caller.ts';
import { until } from '../support/patience.ts';
import { adds, chain, openPipelineUpstreams, outputsOf, predictBody, tensor } from '../support/pipeline-lab.ts';
import { ProxyProgram } from '../support/proxy-program.ts';

const { first, second, model } = await openPipelineUpstreams(t);

t.test('a request keeps the pipeline it began with when the configuration changes', async (test) => {
  const path = join(mkdtempSync(join(tmpdir(), 'understudy-pipeline-')), 'mesh.json');
  test.teardown(() => rmSync(dirname(path), { recursive: true }));
  const models = [model('first', first), model('second', second)];
  const write = (pipelines: readonly object[]) => {
    writeFileSync(`${path}.new`, JSON.stringify({ models, pipelines }));
    renameSync(`${path}.new`, path);
  };
  write([chain('c')]);
  const own = await ProxyProgram.start(test, { ready: false, env: { UNDERSTUDY_CONFIG_FILE: path } });
  const calling = GrpcCaller.to(test, own.address);
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  first.script = async (call) => {
    if (first.calls.length === 1) await released;
    await adds(call);
  };
  const early = calling.call(predictBody('c'));
  await until(() => first.calls.length === 1, 'the request is under way');
  const single = { name: 'one', model: 'first', inputs: { x: 'request.x' }, outputs: ['y'] };
  write([{ ...chain('c'), version: '2', steps: [single], outputs: [{ from: 'one.y', ...tensor('y') }] }]);
  await own.until(() => own.logs.filter(({ event }) => event === 'config_applied').length > 0, 'the new configuration');
  let late = await calling.call(predictBody('c'));
  await until(async () => {
    late = await calling.call(predictBody('c'));
    return late.served['model-version'] === '2';
  }, 'the second version answers');
  test.same(outputsOf(late), { y: [2, 3] });
  release();
  const answer = await early;
  test.same(outputsOf(answer), { y: [3, 4], half: [2, 3] });
  test.equal(answer.served['model-version'], '1');
});
