/** REST classify and regress on a model with a signature file, served by the worker as a program. */
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { request } from 'undici';
import { ModelFolder } from '../support/model-folder.ts';
import { OnnxModel } from '../support/onnx-writer.ts';
import { WorkerProgram } from '../support/worker-program.ts';

const folder = new ModelFolder();
const heads = new OnnxModel('heads')
  .input('x', 'float32', ['batch', 2])
  .output('y', 'float32', ['batch', 2])
  .output('total', 'float32', ['batch', 1])
  .initializer('one', 'int64', [1], [1])
  .node('Add', ['x', 'x'], ['y'])
  .node('ReduceSum', ['y', 'one'], ['total'], { keepdims: 1 })
  .build();
folder.put('m', 1, heads);
writeFileSync(
  folder.at('m', '1', 'signatures.yaml'),
  `
signatures:
  flowers:
    method: classify
    outputs: { scores: y }
    features: { x: [length, width] }
    labels: [rose, "lily \\"white\\""]
  price:
    method: regress
    outputs: { outputs: total }
    features: { x: [length, width] }
`,
);
const worker = await WorkerProgram.ready([`--model_repository=${folder.path}`, '--port=0', '--host=127.0.0.1']);
const url = `http://${worker.address('default')}`;
t.teardown(async () => {
  await worker.stop();
  folder.remove();
});

async function post(verb: string, body: string): Promise<{ status: number; text: string }> {
  const reply = await request(`${url}/v1/models/m:${verb}`, { method: 'POST', body });
  return { status: reply.statusCode, text: await reply.body.text() };
}

t.test('classify answers each example with its labels and scores', async (t) => {
  const { text } = await post(
    'classify',
    '{"signature_name":"flowers","examples":[{"length":1.0,"width":[2.5]},{"length":3,"width":4}]}',
  );
  t.equal(
    text,
    '{\n    "results": [[["rose", 2.0], ["lily \\"white\\"", 5.0]], [["rose", 6.0], ["lily \\"white\\"", 8.0]]\n    ]\n}',
  );
});

t.test('queue and compute time come with the answer when asked for', async (t) => {
  const body = '{"signature_name":"flowers","examples":[{"length":1.0,"width":2.5}]}';
  const { headers } = await request(`${url}/v1/models/m:classify`, {
    method: 'POST',
    body,
    headers: { 'x-understudy-timing': '1' },
  });
  t.match(headers['x-understudy-queue-us'], /^\d+$/);
  t.match(headers['x-understudy-compute-us'], /^\d+$/);
});

t.test('regress answers each example with its value, and the context fills what examples lack', async (t) => {
  const body =
    '{"signature_name":"price","context":{"width":10.0},"examples":[{"length":1.0},{"length":1.0,"width":2.0}]}';
  t.equal((await post('regress', body)).text, '{\n    "results": [22.0, 6.0]\n}');
});

t.test('mistakes in examples have the texts of TensorFlow Serving', async (t) => {
  const error = async (body: string): Promise<string> => {
    const { status, text } = await post('classify', body);
    t.equal(status, 400, text);
    return JSON.parse(text).error;
  };
  const example = (value: string): string =>
    `{"signature_name":"flowers","examples":[{"length":${value},"width":1.0}]}`;
  t.match(await error('{"signature_name":"flowers"}'), /key 'examples' is expected and was not found$/);
  t.match(await error('{"examples":{}}'), /Expecting 'examples' value to be an list\/array$/);
  t.match(await error('{"examples":[]}'), /'examples' value is an empty array$/);
  t.equal(await error('{"examples":[1]}'), 'Example must be JSON object but got JSON Number');
  t.equal(await error(example('null')), 'Feature: length has element with unexpected JSON type: Null');
  t.equal(await error(example('[[1]]')), 'Feature: length has element with unexpected JSON type: Array');
  t.equal(await error(example('[1.0, 2]')), 'Unexpected element type in feature: length expecting type: float');
  t.equal(await error(example('[true, "a"]')), 'Unexpected element type in feature: length expecting type: int64');
  t.equal(await error(example('18446744073709551615')), 'Feature: length has uint64 element. Only int64 is supported.');
  t.equal(await error('{"signature_name":"nope","examples":[{}]}'), 'No signature was found with the name: nope');
});
