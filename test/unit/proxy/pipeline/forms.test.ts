import fc from 'fast-check';
import t from 'tap';
import { PREFIX_BYTES } from '../../../../proto/grpc/message-framing.ts';
import { dtypeFromOip } from '../../../../proto/tensor/dtype.ts';
import { PredictRequestView, parsePredictRequest } from '../../../../proto/tensor/predict-message.ts';
import { tensorKey } from '../../../../proto/tensor/tensor-writer.ts';
import { asCallFault, type CallForm } from '../../../../proxy/pipeline/call-form.ts';
import { InferForm } from '../../../../proxy/pipeline/infer-form.ts';
import { framedRequest, framedResponse, type PassedTensor } from '../../../../proxy/pipeline/passed-tensor.ts';
import { PipelinePlan } from '../../../../proxy/pipeline/plan.ts';
import { PredictForm } from '../../../../proxy/pipeline/predict-form.ts';
import { RestInferForm } from '../../../../proxy/pipeline/rest-infer-form.ts';
import { RestPredictForm } from '../../../../proxy/pipeline/rest-predict-form.ts';
import { stepOutputs, stepRequest } from '../../../../proxy/pipeline/step-wire.ts';
import { ANY_TYPES, type AnyTensor, anyTensor, MAX_RANK } from '../../../support/any-tensor.ts';
import { runs } from '../../../support/fuzz-runs.ts';
import { decodeMessage, encodeMessage } from '../../../support/proto-codecs.ts';
import { everyWay, held, type TensorTransport } from '../../../support/tensor-ways.ts';

/** A pipeline whose one step, called by ModelInfer, is asked by hand: what comes in as `x` goes out as `y`. */
function echo(type: string, rank: number): PipelinePlan {
  const dtype = dtypeFromOip(ANY_TYPES.find(([name]) => name === type)![2]);
  const shape = new Array<number>(rank).fill(-1);
  return new PipelinePlan({
    name: `${type}-${rank}`,
    version: '1',
    timeoutMs: 0,
    inputs: [{ name: 'x', dtype, shape }],
    steps: [
      {
        name: 'step',
        model: 'm',
        protocol: 'open-inference',
        inputs: [{ name: 'x', from: { step: -1, name: 'x' } }],
        outputs: ['y'],
        budgetFraction: 1,
        defaults: null,
        statsBase: 0,
      },
    ],
    outputs: [{ name: 'y', dtype, shape, from: { step: -1, name: 'x' } }],
    maxConcurrent: 1,
    maxBytes: 1_000_000,
    statsBase: 0,
  });
}

const plans = new Map<string, PipelinePlan>();
for (const [type] of ANY_TYPES)
  for (let rank = 0; rank <= MAX_RANK; rank++) plans.set(`${type}-${rank}`, echo(type, rank));
const planOf = (name: string): PipelinePlan => plans.get(name)!;

/** Reads with the form, hands the tensor through a step's request and answer, and writes with the form. */
function through(plan: PipelinePlan, form: CallForm, body: Buffer, start: number) {
  const { inputs } = form.read(body, start, body.length);
  const key = tensorKey('z');
  const sent = framedRequest(Buffer.alloc(0), [key], inputs);
  // An independent decoder sees a valid message, and its encoder says the same in its own words.
  const { z } = decodeMessage('tensorflow.serving.PredictRequest', sent.subarray(PREFIX_BYTES)).inputs;
  const again = encodeMessage('tensorflow.serving.PredictRequest', { inputs: { z } });
  const view = new PredictRequestView();
  parsePredictRequest(view, again, 0, again.length);
  const { dims, dtype } = inputs[0]!;
  const tensor = view.inputs.tensors[0]!;
  if (String(tensor.dims.slice(0, tensor.rank)) !== String(dims) || tensor.dtype !== dtype)
    throw new Error('another shape');
  return form.write(throughInfer(plan, inputs));
}

/** The tensor as a step called by ModelInfer is sent it, and as it comes back from one. */
function throughInfer({ steps: [step] }: PipelinePlan, inputs: readonly PassedTensor[]): readonly PassedTensor[] {
  const request = stepRequest(step!, inputs, 1_000_000);
  const sent = decodeMessage('inference.ModelInferRequest', request.subarray(PREFIX_BYTES));
  const answer = encodeMessage('inference.ModelInferResponse', {
    outputs: [{ ...sent.inputs[0], name: 'y' }],
    raw_output_contents: sent.raw_input_contents,
  });
  return outputsOf(stepOutputs(step!, answer, 0, answer.length));
}

function outputsOf(outputs: readonly PassedTensor[] | string): readonly PassedTensor[] {
  if (typeof outputs === 'string') throw new Error(outputs);
  return outputs;
}

