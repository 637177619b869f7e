/** Real faults in a group's process: what its callers are told, how soon, and what the other group notices. */
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { ModelFolder, scaleModel } from '../support/model-folder.ts';
import { allocator, spinner } from '../support/test-models.ts';
import { floats, type Message, modelSpec, TfsClient } from '../support/tfs-client.ts';
import { WorkerProgram } from '../support/worker-program.ts';

const folder = new ModelFolder();
folder.put('quick', 1, scaleModel(2));
folder.put('spinner', 1, spinner());
folder.put('allocator', 1, allocator());
folder.put('lite', 1, scaleModel(3));
t.teardown(() => folder.remove());

const x = floats([1, 2], [1, 2]);
const TIMEOUT_MS = 2500;
/** Matrices of this size take tens of seconds on one core. */
const ENDLESS = 16_000;
const AT_ONCE_MS = 2000;

const ints = (...values: number[]) => ({
  dtype: 9,
  tensor_shape: { dim: [{ size: values.length }] },
  int64_val: values.map(String),
});

async function serve() {
  const worker = await WorkerProgram.ready([
    `--model_repository=${folder.path}`,
    `--group=main:${folder.at('main.sock')}:quick,spinner,allocator`,
    `--group=fallback:${folder.at('fallback.sock')}:lite`,
    `--execution_timeout_ms=${TIMEOUT_MS}`,
    '--enable_model_warmup=false',
  ]);
  const main = new TfsClient(`unix:${folder.at('main.sock')}`);
  const fallback = new TfsClient(`unix:${folder.at('fallback.sock')}`);
  const stop = async () => {
    main.close();
    fallback.close();
    await worker.stop();
  };
  return { worker, main, fallback, stop };
}

const quick = async (client: TfsClient, model: string): Promise<number[]> =>
  (await client.predict({ model_spec: modelSpec(model), inputs: { x } })).outputs.y.float_val;
const spin = (client: TfsClient, size: number): Promise<Message> =>
  client.predict({ model_spec: modelSpec('spinner'), inputs: { n: ints(size, size) } }, { deadlineMs: 60_000 });

/** Answers of a model one after the other until `until` settles; the slowest in milliseconds. */
async function keepAsking(client: TfsClient, model: string, expected: readonly number[], until: Promise<unknown>) {
  let done = false;
  const end = until.then(
    () => {
      done = true;
    },
    () => {
      done = true;
    },
  );
  let slowestMs = 0;
  let answers = 0;
  while (!done) {
    const beganMs = performance.now();
    const values = await quick(client, model);
    if (values.join() !== expected.join()) throw new Error(`answered ${values}`);
    slowestMs = Math.max(slowestMs, performance.now() - beganMs);
    answers++;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await end;
  return { slowestMs, answers };
}

const serving = (worker: WorkerProgram, pid: number) => (): boolean =>
  worker.changes('main').at(-1)?.to === 'READY' && worker.pid('main') !== pid;

t.test('SIGSEGV ends the process: its callers hear at once, the other group serves on, it comes back', async (t) => {
  const { worker, main, fallback, stop } = await serve();
  t.teardown(stop);
  const [pid, otherPid] = [worker.pid('main'), worker.pid('fallback')];
  const waiting = spin(main, ENDLESS);
  const fate = waiting.catch((error: unknown) => ({ error, atMs: performance.now() }));
  await new Promise((resolve) => setTimeout(resolve, 100));
  const killedMs = performance.now();
  process.kill(pid, 'SIGSEGV');
  const back = worker.until(serving(worker, pid), 'restart');
  const others = await keepAsking(fallback, 'lite', [3, 6], back);
  const { error, atMs } = (await fate) as { error: { code: number }; atMs: number };
  t.equal(error.code, status.UNAVAILABLE);
  t.ok(atMs - killedMs < AT_ONCE_MS, `after ${Math.round(atMs - killedMs)} ms`);
  t.equal(worker.pid('fallback'), otherPid);
  t.ok(others.answers > 5, `${others.answers} answers of the other group, the slowest in ${others.slowestMs} ms`);
  t.match(
    worker.changes('main').find(({ to }) => to === 'WAITING'),
    { pid, reason: 'signal SIGSEGV' },
  );
  t.same(await quick(main, 'quick').catch(() => quick(main, 'quick')), [2, 4]);
});

t.test('a model that runs too long fails its batch and its process is replaced; nobody waits for it', async (t) => {
  const { worker, main, fallback, stop } = await serve();
  t.teardown(stop);
  t.equal((await spin(main, 16)).outputs.y.float_val[0], 16);
  const [pid, otherPid] = [worker.pid('main'), worker.pid('fallback')];
  const beganMs = performance.now();
  const stuck = spin(main, ENDLESS);
  const behind = spin(main, 16);
  for (const call of [stuck, behind]) call.catch(() => undefined);
  const same = await keepAsking(main, 'quick', [2, 4], stuck);
  const failedMs = performance.now() - beganMs;
  await t.rejects(stuck, { code: status.UNAVAILABLE, details: /did not finish within 2500 ms/ });
  const reason = await stuck.catch((error) => error.metadata.get('x-understudy-reason')[0]);
  t.equal(reason, 'execution_timeout');
  await t.rejects(behind, { code: status.UNAVAILABLE }, 'what waited behind it hears as well');
  t.ok(failedMs < TIMEOUT_MS + AT_ONCE_MS, `after ${Math.round(failedMs)} ms`);
  t.ok(same.answers > 20, `${same.answers} answers of another model in the same process meanwhile`);
  t.ok(same.slowestMs < TIMEOUT_MS / 2, `the slowest in ${Math.round(same.slowestMs)} ms: the front never blocks`);
  const others = await keepAsking(fallback, 'lite', [3, 6], worker.until(serving(worker, pid), 'replacement'));
  t.ok(others.answers > 5);
  t.equal(worker.pid('fallback'), otherPid);
  t.match(
    worker.changes('main').find(({ to }) => to === 'WAITING'),
    { pid, reason: 'signal SIGKILL' },
  );
  t.same(await quick(main, 'quick').catch(() => quick(main, 'quick')), [2, 4]);
});

t.test('running out of memory is told as such, and ends nothing', async (t) => {
  const { worker, main, stop } = await serve();
  t.teardown(stop);
  const ask = (n: string) =>
    main.predict({
      model_spec: modelSpec('allocator'),
      inputs: { n: { dtype: 9, tensor_shape: { dim: [{ size: 1 }] }, int64_val: [n] } },
    });
  const error = await ask(String(2n ** 58n)).catch((thrown) => thrown);
  t.equal(error.code, status.RESOURCE_EXHAUSTED, error.details);
  t.same(error.metadata.get('x-understudy-reason'), ['device_out_of_memory']);
  t.same((await ask('1000')).outputs.y.float_val, [1000]);
  t.equal(worker.changes('main').length, 2, 'the process is the one that started');
});
