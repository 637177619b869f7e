/**
 * Every refusal and failure the worker can answer with: the gRPC code, the text and, for failures a proxy must tell
 * apart, the reason sent as `x-understudy-reason`. The texts of TensorFlow Serving are kept to the letter because
 * clients and probes search them; the builders below are the only place that spells them, but for those of one method
 * family (`api/examples/example-errors.ts`) and of the other protocol (`api/oip/oip-errors.ts`).
 */
import { GrpcStatus, type GrpcStatusCode } from '../base/grpc-status.ts';

/** Longest message that leaves the worker, in characters; TensorFlow Serving cuts there too. */
const MAX_MESSAGE_LENGTH = 1024;
const TRUNCATION_MARK = '...TRUNCATED';

/** Reasons a proxy or a caller may act on; the value of the `x-understudy-reason` trailer. */
export type WorkerReason =
  | 'batch_queue_full'
  | 'execution_failed'
  | 'device_out_of_memory'
  | 'execution_timeout'
  | 'execution_thread_lost'
  | 'servable_broken'
  | 'servable_closing'
  | 'model_load_failed';

/** A failure as it goes to the caller. Building one costs a stack trace only when `cause` asks for diagnosis. */
export class WorkerError extends Error {
  override readonly name = 'WorkerError';
  readonly code: GrpcStatusCode;
  readonly reason: WorkerReason | undefined;

  constructor(code: GrpcStatusCode, message: string, reason?: WorkerReason, cause?: unknown) {
    const { stackTraceLimit } = Error;
    if (cause === undefined) Error.stackTraceLimit = 0;
    super(cutMessage(message), cause === undefined ? undefined : { cause });
    Error.stackTraceLimit = stackTraceLimit;
    this.code = code;
    this.reason = reason;
  }
}

/** The message as TensorFlow Serving sends it: at most 1024 characters, then a mark that some is missing. */
export function cutMessage(message: string): string {
  if (message.length <= MAX_MESSAGE_LENGTH) return message;
  return message.slice(0, MAX_MESSAGE_LENGTH) + TRUNCATION_MARK;
}

function invalid(message: string): WorkerError {
  return new WorkerError(GrpcStatus.INVALID_ARGUMENT, message);
}

function precondition(message: string): WorkerError {
  return new WorkerError(GrpcStatus.FAILED_PRECONDITION, message);
}

function notFound(message: string): WorkerError {
  return new WorkerError(GrpcStatus.NOT_FOUND, message);
}

