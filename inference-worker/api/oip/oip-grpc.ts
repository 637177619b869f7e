/** The calls of `inference.GRPCInferenceService` that have one answer. Inference streams are in oip-stream.ts. */
import { PREFIX_BYTES } from '../../../proto/grpc/message-framing.ts';
import type { JsonOutput } from '../../../proto/tensor/json-tensor-writer.ts';
import { MessageBuilder } from '../../../proto/tensor/message-builder.ts';
import { MessageFields } from '../../../proto/tensor/message-fields.ts';
import { OipInferRequest, parseInferRequest } from '../../../proto/tensor/oip-infer-request.ts';
import { flagParameter, type OipParameters } from '../../../proto/tensor/oip-parameters.ts';
import { hasContents, inferHead, OipMessageWriter } from '../../../proto/tensor/oip-response.ts';
import { EntryPoint } from '../../metrics/entry-points.ts';
import type { WorkerError } from '../../worker-error.ts';
import type { GrpcCall, GrpcMethod } from '../grpc-call.ts';
import type { TaskTiming } from '../task-timing.ts';
import { repositoryUnsupported } from './oip-errors.ts';
import { asOipFailure } from './oip-failure.ts';
import type { OipInference, OipReceiver } from './oip-inference.ts';
import { modelConfigMessage } from './oip-model-config.ts';
import type { OipService, OipTensorMetadata } from './oip-service.ts';
import { statisticsMessage } from './oip-statistics.ts';

export const OIP_SERVICE_PATH = '/inference.GRPCInferenceService/';

/** ModelInfer. */
export class ModelInferMethod implements GrpcMethod {
  readonly path = `${OIP_SERVICE_PATH}ModelInfer`;
  private readonly inference: OipInference;
  private readonly request = new OipInferRequest();
  private readonly writer = new OipMessageWriter();

  constructor(inference: OipInference) {
    this.inference = inference;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    const { request } = this;
    try {
      parseInferRequest(request, buf, start, end);
      const options = { deadlineMs: call.deadlineMs, priority: call.head.priority, entry: EntryPoint.inferGrpc };
      call.cancellable = this.inference.infer(request, buf, options, new InferReceiver(call, request, this.writer));
    } catch (error) {
      const failure = asOipFailure(error);
      if (failure === null) throw error;
      call.fail(failure);
    }
  }
}

/** Whether the outputs of an answer travel raw: as the inputs did, unless the request says how. */
export function answersRaw(asked: boolean, outputs: readonly JsonOutput[]): boolean {
  return asked || outputs.some(({ dtype }) => !hasContents(dtype));
}

/** What the request asks for by itself or by `binary_data_output`. */
export function wantsRaw({ parameters, usesRaw }: OipInferRequest): boolean {
  return flagParameter(parameters, 'binary_data_output') ?? usesRaw;
}

class InferReceiver implements OipReceiver {
  private readonly call: GrpcCall;
  private readonly writer: OipMessageWriter;
  private readonly id: string;
  private readonly raw: boolean;

  constructor(call: GrpcCall, request: OipInferRequest, writer: OipMessageWriter) {
    this.call = call;
    this.writer = writer;
    this.id = request.id;
    this.raw = wantsRaw(request);
  }

  onOutputs(
    model: string,
    version: string,
    outputs: readonly JsonOutput[],
    _asked: readonly (OipParameters | null)[],
    timing: TaskTiming,
  ): void {
    const { call, writer } = this;
    if (call.ended) return;
    writer.begin(inferHead(model, version, this.id), answersRaw(this.raw, outputs));
    for (const output of outputs) writer.add(output);
    const { byteLength } = writer;
    const buf = call.beginReply(byteLength);
    writer.write(buf, PREFIX_BYTES);
    call.finishReply(buf, byteLength, timing);
  }

  onFailure(error: WorkerError): void {
    this.call.fail(error);
  }
}

/** A call answered from its few fields alone. */
class PlainMethod implements GrpcMethod {
  readonly path: string;
  private readonly answer: (fields: NameFields) => Buffer | Promise<Buffer>;

  constructor(name: string, answer: (fields: NameFields) => Buffer | Promise<Buffer>) {
    this.path = OIP_SERVICE_PATH + name;
    this.answer = answer;
  }

