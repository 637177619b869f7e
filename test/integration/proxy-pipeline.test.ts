/**
 * A pipeline of four models on real workers, called in every protocol: whole, with its recogniser's process killed, and
 * when it is back.
 */
import t, { type Test } from 'tap';
import { request } from 'undici';
import { amountOf, DOCUMENT_MODELS, documentPipeline } from '../support/document-pipeline.ts';
import { type Answer, GrpcCaller } from '../support/grpc-caller.ts';
import { ModelFolder } from '../support/model-folder.ts';
import { decodeMessage, encodeMessage } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { framed } from '../support/scripted-upstream.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';
import { WorkerProgram } from '../support/worker-program.ts';

const folder = new ModelFolder();
t.teardown(() => folder.remove());
for (const [name, bytes] of Object.entries(DOCUMENT_MODELS)) folder.put(name, 1, bytes);
const worker = await WorkerProgram.ready([
  `--model_repository=${folder.path}`,
  `--group=main:${folder.at('main.sock')}:detector,tables,extractor,recogniser-lite`,
  `--group=text:${folder.at('text.sock')}:recogniser`,
  '--enable_model_warmup=false',
]);
t.teardown(() => worker.stop());

const via = (socket: string) => `unix:${folder.at(socket)}`;
const model = (name: string, socket: string, more: object = {}) => ({
  name,
  split: [{ model: `${name}@1 via ${via(socket)}` }],
  ...more,
});
const INFER = { protocol: 'open-inference' };
const proxy = await ProxyProgram.start(t, {
  ready: false,
  env: { UNDERSTUDY_CONCURRENCY: '1' },
  document: {
    models: [
      model('detector', 'main.sock'),
      model('recogniser', 'text.sock', {
        fallback: [{ model: `recogniser-lite@1 via ${via('main.sock')}` }],
        breaker: { open: '50ms', maxOpen: '100ms' },
      }),
      model('tables', 'main.sock'),
      model('extractor', 'main.sock'),
    ],
    pipelines: [documentPipeline({ recognise: INFER, table: INFER })],
  },
});
const caller = GrpcCaller.to(t, proxy.address);
const client = new TfsClient(proxy.address);
t.teardown(() => client.close());

const PIXELS = [1, 2, 3, 4, 5, 6, 7, 8];

/** What one call was answered: the amounts, and the fields that say who answered. */
interface Told {
  readonly amount: readonly number[];
  readonly text: readonly number[];
  readonly fields: Readonly<Record<string, unknown>>;
}

function served(headers: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const own = Object.entries(headers).filter(([name]) => name.startsWith('x-understudy-'));
  return Object.fromEntries(own.map(([name, value]) => [name.slice(13), value]));
}

function toldOf(answer: Answer, lists: (body: Buffer) => { amount: number[]; text: number[] }): Told {
  if (answer.status !== 0) throw new Error(`${answer.status} ${answer.message} ${JSON.stringify(answer.served)}`);
  return { ...lists(answer.body.subarray(5)), fields: answer.served };
}

const floatsOf = (bytes: Buffer) => Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));

function valuesOf({ float_val: list, tensor_content: content }: { float_val: number[]; tensor_content: Buffer }) {
  return list.length > 0 ? list : floatsOf(content);
}

