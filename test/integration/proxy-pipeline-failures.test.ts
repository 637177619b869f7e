/** Steps of a pipeline that fail: what the caller is told, in every protocol, and what answers in their place. */
import t from 'tap';
import { INFER, openPipelineLab, outputsOf } from '../support/pipeline-lab.ts';
import { encodeMessage } from '../support/proto-codecs.ts';
import { framed } from '../support/scripted-upstream.ts';

const { caller, second, ask, post } = await openPipelineLab(t);

t.test(
  'a step that fails with no one to replace it fails the request, and is named, in every protocol',
  async (test) => {
    second.script = (call) => call.failInHead(14, 'gone %C3%BCber', { 'x-understudy-reason': 'batch_queue_full' });
    const answer = await ask('chain');
    test.match(answer, { status: 14, served: { step: 'two', reason: 'batch_queue_full', steps: 'one=first@1' } });
    test.equal(decodeURIComponent(answer.message), 'step two: gone über');
    const rest = await post('/v1/models/chain:predict', { instances: [[1, 2]] });
    test.match(rest, { status: 503, headers: { 'x-understudy-step': 'two' } });
    test.same(JSON.parse(rest.text), { error: 'step two: gone über' });
    const image = { name: 'x', datatype: 'FP32', shape: [1, 2] };
    const infer = await post('/v2/models/chain/infer', { inputs: [{ ...image, data: [1, 2] }] });
    test.match(infer, {
      status: 503,
      headers: { 'x-understudy-step': 'two' },
      text: '{"error":"step two: gone über"}',
    });
    const typed = { model_name: 'chain', inputs: [{ ...image, contents: { fp32_contents: [1, 2] } }] };
    const oip = await caller.call(framed(encodeMessage('inference.ModelInferRequest', typed)), INFER);
    test.match(oip, { status: 14, served: { step: 'two' } });
  },
);

t.test(
  "what says that a model is not there says nothing about the pipeline; a caller's mistake stays one",
  async (test) => {
    for (const [status, told] of [
      [5, 14],
      [12, 13],
      [3, 3],
      [8, 8],
    ] as const) {
      second.script = (call) => call.failInTrailers(status, 'x');
      test.match(await ask('chain'), { status: told, served: { step: 'two', reason: 'upstream_status' } });
    }
  },
);

t.test('default outputs follow the batch, for faults of the server only', async (test) => {
  second.script = (call) => call.failInHead(14);
  const answer = await ask('padded', {}, [1, 2, 3, 4, 5, 6]);
  test.same(outputsOf(answer), { y: [7, 8, 7, 8, 7, 8], half: [2, 3, 4, 5, 6, 7] });
  test.match(answer.served, { degraded: 'two', steps: 'one=first@1, two=default;upstream_status' });
  second.script = (call) => call.failInHead(3, 'bad');
  test.match(await ask('padded'), { status: 3, served: { step: 'two' } });
  const rows = await post('/v1/models/padded:predict', { instances: [[1, 2]] });
  test.match(rows, { status: 400 });
});

t.test('a step may be answered by a rule, or by a model whose answers are made to fit', async (test) => {
  second.script = (call) => call.failInHead(14);
  const ruled = await ask('ruled-chain', {}, [1, 2, 3, 4]);
  test.match(ruled.served, { degraded: 'two', steps: /^one=first@1, two=@rule\/ruled;status$/ });
  test.same(outputsOf(ruled), { y: [4, 8], half: [2, 3, 4, 5] });
  const mapped = await ask('mapped-chain', {}, [1, 2]);
  test.match(mapped.served, { degraded: 'two', steps: 'one=first@1, two=lite@1;status' });
  test.same(outputsOf(mapped), { y: [3, 4], half: [2, 3] });
});