  handle(call: GrpcCall, buf: Buffer, start: number, end: number): void {
    const result = this.answer(readNameFields(buf, start, end));
    if (result instanceof Promise) {
      result.then(
        (message) => call.reply(message),
        (error) => call.failWith(error),
      );
    } else call.reply(result);
  }
}

/** Fields of these small requests: two texts, of which the second may be a flag, and the names of parameters. */
interface NameFields {
  readonly first: string;
  readonly second: string;
  readonly flag: boolean;
  readonly parameters: readonly string[];
}

function readNameFields(buf: Buffer, start: number, end: number): NameFields {
  const fields = new MessageFields(buf, start, end, 'request');
  let first = '';
  let second = '';
  let flag = false;
  const parameters: string[] = [];
  while (fields.next()) {
    if (fields.is(1)) first = fields.text();
    else if (fields.is(2)) second = fields.text();
    else if (fields.isInt(2)) flag = fields.int() !== 0n;
    else if (fields.is(3)) parameters.push(keyOf(fields.message('parameters')));
  }
  return { first, second, flag, parameters };
}

/** The key of a map's entry; '' where it has none, as protobuf has it. */
function keyOf(entry: MessageFields): string {
  let key = '';
  while (entry.next()) if (entry.is(1)) key = entry.text();
  return key;
}

/** The fields of a call on the repository, which has no name. @throws WorkerError */
function unnamed(fields: NameFields): NameFields {
  if (fields.first !== '') throw repositoryUnsupported();
  return fields;
}

/** Every call with one answer but ModelInfer. */
export function oipPlainMethods(oip: OipService): GrpcMethod[] {
  const ready = (value: boolean): Buffer => new MessageBuilder().int(1, value ? 1 : 0).finish();
  const methods: GrpcMethod[] = [
    new PlainMethod('ServerLive', () => ready(true)),
    new PlainMethod('ServerReady', () => ready(oip.serverReady)),
    new PlainMethod('ModelReady', ({ first, second }) => ready(oip.modelReady(first, second))),
    new PlainMethod('ServerMetadata', () => serverMetadataMessage(oip)),
    new PlainMethod('ModelMetadata', ({ first, second }) => modelMetadataMessage(oip, first, second)),
    new PlainMethod('ModelConfig', ({ first, second }) => modelConfigMessage(oip, first, second)),
    new PlainMethod('ModelStatistics', ({ first, second }) => statisticsMessage(oip.measured(first, second))),
  ];
  if (!oip.options.managesModels) return methods;
  return [
    ...methods,
    new PlainMethod('RepositoryIndex', (fields) => indexMessage(oip, unnamed(fields).flag)),
    new PlainMethod('RepositoryModelLoad', (fields) => {
      const { second, parameters } = unnamed(fields);
      return oip.load(second, parameters).then(empty);
    }),
    new PlainMethod('RepositoryModelUnload', (fields) => {
      const { second, parameters } = unnamed(fields);
      return oip.unload(second, parameters).then(empty);
    }),
  ];
}

function empty(): Buffer {
  return Buffer.alloc(0);
}

function serverMetadataMessage(oip: OipService): Buffer {
  const message = new MessageBuilder().text(1, oip.options.serverName).text(2, oip.options.serverVersion);
  for (const extension of oip.extensions) message.text(3, extension);
  return message.finish();
}

function modelMetadataMessage(oip: OipService, model: string, version: string): Buffer {
  const { name, versions, platform, inputs, outputs } = oip.modelMetadata(model, version);
  const message = new MessageBuilder().text(1, name);
  for (const served of versions) message.text(2, served);
  message.text(3, platform);
  for (const input of inputs) message.message(4, tensorMessage(input));
  for (const output of outputs) message.message(5, tensorMessage(output));
  return message.finish();
}

function tensorMessage({ name, datatype, shape }: OipTensorMetadata): MessageBuilder {
  const message = new MessageBuilder().text(1, name).text(2, datatype);
  for (const dim of shape) message.int(3, dim);
  return message;
}

function indexMessage(oip: OipService, readyOnly: boolean): Buffer {
  const message = new MessageBuilder();
  for (const { name, version, state, reason } of oip.index(readyOnly)) {
    message.message(1, new MessageBuilder().text(1, name).text(2, version).text(3, state).text(4, reason));
  }
  return message.finish();
}