async function rest(path: string, body: object): Promise<{ json: Record<string, never>; fields: Told['fields'] }> {
  const answer = await request(`http://${proxy.address}${path}`, { method: 'POST', body: JSON.stringify(body) });
  const text = await answer.body.text();
  if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${text} ${JSON.stringify(answer.headers)}`);
  return { json: JSON.parse(text), fields: served(answer.headers) };
}

const rows = [PIXELS.slice(0, 4), PIXELS.slice(4)];

/** The same question in every protocol. */
const ASK: Readonly<Record<string, () => Promise<Told>>> = {
  'TFS gRPC': async () => {
    const message = { model_spec: modelSpec('document'), inputs: { image: floats([2, 4], PIXELS) } };
    const answer = await caller.call(framed(encodeMessage('tensorflow.serving.PredictRequest', message)));
    return toldOf(answer, (body) => {
      const { outputs } = decodeMessage('tensorflow.serving.PredictResponse', body);
      return { amount: valuesOf(outputs.amount), text: valuesOf(outputs.text) };
    });
  },
  'TFS REST rows': async () => {
    const { json, fields } = await rest('/v1/models/document:predict', { instances: rows });
    const predictions = json['predictions'] as { amount: number[]; text: number[] }[];
    return { amount: predictions.flatMap((p) => p.amount), text: predictions.flatMap((p) => p.text), fields };
  },
  'TFS REST columns': async () => {
    const { json, fields } = await rest('/v1/models/document/versions/3:predict', { inputs: { image: rows } });
    const { amount, text } = json['outputs'] as { amount: number[][]; text: number[][] };
    return { amount: amount.flat(), text: text.flat(), fields };
  },
  'OIP gRPC typed': async () => {
    const image = { name: 'image', datatype: 'FP32', shape: [2, 4], contents: { fp32_contents: PIXELS } };
    const body = framed(encodeMessage('inference.ModelInferRequest', { model_name: 'document', inputs: [image] }));
    const answer = await caller.call(body, { ':path': '/inference.GRPCInferenceService/ModelInfer' });
    return toldOf(answer, (bytes) => {
      const { outputs } = decodeMessage('inference.ModelInferResponse', bytes);
      return { amount: outputs[0].contents.fp32_contents, text: outputs[1].contents.fp32_contents };
    });
  },
  'OIP gRPC raw': async () => {
    const image = { name: 'image', datatype: 'FP32', shape: [2, 4] };
    const raw = Buffer.from(Float32Array.from(PIXELS).buffer);
    const message = { model_name: 'document', model_version: '3', inputs: [image], raw_input_contents: [raw] };
    const body = framed(encodeMessage('inference.ModelInferRequest', message));
    const answer = await caller.call(body, { ':path': '/inference.GRPCInferenceService/ModelInfer' });
    return toldOf(answer, (bytes) => {
      const {
        raw_output_contents: [amount, text],
      } = decodeMessage('inference.ModelInferResponse', bytes);
      return { amount: floatsOf(amount), text: floatsOf(text) };
    });
  },
  'OIP REST': async () => {
    const image = { name: 'image', datatype: 'FP32', shape: [2, 4], data: PIXELS };
    const { json, fields } = await rest('/v2/models/document/infer', { id: 'seven', inputs: [image] });
    const [amount, text] = json['outputs'] as { data: number[] }[];
    return { amount: amount!.data, text: text!.data, fields };
  },
};

async function inEveryProtocol(test: Test, light: boolean, fields: object): Promise<void> {
  for (const [protocol, ask] of Object.entries(ASK)) {
    const told = await ask();
    test.strictSame(told.amount, amountOf(PIXELS, light), protocol);
    test.strictSame(
      told.text,
      PIXELS.map((x) => 6 * x + (light ? 0.5 : 0)),
      protocol,
    );
    test.match(told.fields, fields, protocol);
    if (!light) test.notHas(told.fields, { degraded: 'recognise' }, protocol);
  }
}

t.test('undisturbed, every step is answered by its primary, in every protocol', async (test) => {
  await inEveryProtocol(test, false, {
    'served-by': 'document',
    'model-version': '3',
    steps: 'detect=detector@1, recognise=recogniser@1, table=tables@1, extract=extractor@1',
  });
});

const runs = (step: string, outcome: string) =>
  proxy
    .metrics()
    .then((metrics) => metrics.sum('understudy_pipeline_step_runs_total', { pipeline: 'document', step, outcome }));

t.test(
  "kill -9 of the recogniser's process: its step alone is degraded, nobody notices, and it returns",
  async (test) => {
    const pid = worker.pid('text');
    process.kill(pid, 'SIGKILL');
    await inEveryProtocol(test, true, {
      degraded: 'recognise',
      steps: /^detect=detector@1, recognise=recogniser-lite@1;\w+, table=tables@1, extract=extractor@1$/,
    });
    const whole = Object.keys(ASK).length;
    test.equal(await runs('recognise', 'fallback'), whole);
    for (const step of ['detect', 'table', 'extract']) test.equal(await runs(step, 'primary'), 2 * whole, step);
    await worker.until(() => {
      const last = worker.changes('text').at(-1)!;
      return last.to === 'READY' && last.pid !== pid;
    }, 'the replacement');
    const end = performance.now() + 20_000;
    let told = await ASK['TFS gRPC']!();
    while (told.fields['degraded'] !== undefined && performance.now() < end) told = await ASK['TFS gRPC']!();
    await inEveryProtocol(test, false, { steps: /recognise=recogniser@1, / });
    const { pipelines } = (await (await fetch(`${proxy.adminUrl}/models`)).json()) as { pipelines: object[] };
    test.match(pipelines, [{ name: 'document', version: '3', inFlight: 0, requests: { failed: 0 } }]);
    const waits = (name: string, ...waitsFor: string[]) => ({ name, waitsFor, runs: { failed: 0 } });
    test.match(pipelines[0], {
      steps: [
        waits('detect'),
        waits('recognise', 'detect'),
        waits('table', 'detect'),
        waits('extract', 'recognise', 'table'),
      ],
    });
    const metrics = await proxy.metrics();
    test.equal(metrics.sum('understudy_pipeline_requests_total', { outcome: 'failed' }), 0);
    test.equal(metrics.sum('understudy_pipeline_in_flight_requests'), 0);
    test.equal(metrics.sum('understudy_pipeline_held_bytes'), 0);
  },
);
