/** Open Inference over REST: JSON, and binary tensors behind it where `Inference-Header-Content-Length` says so. */
import { ByteSink } from '../../proto/tensor/byte-sink.ts';
import { DataType } from '../../proto/tensor/dtype.ts';
import type { JsonOutput } from '../../proto/tensor/json-tensor-writer.ts';
import { OipInferRequest } from '../../proto/tensor/oip-infer-request.ts';
import { OipJsonReader } from '../../proto/tensor/oip-json-request.ts';
import { flagParameter, type OipParameters } from '../../proto/tensor/oip-parameters.ts';
import { putInferJson, putRaw, rawBytes } from '../../proto/tensor/oip-response.ts';
import { type CallAnswer, type CallForm, invalid, type PipelineRequest } from './call-form.ts';
import { decodedOutput } from './decoded-output.ts';
import { inferRequest } from './infer-request.ts';
import type { PassedTensor } from './passed-tensor.ts';
import type { PipelinePlan } from './plan.ts';
import { JSON_TYPE } from './rest-predict-form.ts';

export const JSON_LENGTH_HEADER = 'inference-header-content-length';
const BINARY_TYPE = 'application/octet-stream';

const request = new OipInferRequest();
const reader = new OipJsonReader();
const sink = new ByteSink();

export class RestInferForm implements CallForm {
  private readonly plan: PipelinePlan;
  private readonly version: string;
  /** What `JSON_LENGTH_HEADER` says; undefined without. */
  private readonly jsonLength: string | undefined;
  private id = '';
  private wanted: readonly number[] = [];
  /** How outputs travel that say nothing themselves, and what those that do say. */
  private binary = false;
  private asked: ReadonlyMap<number, OipParameters | null> = new Map();

  constructor(plan: PipelinePlan, version: string, jsonLength: string | undefined) {
    this.plan = plan;
    this.version = version;
    this.jsonLength = jsonLength;
  }

  read(body: Buffer, start: number, end: number): PipelineRequest {
    const { plan } = this;
    request.reset();
    request.modelName = plan.config.name;
    request.modelVersion = this.version;
    reader.parse(request, body, start, start + this.jsonBytes(end - start), end);
    this.id = request.id;
    this.binary = flagParameter(request.parameters, 'binary_data_output') ?? false;
    const read = inferRequest(plan, request, body);
    this.wanted = read.wanted;
    const position = (name: string): number => plan.outputs.findIndex((output) => output.name === name);
    this.asked = new Map(request.outputs.map(({ name, parameters }) => [position(name), parameters]));
    return read;
  }

  write(tensors: readonly PassedTensor[]): CallAnswer {
    const { outputs, config } = this.plan;
    const decoded = tensors.map((tensor, i) => {
      return decodedOutput(outputs[this.wanted[i]!]!.name, tensor, config.maxBytes);
    });
    const binary = decoded.map((output, i) => this.isBinary(output, this.wanted[i]!));
    sink.clear();
    putInferJson(sink, config.name, config.version, this.id, decoded, binary);
    if (!binary.includes(true)) return { body: sink.take(), contentType: JSON_TYPE, fields: [] };
    const jsonBytes = sink.length;
    for (const [i, output] of decoded.entries()) {
      if (!binary[i]) continue;
      sink.reserve(rawBytes(output));
      sink.length = putRaw(sink.bytes, sink.length, output);
    }
    return { body: sink.take(), contentType: BINARY_TYPE, fields: [[JSON_LENGTH_HEADER, String(jsonBytes)]] };
  }

  private isBinary({ dtype }: JsonOutput, position: number): boolean {
    if (dtype === DataType.HALF || dtype === DataType.BFLOAT16) return true;
    return flagParameter(this.asked.get(position) ?? null, 'binary_data') ?? this.binary;
  }

  /** Bytes of JSON at the start of a body of `length` bytes. */
  private jsonBytes(length: number): number {
    const text = this.jsonLength;
    if (text === undefined) return length;
    const bytes = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(bytes <= length && bytes > 0)) {
      throw invalid(`Unable to parse ${JSON_LENGTH_HEADER}: got '${text}' for a body of ${length} bytes`);
    }
    return bytes;
  }
}
