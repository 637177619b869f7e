/** Isolation groups as processes: one is killed, the other does not notice; and what a group's process leaves behind. */
import { existsSync, statSync } from 'node:fs';
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { ModelFolder, scaleModel } from '../support/model-folder.ts';
import { until } from '../support/patience.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';
import { WorkerProgram } from '../support/worker-program.ts';

const folder = new ModelFolder();
folder.put('primary', 1, scaleModel(2));
folder.put('lite', 1, scaleModel(3));
t.teardown(() => folder.remove());

const x = floats([1, 2], [1, 2]);
const args = [
  `--model_repository=${folder.path}`,
  `--group=main:${folder.at('main.sock')}:primary`,
  `--group=fallback:${folder.at('fallback.sock')}:lite`,
];

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

t.test('kill -9 of one group: it is started again and serves, the other serves on', async (t) => {
  const worker = await WorkerProgram.ready(args);
  t.teardown(() => worker.stop());
  const main = new TfsClient(`unix:${folder.at('main.sock')}`);
  const fallback = new TfsClient(`unix:${folder.at('fallback.sock')}`);
  t.teardown(() => {
    main.close();
    fallback.close();
  });
  const answer = async (client: TfsClient, name: string) =>
    (await client.predict({ model_spec: modelSpec(name), inputs: { x } })).outputs.y.float_val;
  t.same(await answer(main, 'primary'), [2, 4]);
  t.same(await answer(fallback, 'lite'), [3, 6]);
  t.equal(statSync(folder.at('main.sock')).mode & 0o777, 0o660);
  await t.rejects(
    answer(main, 'lite'),
    { code: status.NOT_FOUND, details: 'Servable not found for request: Latest(lite)' },
    'each its own models',
  );

  const [firstPid, fallbackPid] = [worker.pid('main'), worker.pid('fallback')];
  process.kill(firstPid, 'SIGKILL');
  let answers = 0;
  const readyAgain = worker.until(
    () => worker.changes('main').at(-1)?.to === 'READY' && worker.pid('main') !== firstPid,
    'restart',
  );
  let isReady = false;
  void readyAgain.then(() => {
    isReady = true;
  });
  while (!isReady) {
    t.same(await answer(fallback, 'lite'), [3, 6]);
    answers++;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await readyAgain;
  t.ok(answers > 5, `${answers} answers of the other group meanwhile`);
  t.equal(worker.pid('fallback'), fallbackPid, 'whose process is the same');
  t.same(
    worker.changes('main').map(({ to }) => to),
    ['STARTING', 'READY', 'WAITING', 'STARTING', 'READY'],
  );
  t.match(worker.changes('main')[2], { pid: firstPid, reason: 'signal SIGKILL' });
  // The stale socket file was in the way; grpc-js finds the new process by itself.
  const again = await main
    .predict({ model_spec: modelSpec('primary'), inputs: { x } }, { deadlineMs: 5_000 })
    .catch(() => answer(main, 'primary'));
  t.ok(again);
  t.equal(await worker.stop(), 0);
  t.notOk(existsSync(folder.at('main.sock')), 'a drained group leaves no socket file');
});

t.test('when the supervisor is killed its processes end by themselves', async (t) => {
  const worker = await WorkerProgram.ready(args);
  const pids = [worker.pid('main'), worker.pid('fallback')];
  worker.child.kill('SIGKILL');
  await worker.exit;
  await until(() => !pids.some(isRunning), 'both processes are gone');
  t.notOk(pids.some(isRunning));
});

t.test('an address that is taken ends the worker with code 1 and a reason', async (t) => {
  const first = await WorkerProgram.ready(args);
  t.teardown(() => first.stop());
  const second = new WorkerProgram([
    `--model_repository=${folder.path}`,
    `--grpc_socket_path=${folder.at('main.sock')}`,
    '--port=0',
  ]);
  t.equal(await second.exit, 1);
  await second.closed;
  t.match(
    second.events.find(({ event }) => event === 'group_unservable'),
    { message: /another process listens/ },
  );
  t.equal(first.changes('main').length, 2, 'the first one is untouched');
});

t.test('every mistake on the command line is printed and the exit code is 1', async (t) => {
  const worker = new WorkerProgram(['--port=x', '--nonsense', '--model_name=m'], { UNDERSTUDY_WORKER_TYPO: '1' });
  t.equal(await worker.exit, 1);
  await worker.closed;
  t.equal(worker.logs.length, 4, JSON.stringify(worker.logs));
  t.equal(worker.events.length, 0);
});

t.test('help and version end with code 0', async (t) => {
  for (const [flag, text] of [
    ['--help', /--model_base_path=DIR/],
    ['--version', /^understudy inference worker \d/],
  ] as const) {
    const worker = new WorkerProgram([flag]);
    t.equal(await worker.exit, 0, flag);
    await worker.closed;
    t.match(worker.output.join('\n'), text);
  }
});
