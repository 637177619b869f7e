/**
 * Inference over REST: JSON, JSON with binary tensors behind it (`Inference-Header-Content-Length` says where they
 * begin), or nothing but the raw bytes of a model's only input (that header is 0).
 */
import { oipHttpStatusFor } from '../../../base/grpc-status.ts';
import { ByteSink } from '../../../proto/tensor/byte-sink.ts';
import { DataType, dtypeBytes, dtypeToOip } from '../../../proto/tensor/dtype.ts';
import type { JsonOutput } from '../../../proto/tensor/json-tensor-writer.ts';
import { OipError } from '../../../proto/tensor/oip-error.ts';
import { OipData, OipInferRequest, type OipInput } from '../../../proto/tensor/oip-infer-request.ts';
import { OipJsonReader } from '../../../proto/tensor/oip-json-request.ts';
import { flagParameter, type OipParameters } from '../../../proto/tensor/oip-parameters.ts';
import { putInferJson, putRaw, rawBytes } from '../../../proto/tensor/oip-response.ts';
import { EntryPoint } from '../../metrics/entry-points.ts';
import type { TensorSpec } from '../../session/signature.ts';
import type { WorkerError } from '../../worker-error.ts';
import { type HttpCall, JSON_TYPE } from '../rest/http-call.ts';
import { reasonFields } from '../rest/rest-failure.ts';
import { type TaskTiming, timingFields } from '../task-timing.ts';
import type { OipInference, OipReceiver } from './oip-inference.ts';
import { hasBatchAxis } from './oip-lookup.ts';

const JSON_LENGTH_HEADER = 'inference-header-content-length';
const BINARY_TYPE = 'application/octet-stream';
/** There is no JSON at all. */
const RAW_BODY = -1;

export class OipRestInfer {
  private readonly inference: OipInference;
  private readonly request = new OipInferRequest();
  private readonly reader = new OipJsonReader();

  constructor(inference: OipInference) {
    this.inference = inference;
  }

  /** @throws WorkerError, OipError, WireError */
  handle(call: HttpCall, name: string, version: string): void {
    const { request } = this;
    const { body, start, end } = call.request;
    request.reset();
    request.modelName = name;
    request.modelVersion = version;
    // The model first: whoever asks for one that is not there need not send well-formed tensors.
    const { signature } = this.inference.target(name, version);
    const jsonBytes = this.jsonBytes(call);
    let buf = body;
    if (jsonBytes === RAW_BODY) buf = this.useRawBody(call, signature.inputs, hasBatchAxis(signature));
    else this.reader.parse(request, body, start, start + jsonBytes, end);
    const options = { deadlineMs: call.deadlineMs, priority: call.priority, entry: EntryPoint.inferRest };
    call.cancellable = this.inference.infer(request, buf, options, new RestReceiver(call, request));
  }

  /** Bytes of JSON at the start of the body, or `RAW_BODY`. */
  private jsonBytes(call: HttpCall): number {
    const { headers, start, end } = call.request;
    const text = headers.get(JSON_LENGTH_HEADER);
    if (text === undefined) return end - start;
    const bytes = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(bytes <= end - start)) {
      throw new OipError(`Unable to parse ${JSON_LENGTH_HEADER}: got '${text}' for a body of ${end - start} bytes`);
    }
    return bytes === 0 ? RAW_BODY : bytes;
  }

  /** The body is the bytes of the one input; an open dimension is what the number of bytes makes it. */
  private useRawBody(call: HttpCall, inputs: readonly TensorSpec[], batched: boolean): Buffer {
    const { body, start, end } = call.request;
    const { request } = this;
    const spec = inputs[0];
    if (inputs.length !== 1 || spec === undefined) {
      throw new OipError(`Raw request must only have 1 input (found ${inputs.length}) to be deduced`);
    }
    const input = request.addInput();
    input.name = spec.name;
    input.dtype = spec.dtype;
    input.datatype = dtypeToOip(spec.dtype);
    input.data = OipData.raw;
    input.start = start;
    input.end = end;
    request.usesRaw = true;
    if (spec.dtype === DataType.STRING) return this.useRawString(body, input, spec);
    let open = -1;
    let elements = 1;
    const dims = spec.shape.map((dim, i) => (batched && i === 0 ? 1 : dim));
    for (let i = 0; i < dims.length; i++) {
      if (dims[i] >= 0) elements *= dims[i];
      else if (open < 0) open = i;
      else
        throw new OipError(
          `The shape of Raw input '${spec.name}' can not be deduced because there are more than one variable-sized dimension`,
        );
    }
    if (open >= 0) dims[open] = elements === 0 ? 0 : Math.floor((end - start) / dtypeBytes(spec.dtype) / elements);
    for (const dim of dims) input.addDimension(dim);
    return body;
  }

  /** One string, which the body is without a length in front. */
  private useRawString(body: Buffer, input: OipInput, spec: TensorSpec): Buffer {
    const length = input.end - input.start;
    const buf = Buffer.allocUnsafe(4 + length);
    buf.writeUInt32LE(length);
    body.copy(buf, 4, input.start, input.end);
    input.start = 0;
    input.end = buf.length;
    for (let i = 0; i < spec.shape.length; i++) input.addDimension(1);
    return buf;
  }
}

const sink = new ByteSink();

class RestReceiver implements OipReceiver {
  private readonly call: HttpCall;
  private readonly id: string;
  /** How outputs travel that say nothing themselves. */
  private readonly binary: boolean;

  constructor(call: HttpCall, request: OipInferRequest) {
    this.call = call;
    this.id = request.id;
    this.binary = flagParameter(request.parameters, 'binary_data_output') ?? request.usesRaw;
  }

  onOutputs(
    model: string,
    version: string,
    outputs: readonly JsonOutput[],
    asked: readonly (OipParameters | null)[],
    timing: TaskTiming,
  ): void {
    const { call } = this;
    if (call.ended) return;
    const binary = outputs.map(({ dtype }, i) => this.isBinary(dtype, asked[i] ?? null));
    sink.clear();
    putInferJson(sink, model, version, this.id, outputs, binary);
    const jsonBytes = sink.length;
    const fields = timingFields(call.request.headers, timing);
    if (!binary.includes(true)) {
      call.reply(200, JSON_TYPE, sink.view(), fields);
      return;
    }
    for (let i = 0; i < outputs.length; i++) {
      if (!binary[i]) continue;
      sink.reserve(rawBytes(outputs[i]));
      sink.length = putRaw(sink.bytes, sink.length, outputs[i]);
    }
    call.reply(200, BINARY_TYPE, sink.view(), [[JSON_LENGTH_HEADER, String(jsonBytes)], ...fields]);
  }

  onFailure(error: WorkerError): void {
    const body = Buffer.from(JSON.stringify({ error: error.message }));
    this.call.reply(oipHttpStatusFor(error.code), JSON_TYPE, body, reasonFields(error));
  }

  /** JSON has no form of 16-bit floats here: they are binary even when nobody asked. */
  private isBinary(dtype: number, asked: OipParameters | null): boolean {
    if (dtype === DataType.HALF || dtype === DataType.BFLOAT16) return true;
    return flagParameter(asked, 'binary_data') ?? this.binary;
  }
}
