/** Servers that answer the matrix's question, n + `plus`, in every protocol: scripts for upstreams of both kinds. */
import { type StreamRequest, streams } from './infer-stream.ts';
import { decodeMessage, encodeMessage } from './proto-codecs.ts';
import type { RestScript } from './rest-upstream.ts';
import type { UpstreamCall } from './scripted-upstream.ts';

/** How an answer differs from what is declared: one dimension `[1]`, single precision. */
export interface Form {
  readonly dims?: readonly number[];
  readonly double?: boolean;
}

export function unaryAnswer(
  call: UpstreamCall,
  body: Buffer,
  plus: number,
  { dims = [1], double = false }: Form,
): Buffer {
  if (String(call.headers[':path']).endsWith('/Predict')) {
    const asked = decodeMessage('tensorflow.serving.PredictRequest', body.subarray(5));
    const value = Number(asked.inputs.n.int64_val[0]) + plus;
    const tensor_shape = { dim: dims.map((size) => ({ size })) };
    const y = double ? { dtype: 2, tensor_shape, double_val: [value] } : { dtype: 1, tensor_shape, float_val: [value] };
    return encodeMessage('tensorflow.serving.PredictResponse', { outputs: { y } });
  }
  const asked = decodeMessage('inference.ModelInferRequest', body.subarray(5));
  return encodeMessage('inference.ModelInferResponse', inferAnswer(asked, plus, { dims, double }));
}

function inferAnswer(
  { id, inputs }: { id: string; inputs: { contents: { int64_contents: string[] } }[] },
  plus: number,
  { dims = [1], double = false }: Form,
) {
  const value = Number(inputs[0]!.contents.int64_contents[0]) + plus;
  const contents = double ? { fp64_contents: [value] } : { fp32_contents: [value] };
  return { id, outputs: [{ name: 'y', datatype: double ? 'FP64' : 'FP32', shape: [...dims], contents }] };
}

export const isStream = (call: UpstreamCall): boolean => String(call.headers[':path']).endsWith('/ModelStreamInfer');

export const grpcAnswers =
  (plus: number, onMessage: (request: StreamRequest) => Promise<void> | void = () => undefined, form: Form = {}) =>
  async (call: UpstreamCall): Promise<void> => {
    if (isStream(call)) {
      streams('', async (message) => {
        await onMessage(message);
        message.answer([], { infer_response: inferAnswer(message.request, plus, form) });
      })(call);
      return;
    }
    const body = await call.body;
    if (call.ended) call.answer(unaryAnswer(call, body, plus, form));
  };

export const restAnswers =
  (plus: number, { dims = [1], double = false }: Form = {}): RestScript =>
  ({ path, body }, response) => {
    const asked = JSON.parse(String(body));
    response.setHeader('content-type', 'application/json');
    const value = path.startsWith('/v1/') ? asked.inputs.n[0] + plus : asked.inputs[0].data[0] + plus;
    // As servers write it: NaN is no JSON.
    const text = Number.isNaN(value) ? 'NaN' : String(value);
    const datatype = double ? 'FP64' : 'FP32';
    const open = `{"outputs":[{"name":"y","datatype":"${datatype}","shape":[${dims}],"data":[${text}]}]}`;
    // Text knows no precision: what is no number stands for another type.
    const column = dims.reduce((inner) => `[${inner}]`, double ? `"${text}"` : text);
    response.end(path.startsWith('/v1/') ? `{"outputs":${column}}` : open);
  };
