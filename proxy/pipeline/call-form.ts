/** What the protocols a pipeline is called in have in common: a request read into tensors, tensors written as an answer. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { dtypeName } from '../../proto/tensor/dtype.ts';
import { JsonError } from '../../proto/tensor/json-error.ts';
import { OipError } from '../../proto/tensor/oip-error.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';
import type { PipelineTensor } from '../config/pipeline-snapshot.ts';
import type { PassedTensor } from './passed-tensor.ts';
import type { PipelinePlan } from './plan.ts';

/** The request is wrong, or its answer cannot be written as it wants it. */
export class CallFault extends Error {
  readonly grpcStatus: number;

  constructor(grpcStatus: number, message: string) {
    super(message);
    this.name = 'CallFault';
    this.grpcStatus = grpcStatus;
  }
}

export interface PipelineRequest {
  /** In the order of the pipeline's inputs. */
  readonly inputs: readonly PassedTensor[];
  /** Positions of the outputs asked for, in the order asked. */
  readonly wanted: readonly number[];
  /** The tensors lie in the body, which has to stay; otherwise they own their bytes. */
  readonly inPlace: boolean;
}

/** A complete answer. */
export interface CallAnswer {
  readonly body: Buffer;
  readonly contentType: string;
  /** Header fields beside those that every answer of a pipeline has. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** One call in one protocol: `read` once, then `write` with what it wanted. */
export interface CallForm {
  /** Reads the whole body at `[start, end)`. @throws CallFault, WireError, JsonError, OipError */
  read(body: Buffer, start: number, end: number): PipelineRequest;
  /** @throws CallFault, WireError, JsonError */
  write(outputs: readonly PassedTensor[]): CallAnswer;
}

/** What reading or writing threw, as a fault; anything else is thrown on. */
export function asCallFault(error: unknown): CallFault {
  if (error instanceof CallFault) return error;
  if (error instanceof OipError) return invalid(error.message);
  if (error instanceof JsonError) {
    const status = error.reason === 'unsupported' ? GrpcStatus.UNIMPLEMENTED : GrpcStatus.INVALID_ARGUMENT;
    return new CallFault(status, error.message);
  }
  if (!(error instanceof WireError)) throw error;
  const status = error.reason === 'too_large' ? GrpcStatus.RESOURCE_EXHAUSTED : GrpcStatus.INVALID_ARGUMENT;
  return new CallFault(status, error.message);
}

export function invalid(message: string): CallFault {
  return new CallFault(GrpcStatus.INVALID_ARGUMENT, message);
}

/** Whether an input fits its declaration. @throws CallFault in TensorFlow Serving's terms */
export function checkInput({ name, dtype, shape }: PipelineTensor, tensor: PassedTensor): void {
  if (tensor.dtype !== dtype) {
    const [expected, sent] = [dtype, tensor.dtype].map((type) => dtypeName(type).replace('DT_', '').toLowerCase());
    throw invalid(`input ${name}: Expects arg[0] to be ${expected} but ${sent} is provided`);
  }
  if (!fitsShape(shape, tensor.dims)) {
    throw invalid(`input ${name}: shape [${tensor.dims}] does not match the signature's [${shape}]`);
  }
}

export function fitsShape(shape: readonly number[], dims: readonly number[]): boolean {
  return shape.length === dims.length && shape.every((size, i) => size === -1 || size === dims[i]);
}

/** Names and number of a Predict's inputs, as TensorFlow Serving checks them. @throws CallFault */
export function checkInputNames({ inputs }: PipelinePlan, sent: readonly string[]): void {
  const required = inputs.map(({ name }) => name);
  if (sent.length !== required.length) {
    const extra = sent.filter((name) => !required.includes(name));
    const missing = required.filter((name) => !sent.includes(name));
    throw invalid(
      `input size does not match signature: ${sent.length}!=${required.length} len({${nameSet(sent)}}) != ` +
        `len({${nameSet(required)}}). Sent extra: {${nameSet(extra)}}. Missing but required: {${nameSet(missing)}}.`,
    );
  }
  const missing = required.find((name) => !sent.includes(name));
  if (missing === undefined) return;
  throw invalid(
    `Signature input alias: ${missing}(feed name: ${missing}:0) not found in request and no default value provided. ` +
      `Inputs expected to be in the request {${nameSet(sent)}}, or default input alias set: `,
  );
}

/** Positions of the outputs a filter names; all without one. @throws CallFault */
export function wantedOutputs(plan: PipelinePlan, filter: readonly string[]): readonly number[] {
  if (filter.length === 0) return plan.allOutputs;
  const wanted: number[] = [];
  for (const name of filter) {
    const position = plan.outputs.findIndex((output) => output.name === name);
    if (position < 0) {
      const known = nameSet(plan.outputs.map((output) => output.name));
      throw invalid(
        `output tensor alias not found in signature: ${name} Outputs expected to be in the set {${known}}.`,
      );
    }
    if (wanted.includes(position)) throw invalid(`duplicate output tensor alias: ${name}`);
    wanted.push(position);
  }
  return wanted;
}

/** Whether the version asked for is the pipeline's. @throws CallFault */
export function checkVersion({ config }: PipelinePlan, version: string): void {
  if (version === '' || version === config.version) return;
  const message = `Servable not found for request: Specific(${config.name}, ${version})`;
  throw new CallFault(GrpcStatus.NOT_FOUND, message);
}

/** A pipeline has no labels. @throws CallFault */
export function refuseLabel(label: string): never {
  throw invalid(`Unrecognized servable version label: ${label}`);
}

function nameSet(names: readonly string[]): string {
  return [...new Set(names)].sort().join(',');
}
