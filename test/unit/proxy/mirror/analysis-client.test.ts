import { once } from 'node:events';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { Logger } from '../../../../base/logger.ts';
import { AnalysisClient, type AnalysisClientOptions } from '../../../../proxy/mirror/analysis-client.ts';
import type { ComparisonPolicy, FreeBuffer, PairBatch } from '../../../../proxy/mirror/messages.ts';
import type { PairRecord } from '../../../../proxy/mirror/pair-record.ts';
import { PairSender } from '../../../../proxy/mirror/pair-sender.ts';
import { batch, floats, outputs } from './pairs.ts';

const POLICY: ComparisonPolicy = {
  model: 'm',
  cohort: { source: { kind: 'header', name: 'x-segment' }, maxCohorts: 20, names: {} },
};
const GOOD = { y: floats([1, 2], [0.8, 0.2]) };
const FLIPPED = { y: floats([1, 2], [0.3, 0.7]) };
const SILENT = new Logger('silent');

function start(t: Test, options: Partial<AnalysisClientOptions> = {}): AnalysisClient {
  const client = new AnalysisClient({
    policies: [POLICY],
    log: SILENT,
    onRestart: () => {},
    reportEveryMs: 20,
    backoffMs: 10,
    ...options,
  });
  t.teardown(() => client.stop());
  return client;
}

/** A data thread's end of a new channel to the analysis. */
function connect(t: Test, client: AnalysisClient): MessagePort {
  const { port1, port2 } = new MessageChannel();
  client.addPort(port1);
  t.teardown(() => port2.close());
  return port2;
}

/** Sends a batch as a data thread does and resolves with the buffer that comes back. */
async function send(port: MessagePort, pairs: readonly PairRecord[]): Promise<ArrayBuffer> {
  const { buffer, length } = batch(pairs);
  const answered = once(port, 'message') as Promise<[FreeBuffer]>;
  port.postMessage({ type: 'pairs', buffer, length } satisfies PairBatch, [buffer]);
  t.equal(buffer.byteLength, 0, 'the buffer was handed over, not copied');
  const [message] = await answered;
  t.equal(message.type, 'free');
  return message.buffer;
}

t.test('pairs from several data threads become figures, and their buffers come back', async (t) => {
  const client = start(t);
  const ports = [connect(t, client), connect(t, client)];
  const buffers = await Promise.all(
    ports.map((port, i) => send(port, [outputs(GOOD, GOOD, { cohort: `c${i}` }), outputs(GOOD, FLIPPED)])),
  );
  for (const buffer of buffers) t.ok(buffer.byteLength > 0);
  await client.refresh();
  const [figures] = client.figures();
  t.match(figures, { model: 'm', primary: 'm@1', shadow: 'm@2', pairs: 4, agreement: 0.5 });
  t.strictSame(Object.keys(figures!.byCohort).sort(), ['c0', 'c1', 'unknown']);
  t.equal(client.counts().pairs, 4);
  t.equal(client.figures(), client.figures(), 'one object until the next report');
});

t.test('what a sender takes is compared, over more buffers than it has', async (t) => {
  const client = start(t);
  const sender = new PairSender();
  sender.connect(connect(t, client));
  const large = { y: floats([2000, 2], new Array(4000).fill(0.5)) };
  const record = outputs(large, large);
  let taken = 0;
  for (let i = 0; i < 150; i++) {
    if (sender.send(record)) taken++;
    if (i % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  t.ok(taken > 0);
  for (let i = 0; i < 1000 && client.counts().pairs < taken; i++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  t.equal(client.counts().pairs, taken, 'every pair that was not refused');
  t.match(client.figures()[0], { pairs: taken, rows: taken * 2000, agreement: 1 });
});

t.test('reports come unasked', async (t) => {
  const client = start(t);
  const port = connect(t, client);
  await send(port, [outputs(GOOD, GOOD, { cohort: 'a' })]);
  for (let i = 0; i < 100 && client.figures().length === 0; i++) await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(client.figures()[0]!.pairs, 1);
  await send(port, [outputs(GOOD, GOOD, { cohort: 'b' })]);
  for (let i = 0; i < 100 && client.figures()[0]!.pairs < 2; i++)
    await new Promise((resolve) => setTimeout(resolve, 5));
  t.strictSame(Object.keys(client.figures()[0]!.byCohort), ['a', 'b'], 'changes are added to what is known');
});

t.test('new policies are in force for the pairs that follow', async (t) => {
  const client = start(t);
  const port = connect(t, client);
  await send(port, [outputs(GOOD, GOOD)]);
  client.setPolicies([{ ...POLICY, model: 'other' }]);
  t.strictSame(client.figures(), []);
  // Ports are not in step with each other: wait until the thread has the policies.
  await client.refresh();
  await send(port, [outputs(GOOD, GOOD), outputs(GOOD, GOOD, { model: 'other' })]);
  await client.refresh();
  t.strictSame(
    client.figures().map(({ model, pairs }) => [model, pairs]),
    [['other', 1]],
  );
  t.equal(client.counts().unknownModel, 1, 'what came for the model that left');
});

t.test('a thread that dies is replaced, and its figures go on', async (t) => {
  let restarted = () => {};
  const restart = new Promise<void>((resolve) => {
    restarted = resolve;
  });
  const client = start(t, { onRestart: () => restarted() });
  const port = connect(t, client);
  await send(port, [outputs(GOOD, GOOD, { cohort: 'a' }), outputs(GOOD, FLIPPED, { cohort: 'b' })]);
  await client.refresh();
  const lost = once(port, 'close');
  // A message without a buffer is a programmer error that no data thread makes: the thread dies of it.
  port.postMessage({ type: 'pairs', length: 1 });
  await lost;
  // The client's backoff keeps no process alive, so the test does.
  const alive = setInterval(() => {}, 1000);
  await restart;
  clearInterval(alive);
  t.equal(client.restarts, 1);
  t.equal(client.figures()[0]!.pairs, 2, 'nothing is lost while no thread runs');
  const next = connect(t, client);
  await send(next, [outputs(GOOD, GOOD, { cohort: 'a' })]);
  await client.refresh();
  t.match(client.figures()[0], {
    pairs: 3,
    byCohort: { a: { pairs: 2, agreement: 1 }, b: { pairs: 1, agreement: 0 } },
  });
});

t.test('stop waits for the last report and ends the thread', async (t) => {
  const client = start(t, { reportEveryMs: 60_000 });
  const port = connect(t, client);
  await send(port, [outputs(GOOD, GOOD)]);
  const closed = once(port, 'close');
  await client.stop();
  t.equal(client.figures()[0]!.pairs, 1);
  await closed;
  await client.refresh();
  await client.stop();
});