const transport: TensorTransport = {
  modelOf: ({ type, dims }: AnyTensor) => `${type}-${dims.length}`,
  predict: async (message) => {
    const { name } = (message as { model_spec: { name: string } }).model_spec;
    const bytes = encodeMessage('tensorflow.serving.PredictRequest', message);
    const { body } = through(planOf(name), new PredictForm(planOf(name)), bytes, 0);
    return decodeMessage('tensorflow.serving.PredictResponse', body.subarray(PREFIX_BYTES));
  },
  infer: async (message) => {
    const { model_name: name } = message as { model_name: string };
    const plan = planOf(name);
    const form = new InferForm(plan);
    const { body: once } = through(plan, form, encodeMessage('inference.ModelInferRequest', message), 0);
    // What it answered, typed or raw, is what a step might have answered.
    const { body } = form.write(outputsOf(stepOutputs(plan.steps[0]!, once, PREFIX_BYTES, once.length)));
    return decodeMessage('inference.ModelInferResponse', body.subarray(PREFIX_BYTES));
  },
  post: async (path, body, headers = {}) => {
    const [, api, name] = /^\/(v[12])\/models\/([^/:]+)/.exec(path)!;
    const plan = planOf(name!);
    const form =
      api === 'v1'
        ? new RestPredictForm(plan, '', '')
        : new RestInferForm(plan, '', headers['inference-header-content-length']);
    const answer = through(plan, form, Buffer.from(body as string), 0);
    return { bytes: answer.body, headers: Object.fromEntries(answer.fields) };
  },
};

t.test('any tensor goes through every form and the steps, and is the same', async (test) => {
  await fc.assert(
    fc.asyncProperty(anyTensor, async (tensor) => {
      const expected = held(tensor);
      const ways = await everyWay(transport, tensor);
      for (const way of ways) if (way !== expected) throw new Error(JSON.stringify({ ways, expected }));
    }),
    { numRuns: runs(80) },
  );
  test.pass();
});

t.test('whatever comes in instead of a request is a fault of the caller, or is read', async () => {
  const plan = planOf('float32-2');
  const forms = [
    () => new PredictForm(plan),
    () => new InferForm(plan),
    () => new RestPredictForm(plan, '', ''),
    () => new RestInferForm(plan, '', undefined),
    () => new RestInferForm(plan, '', '9'),
  ];
  const x = { dtype: 1, tensor_shape: { dim: [{ size: 1 }, { size: 2 }] }, float_val: [1, 2] };
  const good = [
    encodeMessage('tensorflow.serving.PredictRequest', { model_spec: { name: 'float32-2' }, inputs: { x } }),
    Buffer.from('{"instances": [[1, 2], [3, 4]]}'),
    Buffer.from('{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}'),
  ];
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
    fc.tuple(fc.constantFrom(...good), fc.nat(), fc.nat(255)).map(([bytes, at, byte]) => {
      const broken = Buffer.from(bytes);
      broken[at % broken.length] = byte;
      return broken;
    }),
  );
  fc.assert(
    fc.property(fc.constantFrom(...forms), body, (make, bytes) => {
      const form = make();
      try {
        form.write(form.read(bytes, 0, bytes.length).inputs);
      } catch (error) {
        asCallFault(error);
      }
    }),
    { numRuns: runs(1000) },
  );
});

t.test('a few bytes that declare a huge tensor are refused where they would be written out', async (test) => {
  const x = { dtype: 1, tensor_shape: { dim: [{ size: 40_000 }, { size: 40_000 }] } };
  const bytes = encodeMessage('tensorflow.serving.PredictRequest', {
    model_spec: { name: 'float32-2' },
    inputs: { x },
  });
  const plan = planOf('float32-2');
  const { inputs } = new PredictForm(plan).read(bytes, 0, bytes.length);
  const rest = new RestPredictForm(plan, '', '');
  const infer = new InferForm(plan);
  const good = { name: 'x', datatype: 'FP32', shape: [1, 2], contents: { fp32_contents: [1, 2] } };
  const request = encodeMessage('inference.ModelInferRequest', { model_name: plan.config.name, inputs: [good] });
  infer.read(request, 0, request.length);
  for (const form of [rest, infer]) {
    test.throws(() => form.write(inputs), { message: 'output y has more than 1000000 bytes of elements' });
  }
});

t.test('tensors keep their bytes under another name', async (test) => {
  const plan = planOf('float32-2');
  const x = { dtype: 1, tensor_shape: { dim: [{ size: 1, name: 'rows' }, { size: 2 }] }, float_val: [1, 2] };
  const bytes = encodeMessage('tensorflow.serving.PredictRequest', {
    model_spec: { name: 'float32-2' },
    inputs: { x },
  });
  const { inputs } = new PredictForm(plan).read(bytes, 0, bytes.length);
  const framed = framedResponse(Buffer.alloc(0), [tensorKey('z')], inputs);
  const { z } = decodeMessage('tensorflow.serving.PredictResponse', framed.subarray(PREFIX_BYTES)).outputs;
  test.match(z, { dtype: 1, float_val: [1, 2], tensor_shape: { dim: [{ size: '1', name: 'rows' }, { size: '2' }] } });
});

t.test('an answer to ModelInfer that is malformed, lacks an output or has an unknown type is none', async (test) => {
  const step = planOf('float32-2').steps[0]!;
  const told = (answer: Buffer) => stepOutputs(step, answer, 0, answer.length);
  const y = { name: 'y', datatype: 'FP32', shape: [1, 2], contents: { fp32_contents: [1, 2] } };
  const answer = (outputs: object) => encodeMessage('inference.ModelInferResponse', { outputs });
  test.match(told(answer([y])), [{ dtype: 1, dims: [1, 2] }]);
  test.equal(told(answer([{ ...y, name: 'z' }])), 'the answer has no output y');
  test.equal(told(answer([{ ...y, datatype: 'FP8' }])), 'output y is of the unknown type FP8');
  test.match(told(answer([{ ...y, shape: [1, 3] }])), /^malformed answer: input byte size mismatch/);
  test.match(told(Buffer.from([0x2a, 0xff])), /^malformed answer/);
});
