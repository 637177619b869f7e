/** h2load against the worker: every answer counted and measured, in both execution places. */
import { execFile, execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import t from 'tap';
import { ModelFolder, scaleModel } from '../support/model-folder.ts';
import { encodeMessage } from '../support/proto-codecs.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';
import { WorkerProgram } from '../support/worker-program.ts';

const PREDICT = 'tensorflow.serving.PredictionService/Predict';
const REQUESTS = 20_000;

function hasH2load(): boolean {
  try {
    execFileSync('h2load', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const skip = hasH2load() ? false : 'h2load is not installed';

for (const place of ['front', 'thread']) {
  t.test(`${REQUESTS} calls over 8 connections are all answered from the ${place}`, { skip }, async (t) => {
    const folder = new ModelFolder();
    folder.put('scale', 1, scaleModel(2));
    const worker = await WorkerProgram.ready([
      `--model=scale:${folder.at('scale')}`,
      '--port=0',
      '--host=127.0.0.1',
      `--batching_place=${place}`,
    ]);
    const address = worker.address('default');
    t.teardown(async () => {
      await worker.stop();
      folder.remove();
    });
    const request = { model_spec: modelSpec('scale'), inputs: { x: floats([1, 2], [5, 6]) } };
    const message = encodeMessage('tensorflow.serving.PredictRequest', request);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    writeFileSync(folder.at('request.bin'), Buffer.concat([prefix, message]));
    const client = new TfsClient(address);
    const answer = await client.predict(request);
    client.close();
    t.same(answer.outputs.y.float_val, [10, 12]);

    const load = async (requests: number, ...more: string[]): Promise<string> => {
      const body = ['-d', folder.at('request.bin'), '-H', 'content-type: application/grpc', '-H', 'te: trailers'];
      const args = ['-n', String(requests), ...more, ...body, `http://${address}/${PREDICT}`];
      return (await promisify(execFile)('h2load', args)).stdout;
    };
    const dataBytes = (output: string): number => Number(/\((\d+)\) data/.exec(output)?.[1]);
    const answerBytes = dataBytes(await load(1, '-c', '1'));
    t.ok(answerBytes > 5, `an answer has ${answerBytes} bytes`);
    const output = await load(REQUESTS, '-c', '8', '-m', '32');
    t.match(output, `${REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout`);
    t.equal(dataBytes(output), REQUESTS * answerBytes, 'no answer is a refusal');
  });
}