/** `{a,b}` in the order of a C++ `std::set<string>`: by bytes, each name once. */
function nameSet(names: Iterable<string>): string {
  const sorted = [...new Set(names)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return sorted.join(',');
}

// --- the model spec -------------------------------------------------------------------------------------------------

export function missingModelSpec(): WorkerError {
  return invalid('Missing ModelSpec');
}

export function emptyModelName(): WorkerError {
  return invalid('ModelSpec has no name specified.');
}

/** No servable for the spec; `version` is null when the request asked for the latest. */
export function servableNotFound(model: string, version: bigint | null): WorkerError {
  const asked = version === null ? `Latest(${model})` : `Specific(${model}, ${version})`;
  return notFound(`Servable not found for request: ${asked}`);
}

export function unknownVersionLabel(label: string): WorkerError {
  return invalid(`Unrecognized servable version label: ${label}`);
}

/** GetModelStatus for a model or version nobody ever aspired to. */
export function statusNotFound(model: string, version: bigint | null): WorkerError {
  if (version === null) return notFound(`Could not find any versions of model ${model}`);
  return notFound(`Could not find version ${version} of model ${model}`);
}

export function labelForUnreadyVersion(model: string, version: bigint): WorkerError {
  return precondition(
    `Request to assign label to version ${version} of model ${model}, which is not currently available for inference`,
  );
}

// --- signatures -----------------------------------------------------------------------------------------------------

export function predictSignatureNotFound(signature: string): WorkerError {
  return precondition(`Serving signature key "${signature}" not found.`);
}

export function exampleSignatureNotFound(signature: string): WorkerError {
  return invalid(`No signature was found with the name: ${signature}`);
}

export function multiInferenceSignatureNotFound(signature: string): WorkerError {
  return invalid(`Requested signature not found in model graph: ${signature}`);
}

// --- inputs and outputs ---------------------------------------------------------------------------------------------

/** The request names a different number of inputs than the signature. */
export function inputCountMismatch(sent: readonly string[], required: readonly string[]): WorkerError {
  const extra = sent.filter((name) => !required.includes(name));
  const missing = required.filter((name) => !sent.includes(name));
  return invalid(
    `input size does not match signature: ${new Set(sent).size}!=${required.length} len({${nameSet(sent)}}) != ` +
      `len({${nameSet(required)}}). Sent extra: {${nameSet(extra)}}. Missing but required: {${nameSet(missing)}}.`,
  );
}

/** The right number of inputs, but `alias` of the signature is not among them. */
export function inputNotFound(alias: string, sent: readonly string[]): WorkerError {
  return invalid(
    `Signature input alias: ${alias}(feed name: ${alias}:0) not found in request and no default value provided. ` +
      `Inputs expected to be in the request {${nameSet(sent)}}, or default input alias set: `,
  );
}

export function tensorParsingError(alias: string): WorkerError {
  return invalid(`tensor parsing error: ${alias}`);
}

/** The wording of TensorFlow's executor for an argument of another type; both are lower-case TensorFlow type names. */
export function dtypeMismatch(alias: string, expected: string, sent: string): WorkerError {
  return invalid(`input ${alias}: Expects arg[0] to be ${expected} but ${sent} is provided`);
}

/** ONNX graphs declare shapes that TensorFlow would only discover while running; refused before batching instead. */
export function shapeMismatch(alias: string, expected: readonly number[], sent: readonly number[]): WorkerError {
  return invalid(`input ${alias}: shape [${sent.join(',')}] does not match the signature's [${expected.join(',')}]`);
}

/** The inputs of one request disagree about the number of rows. */
export function unequalBatchDimensions(): WorkerError {
  return invalid('Batching session Run() input tensors must have equal 0th-dimension size');
}

export function emptyBatch(alias: string): WorkerError {
  return invalid(`input ${alias}: a batch of 0 rows cannot be executed`);
}

/** A few bytes that declare a huge tensor; refused so that a small request cannot take all memory. */
export function tensorTooLarge(alias: string, bytes: number): WorkerError {
  return invalid(`input ${alias}: a tensor of ${bytes} bytes declared by far fewer bytes of values is refused`);
}

export function outputNotFound(alias: string, outputs: readonly string[]): WorkerError {
  return invalid(
    `output tensor alias not found in signature: ${alias} Outputs expected to be in the set {${nameSet(outputs)}}.`,
  );
}

export function duplicateOutput(alias: string): WorkerError {
  return invalid(`duplicate output tensor alias: ${alias}`);
}

export function emptyInput(): WorkerError {
  return invalid('Input is empty.');
}

// --- metadata and reload --------------------------------------------------------------------------------------------

export function metadataFieldMissing(): WorkerError {
  return invalid('GetModelMetadataRequest must specify at least one metadata_field');
}

export function metadataFieldUnsupported(field: string): WorkerError {
  return invalid(`Metadata field ${field} is not supported`);
}

export function reloadConfigUnsupported(): WorkerError {
  return invalid(
    'ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported',
  );
}

/** A reload whose models did not all load; `models` are the names that failed, each with why if that is known. */
export function reloadFailed(models: readonly string[]): WorkerError {
  return new WorkerError(
    GrpcStatus.UNKNOWN,
    `${models.length} model(s) did not become available: {${models.join(', ')}}`,
  );
}

export function modelWithoutName(): WorkerError {
  return invalid('a model configuration has no name');
}

export function modelWithoutBasePath(model: string): WorkerError {
  return invalid(`Expected model ${model} to have an absolute path or URI; got base_path()=`);
}

export function modelListedTwice(model: string): WorkerError {
  return invalid(`Illegal to list model ${model} multiple times in config list`);
}

export function platformUnsupported(model: string, platform: string): WorkerError {
  return invalid(`Model ${model} requests unsupported platform ${platform}`);
}

export function platformChanged(model: string, before: string, after: string): WorkerError {
  return invalid(
    `Illegal to change a model's platform. For model ${model} platform was ${before} and new platform requested is ${after}`,
  );
}

export function administrationMissing(): WorkerError {
  return new WorkerError(GrpcStatus.UNIMPLEMENTED, 'the set of models cannot be changed here');
}

/** An incremental change that names a model which is, or is not, configured. */
export function modelConfigured(model: string, configured: boolean): WorkerError {
  return configured
    ? new WorkerError(GrpcStatus.ALREADY_EXISTS, `model ${model} is configured already`)
    : notFound(`model ${model} is not configured`);
}

// --- batching -------------------------------------------------------------------------------------------------------

export function batchQueueFull(): WorkerError {
  return new WorkerError(
    GrpcStatus.UNAVAILABLE,
    'The batch scheduling queue to which this task was submitted is full',
    'batch_queue_full',
  );
}

/** The same for a task that would be split, whose parts do not all fit. */
export function batchQueueFullForParts(rows: number, roomRows: number): WorkerError {
  return new WorkerError(
    GrpcStatus.UNAVAILABLE,
    'The batch scheduling queue to which this task was submitted is full; ' +
      `task size is ${rows} but scheduling capacity is only ${roomRows}`,
    'batch_queue_full',
  );
}

export function taskTooLarge(rows: number, maxBatchSize: number): WorkerError {
  return invalid(`Task size ${rows} is larger than maximum input batch size ${maxBatchSize}`);
}

/** Kept for callers that batch without separating tail shapes; our queues do separate them. */
export function mixedShapes(alias: string): WorkerError {
  return precondition(
    `Tensors with name '${alias}' from different tasks have different shapes and padding is turned off. Set ` +
      'pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal dimensions ' +
      'starting with the first dim.',
  );
}

export function expiredInQueue(): WorkerError {
  return new WorkerError(GrpcStatus.DEADLINE_EXCEEDED, 'Deadline exceeded while the task waited in the batch queue');
}

export function cancelledInQueue(): WorkerError {
  return new WorkerError(GrpcStatus.CANCELLED, 'The task was cancelled while it waited in the batch queue');
}

// --- execution ------------------------------------------------------------------------------------------------------

/** onnxruntime refused or failed to run the batch; its message is for the caller whose input caused it. */
export function executionFailed(detail: string, cause?: unknown): WorkerError {
  return new WorkerError(GrpcStatus.INTERNAL, `Execution failed: ${detail}`, 'execution_failed', cause);
}

/** No memory for the run, on the device or the host; smaller requests may well succeed. */
export function deviceOutOfMemory(detail: string, cause?: unknown): WorkerError {
  return new WorkerError(GrpcStatus.RESOURCE_EXHAUSTED, `Out of memory: ${detail}`, 'device_out_of_memory', cause);
}

export function executionTimedOut(timeoutMs: number): WorkerError {
  return new WorkerError(
    GrpcStatus.UNAVAILABLE,
    `Execution did not finish within ${timeoutMs} ms; the servable is being replaced`,
    'execution_timeout',
  );
}

export function executionThreadLost(detail: string, cause?: unknown): WorkerError {
  return new WorkerError(GrpcStatus.UNAVAILABLE, `Execution thread lost: ${detail}`, 'execution_thread_lost', cause);
}

export function servableBroken(model: string, version: bigint): WorkerError {
  return new WorkerError(
    GrpcStatus.UNAVAILABLE,
    `Servable {name: ${model} version: ${version}} is stuck in execution and is being replaced`,
    'servable_broken',
  );
}

export function servableClosing(model: string, version: bigint): WorkerError {
  return new WorkerError(
    GrpcStatus.UNAVAILABLE,
    `Servable {name: ${model} version: ${version}} is being unloaded`,
    'servable_closing',
  );
}

/** The file could not become a servable: unreadable, corrupt, or with a tensor type the worker does not speak. */
export function modelLoadFailed(path: string, detail: string, cause?: unknown): WorkerError {
  return new WorkerError(GrpcStatus.INVALID_ARGUMENT, `Could not load ${path}: ${detail}`, 'model_load_failed', cause);
}

/** What is on disk is not what the manifest beside it says. */
export function manifestMismatch(path: string, detail: string): WorkerError {
  return new WorkerError(GrpcStatus.DATA_LOSS, `${path}: ${detail}`, 'model_load_failed');
}

/** The signatures beside a model cannot be used, for every reason given. */
export function signatureFileRefused(path: string, problems: readonly string[]): WorkerError {
  return new WorkerError(GrpcStatus.FAILED_PRECONDITION, `${path}: ${problems.join('; ')}`, 'model_load_failed');
}

/** The batching parameters beside a model cannot be used, for every reason given. */
export function batchingFileRefused(path: string, problems: readonly string[]): WorkerError {
  return new WorkerError(
    GrpcStatus.FAILED_PRECONDITION,
    `batching parameters of ${path}: ${problems.join('; ')}`,
    'model_load_failed',
  );
}

/** A recorded request could not be replayed, so the version does not come to serve. */
export function warmUpFailed(path: string, code: GrpcStatusCode, detail: string, cause?: unknown): WorkerError {
  return new WorkerError(code, `warm-up from ${path}: ${detail}`, 'model_load_failed', cause);
}
