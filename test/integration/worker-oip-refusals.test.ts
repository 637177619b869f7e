/** Requests of the Open Inference Protocol that are refused, in its words and with its codes. */
import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { fp32, jsonInput, openOipFront, two } from '../support/oip-front.ts';

const { grpc, rest } = await openOipFront(t);

/** Both transports refuse in the same words. */
async function refused(
  t: Test,
  model: string,
  inputs: { grpc: object; json: object },
  code: number,
  httpStatus: number,
  text: string,
  more: object = {},
): Promise<void> {
  await t.rejects(grpc('ModelInfer', { model_name: model, ...inputs.grpc, ...more }), { code, details: text }, text);
  const reply = await rest('POST', `/v2/models/${model}/infer`, { ...inputs.json, ...more });
  t.same([reply.status, reply.json()], [httpStatus, { error: text }]);
}

t.test('refusals have the words and codes of the protocol over both transports', async (t) => {
  const invalid = status.INVALID_ARGUMENT;
  const both = (inputs: [string, number[], number[]][]) => ({
    grpc: { inputs: inputs.map(([name, shape, values]) => fp32(name, shape, values)) },
    json: { inputs: inputs.map(([name, shape, values]) => jsonInput(name, shape, values)) },
  });
  const good = both([['x', [1, 2], two]]);
  await refused(t, 'nope', good, invalid, 400, "Request for unknown model: 'nope' is not found");
  await refused(
    t,
    'sum',
    both([['a', [1, 2], two]]),
    invalid,
    400,
    "[request id: <id_unknown>] expected 2 inputs but got 1 inputs for model 'sum'. Got input(s) ['a'], " +
      "but missing required input(s) ['b']. Please provide all required input(s).",
  );
  await refused(
    t,
    'sum',
    both([['a', [1, 2], two]]),
    invalid,
    400,
    "[request id: X] expected 2 inputs but got 1 inputs for model 'sum'. Got input(s) ['a'], " +
      "but missing required input(s) ['b']. Please provide all required input(s).",
    { id: 'X' },
  );
  await refused(
    t,
    'typed',
    both([['a', [1, 2], two]]),
    invalid,
    400,
    "inference input 'a' data-type is 'FP32', but model 'typed' expects 'INT32'",
  );
  await refused(
    t,
    'scale',
    both([['x', [1, 3], [1, 2, 3]]]),
    invalid,
    400,
    "unexpected shape for input 'x' for model 'scale'. Expected [-1,2], got [1,3]. ",
  );
  await refused(
    t,
    'scale',
    both([['x', [9, 2], Array(18).fill(1)]]),
    invalid,
    400,
    "inference request batch-size must be <= 8 for 'scale'",
  );
  await refused(
    t,
    'scale',
    both([['z', [1, 2], two]]),
    invalid,
    400,
    "unexpected inference input 'z' for model 'scale'",
  );
  await refused(t, 'scale', good, invalid, 400, "unexpected inference output 'q' for model 'scale'", {
    outputs: [{ name: 'q' }],
  });
  const missing = "Request for unknown model: 'scale' version 7 is not found";
  await t.rejects(grpc('ModelInfer', { model_name: 'scale', model_version: '7', ...good.grpc }), {
    code: status.NOT_FOUND,
    details: missing,
  });
  const reply = await rest('POST', '/v2/models/scale/versions/7/infer', good.json);
  t.same([reply.status, reply.json()], [404, { error: missing }]);
  await t.rejects(
    grpc('ModelInfer', {
      model_name: 'scale',
      inputs: [fp32('x', [1, 2], two)],
      raw_input_contents: [Buffer.alloc(8)],
    }),
    {
      code: invalid,
      details: /^contents field must not be specified when using raw_input_contents for 'x'/,
    },
  );
  await t.rejects(
    grpc('ModelInfer', {
      model_name: 'scale',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2] }],
      raw_input_contents: [Buffer.alloc(7)],
    }),
    {
      code: invalid,
      details: "input byte size mismatch for input 'x' for model 'scale'. Expected 8, got 7",
    },
  );
});

t.test('malformed JSON, data that does not fill its shape and wrong sizes are told', async (t) => {
  const error = async (body: object | string, headers = {}): Promise<string> => {
    const reply = await rest('POST', '/v2/models/scale/infer', body, headers);
    t.equal(reply.status, 400);
    return reply.json().error;
  };
  t.equal(await error('{"inputs":['), 'failed to parse the request JSON buffer: Invalid value. at 11');
  t.match(await error('{}'), /^Unable to parse 'inputs'/);
  t.equal(
    await error({ inputs: [jsonInput('x', [1, 2], [1, 2, 3])] }),
    "Unable to parse 'data': Shape does not match true shape of 'data' field",
  );
  t.match(await error({ inputs: [jsonInput('x', [1, 2], ['a', 2])] }), /^Unable to parse 'data'/);
  t.match(await error({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2] }] }), /But no field is set$/);
  t.match(
    await error({ inputs: [{ ...jsonInput('x', [1, 2], two), parameters: { binary_data_size: 8 } }] }),
    /But set 'data' 'binary_data_size'$/,
  );
  t.equal(await error({ inputs: [jsonInput('x', [1, -2], two)] }), "input 'x' has a negative dimension");
  t.match(
    await error({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } }] }),
    /^must specify valid 'Infer-Header-Content-Length'/,
  );
  t.match(await error('{}', { 'inference-header-content-length': '9' }), /got '9' for a body of 2 bytes$/);
});

t.test('a tensor in shared memory is refused, and never looked for in the message', async (t) => {
  const region = { shared_memory_region: 'r', shared_memory_byte_size: 8 };
  const details = 'shared memory regions are not supported';
  const answer = await rest('POST', '/v2/models/scale/infer', {
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], parameters: region }],
  });
  t.same([answer.status, answer.json().error], [400, details]);
  const parameters = { shared_memory_region: { string_param: 'r' } };
  const x = fp32('x', [1, 2], two);
  const refusal = { code: status.INVALID_ARGUMENT, details };
  const wanted = { model_name: 'scale', inputs: [x], outputs: [{ name: 'y', parameters }] };
  await t.rejects(grpc('ModelInfer', wanted), refusal);
  await t.rejects(grpc('ModelInfer', { model_name: 'scale', inputs: [{ ...x, parameters }] }), refusal);
});
