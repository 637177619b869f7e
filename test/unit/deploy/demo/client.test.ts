/** The demo client against a plain grpc-js server that answers, refuses or hangs as told. */
import {
  loadPackageDefinition,
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import t, { type Test } from 'tap';
import { EMPLOYMENT } from '../../../../deploy/demo/applicants.ts';
import { DemoClient } from '../../../../deploy/demo/client.ts';
import type { CallOutcome } from '../../../../deploy/demo/tally.ts';
import { PROTO_DIR, ProtoFile } from '../../../../proto/files.ts';

interface SeenRequest {
  readonly model_spec: { readonly name: string };
  readonly inputs: {
    readonly features: { readonly tensor_content: Buffer };
    readonly employment: { readonly int64_val: readonly string[] };
  };
}
type Call = ServerUnaryCall<SeenRequest, unknown>;
type Handler = (call: Call, answer: sendUnaryData<unknown>) => void;

const SOUND = { outputs: { probabilities: { dtype: 'DT_FLOAT', float_val: [0.75, 0.25] } } };

async function startServer(t: Test, handler: Handler): Promise<string> {
  const definition = loadSync(ProtoFile.predictionService, { includeDirs: [PROTO_DIR], keepCase: true, longs: String });
  const root = loadPackageDefinition(definition) as unknown as {
    tensorflow: { serving: { PredictionService: { service: ServiceDefinition } } };
  };
  const server = new Server();
  server.addService(root.tensorflow.serving.PredictionService.service, { Predict: handler });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  t.teardown(() => server.forceShutdown());
  return `127.0.0.1:${port}`;
}

function createClient(address: string, onOutcome: (outcome: CallOutcome) => void = () => {}, deadlineMs = 2000) {
  return new DemoClient({ address, model: 'credit-risk', ratePerSecond: 400, seed: 1, deadlineMs, onOutcome });
}

t.test('calls go out at the rate, each with an applicant and its cohort', async (t) => {
  const seen: { cohort: string; employment: number; columns: number; model: string }[] = [];
  const address = await startServer(t, (call, answer) => {
    const { model_spec, inputs } = call.request;
    seen.push({
      cohort: String(call.metadata.get('x-cohort')[0]),
      employment: Number(inputs.employment.int64_val[0]),
      columns: inputs.features.tensor_content.length / 4,
      model: model_spec.name,
    });
    answer(null, { ...SOUND, model_spec: { name: 'credit-risk', version: { value: '1' } } });
  });
  const outcomes: CallOutcome[] = [];
  const client = createClient(address, (outcome) => outcomes.push(outcome));
  await client.ask();
  const startedAtMs = performance.now();
  client.start();
  await new Promise((resolve) => setTimeout(resolve, 150));
  await client.stop();
  const due = ((performance.now() - startedAtMs) / 1000) * 400;
  t.ok(outcomes.length > 10 && outcomes.length <= due + 1, `${outcomes.length} calls, ${due.toFixed(0)} due`);
  t.equal(outcomes.length, seen.length - 1, 'every call sent was reported once');
  t.ok(outcomes.every(({ answeredBy, failure }) => answeredBy === 'credit-risk@1' && failure === ''));
  t.ok(outcomes.every(({ sentAtMs, endedAtMs }) => endedAtMs > sentAtMs));
  t.ok(seen.every(({ cohort, employment }) => cohort === EMPLOYMENT[employment]));
  t.ok(seen.every(({ columns, model }) => columns === 12 && model === 'credit-risk'));
});

t.test('who answered is the word of the sidecar before that of the answer', async (t) => {
  const address = await startServer(t, (call, answer) => {
    const headers = new Metadata();
    headers.set('x-understudy-served-by', 'credit-risk-lite');
    headers.set('x-understudy-model-version', '1');
    call.sendMetadata(headers);
    answer(null, { ...SOUND, model_spec: { name: 'credit-risk', version: { value: '7' } } });
  });
  const client = createClient(address);
  t.equal((await client.ask()).answeredBy, 'credit-risk-lite@1');
  await client.stop();
});

t.test('an answerer without a version is shown by its name alone', async (t) => {
  const address = await startServer(t, (call, answer) => {
    const headers = new Metadata();
    headers.set('x-understudy-served-by', 'credit-risk-lite');
    call.sendMetadata(headers);
    answer(null, { ...SOUND, model_spec: { name: 'credit-risk' } });
  });
  const client = createClient(address);
  t.equal((await client.ask()).answeredBy, 'credit-risk-lite');
  await client.stop();
});

t.test('failures are told apart by status, and an answer that makes no sense is one', async (t) => {
  const handlers: Handler[] = [
    (_, answer) => answer({ code: status.UNAVAILABLE, details: 'gone' }),
    (_, answer) => answer(null, { outputs: { probabilities: { float_val: [0.75, Number.NaN] } } }),
    (_, answer) => answer(null, { outputs: {} }),
    () => {}, // Never answers.
  ];
  const address = await startServer(t, (call, answer) => handlers.shift()!(call, answer));
  const client = createClient(address, undefined, 2000);
  const failures: string[] = [];
  for (let i = 0; i < 4; i++) failures.push((await client.ask()).failure);
  t.same(failures, ['UNAVAILABLE', 'BAD_ANSWER', 'BAD_ANSWER', 'DEADLINE_EXCEEDED']);
  await client.stop();
});

t.test('a compact answer in tensor_content is sound too', async (t) => {
  const bytes = Buffer.alloc(8);
  bytes.writeFloatLE(0.5, 0);
  bytes.writeFloatLE(0.5, 4);
  const address = await startServer(t, (_, answer) =>
    answer(null, {
      outputs: { probabilities: { dtype: 'DT_FLOAT', tensor_content: bytes } },
      model_spec: { name: 'credit-risk', version: { value: '9223372036854775807' } },
    }),
  );
  const client = createClient(address);
  t.match(await client.ask(), { failure: '', answeredBy: 'credit-risk@9223372036854775807' });
  await client.stop();
});
