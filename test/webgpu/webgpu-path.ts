/**
 * A worker that requires WebGPU answers as one on the CPU does, within tolerance, from the wire to the device and back.
 * Started by run.ts, which finds the driver.
 */
import t from 'tap';
import { fetch } from 'undici';
import { ModelFolder } from '../support/model-folder.ts';
import { OnnxModel } from '../support/onnx-writer.ts';
import { heavy, mlp, wave } from '../support/test-models.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';
import { WorkerProgram } from '../support/worker-program.ts';

const TOLERANCE = 1e-4;

/** x float32 [batch, 3, 32, 32] through two convolutions and a pool to y [batch, 4]. */
function convolution(): Buffer {
  return new OnnxModel('convolution')
    .input('x', 'float32', ['batch', 3, 32, 32])
    .output('y', 'float32', ['batch', 4])
    .initializer('w1', 'float32', [8, 3, 3, 3], wave(8 * 3 * 9, 0.7))
    .initializer('w2', 'float32', [4, 8, 3, 3], wave(4 * 8 * 9, 0.3))
    .node('Conv', ['x', 'w1'], ['h'], { pads: [1, 1, 1, 1] })
    .node('Relu', ['h'], ['r'])
    .node('Conv', ['r', 'w2'], ['c'])
    .node('GlobalAveragePool', ['c'], ['p'])
    .node('Flatten', ['p'], ['y'])
    .build();
}

const folder = new ModelFolder();
folder.put('mlp', 1, mlp(64));
folder.put('convolution', 1, convolution());
folder.put('heavy', 1, heavy(3));
t.teardown(() => folder.remove());

const REQUESTS = [
  { model: 'mlp', x: floats([3, 8], [...wave(24, 0.4)]) },
  { model: 'convolution', x: floats([2, 3, 32, 32], [...wave(2 * 3 * 32 * 32, 0.011)]) },
  { model: 'heavy', x: floats([4, 256], [...wave(4 * 256, 0.05)]) },
];

// Shaders are compiled for a software device.
t.setTimeout(240_000);

/** A worker that executes on `provider`, and a client of it. */
async function serve(provider: string, ...more: string[]) {
  const worker = await WorkerProgram.ready([
    `--model_repository=${folder.path}`,
    '--port=0',
    '--host=127.0.0.1',
    `--execution_providers=${provider}`,
    '--metrics_port=0',
    // A software driver takes its time with the first run of each shape.
    '--execution_timeout_ms=0',
    ...more,
  ]);
  const client = new TfsClient(worker.address('default'));
  const port = worker.events.find(({ event }) => event === 'metrics_ready')?.port;
  const scrape = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const stop = async () => {
    client.close();
    await worker.stop();
  };
  return { worker, client, scrape, stop };
}

async function answer(client: TfsClient, { model, x }: (typeof REQUESTS)[number]): Promise<number[]> {
  const reply = await client.predict({ model_spec: modelSpec(model), inputs: { x } }, { deadlineMs: 60_000 });
  return reply.outputs.y.float_val;
}

t.test('answers equal those of the CPU within tolerance, in threads and in the front', async (t) => {
  const cpu = await serve('cpu');
  t.teardown(cpu.stop);
  for (const place of ['thread', 'front']) {
    const gpu = await serve('webgpu', `--batching_place=${place}`, '--max_batch_size=4');
    t.teardown(gpu.stop);
    t.equal(gpu.worker.changes('default').at(-1)?.provider, 'webgpu', 'the provider in force is said at start');
    for (const request of REQUESTS) {
      const [expected, actual] = [await answer(cpu.client, request), await answer(gpu.client, request)];
      t.equal(actual.length, expected.length);
      const worst = Math.max(...actual.map((value, i) => Math.abs(value - expected[i]!)));
      t.ok(worst <= TOLERANCE, `${place}: ${request.model}: at most ${worst} apart`);
    }
    const metrics = await gpu.scrape();
    t.match(metrics, 'understudy_provider_info{group="default",provider="webgpu"} 1\n');
    t.match(metrics, new RegExp(`servable_info\\{.*model="mlp".*place="${place}",provider="webgpu"\\} 1`));
    t.ok(gpu.worker.logs.some(({ event, provider }) => event === 'servable_loaded' && provider === 'webgpu'));
  }
});

t.test('requests batched together on several instances are answered as alone', async (t) => {
  const gpu = await serve('webgpu', '--batching_place=thread', '--num_batch_threads=2', '--max_batch_size=8');
  t.teardown(gpu.stop);
  const rows = Array.from({ length: 40 }, (_, i) => ({ model: 'mlp', x: floats([1, 8], [...wave(8, 0.1 * (i + 1))]) }));
  const together = await Promise.all(rows.map((row) => answer(gpu.client, row)));
  for (let i = 0; i < rows.length; i += 13) {
    const alone = await answer(gpu.client, rows[i]!);
    t.ok(alone.every((value, j) => Math.abs(value - together[i]![j]!) <= TOLERANCE));
  }
  t.match(await gpu.scrape(), /servable_instances\{.*model="mlp".*\} 2/);
});

t.test('options of the provider are passed on', async (t) => {
  const gpu = await serve(
    'webgpu,cpu',
    '--execution_provider_option=webgpu:preferredLayout=NHWC',
    '--execution_provider_option=webgpu:storageBufferCacheMode=simple',
    '--max_batch_size=4',
  );
  t.teardown(gpu.stop);
  t.equal(gpu.worker.changes('default').at(-1)?.provider, 'webgpu');
  t.equal((await answer(gpu.client, REQUESTS[1]!)).length, 8);
});
