/**
 * A smaller model in place of `risk`: it has `probabilities` [rows, 2] of doubles where `risk` has `scores` of floats,
 * no label, and a `debug` that is nobody's business.
 */
import { gzipSync } from 'node:zlib';
import { STREAM_INFER, streams } from './infer-stream.ts';
import { encodeMessage } from './proto-codecs.ts';
import { framed, type Script } from './scripted-upstream.ts';

export const MODEL_INFER = '/inference.GRPCInferenceService/ModelInfer';
/** Rows of every answer. */
export const ROWS = 2;
const PROBABILITIES = [0.1, 0.9, 0.75, 0.25];
/** What the primary would say to it, single precision. */
export const SCORES = PROBABILITIES.map(Math.fround);

/** Sizes of a tensor in a Predict. */
export const dims = (...sizes: number[]) => ({ tensor_shape: { dim: sizes.map((size) => ({ size })) } });

/** What `lite` says to whichever gRPC call it is. */
export const lite: Script = async (call) => {
  const path = String(call.headers[':path']);
  if (path === STREAM_INFER) {
    streams('lite', (message) => {
      const { id } = message.request;
      call.stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      call.stream.write(framed(encodeMessage('inference.ModelStreamInferResponse', { infer_response: liteInfer(id) })));
    })(call);
    return;
  }
  await call.body;
  if (path === MODEL_INFER) call.answer(encodeMessage('inference.ModelInferResponse', liteInfer('q')));
  else call.answer(encodeMessage('tensorflow.serving.PredictResponse', LITE_PREDICT));
};

const LITE_PREDICT = {
  model_spec: { name: 'lite', version: { value: 7 }, signature_name: 'serving_default' },
  outputs: {
    probabilities: { dtype: 2, ...dims(ROWS, 2), double_val: PROBABILITIES },
    debug: { dtype: 7, ...dims(1), string_val: [Buffer.from('secret')] },
  },
};

function liteInfer(id: string): object {
  return {
    model_name: 'lite',
    model_version: '7',
    id,
    outputs: [{ name: 'probabilities', datatype: 'FP64', shape: [ROWS, 2] }],
    raw_output_contents: [Buffer.from(Float64Array.from(PROBABILITIES).buffer)],
  };
}

/** The same over REST; Predict compressed, infer with binary tensors. */
export function liteRest(
  call: { readonly path: string; readonly body: Buffer },
  response: import('node:http').ServerResponse,
): void {
  if (call.path.startsWith('/v2/')) {
    const raw = Buffer.from(Float64Array.from(PROBABILITIES).buffer);
    const outputs = [
      { name: 'probabilities', datatype: 'FP64', shape: [ROWS, 2], parameters: { binary_data_size: raw.length } },
    ];
    const json = Buffer.from(JSON.stringify({ model_name: 'lite', model_version: '7', outputs }));
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': json.length,
    });
    response.end(Buffer.concat([json, raw]));
    return;
  }
  const isRow = call.body.includes('instances');
  const rows = [PROBABILITIES.slice(0, 2), PROBABILITIES.slice(2)];
  const json = isRow
    ? { predictions: rows.map((row) => ({ probabilities: row, debug: 'secret' })) }
    : { outputs: { probabilities: rows, debug: ['secret', 'secret'] } };
  response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' });
  response.end(gzipSync(JSON.stringify(json)));
}
