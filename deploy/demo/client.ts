/**
 * The application of the demo: a TensorFlow Serving client on grpc-js that asks about fresh applicants at a steady rate.
 *
 * It knows nothing of Understudy's engine and shares no code with it beyond the .proto files, so what it reports is an
 * outsider's view. Open loop: calls go out on time whether or not earlier ones are answered.
 */
import { type Client, credentials, loadPackageDefinition, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { PROTO_DIR, ProtoFile } from '../../proto/files.ts';
import { drawApplicant, EMPLOYMENT, FEATURES } from './applicants.ts';
import { SeededRandom } from './random.ts';
import type { CallOutcome } from './tally.ts';

/** The header that names the cohort; the proxy is told to compare by it. */
export const COHORT_HEADER = 'x-cohort';

export interface ClientOptions {
  /** `host:port` or `unix:/path`. */
  readonly address: string;
  readonly model: string;
  readonly ratePerSecond: number;
  readonly seed: number;
  /** After this a call counts as failed with DEADLINE_EXCEEDED. */
  readonly deadlineMs: number;
  /** Called once for each call, in the order they end. */
  readonly onOutcome: (outcome: CallOutcome) => void;
}

/** Calls in flight above which a due call is not sent and counts as failed with NOT_SENT. */
const MAX_IN_FLIGHT = 4096;
const TICK_MS = 5;
/** What a paused client sends at once when it wakes, at most; older calls are forgone, for they were never due. */
const MAX_BURST_SECONDS = 0.25;

/** The fields of PredictResponse that are looked at, as proto-loader gives them. */
interface PredictResponse {
  readonly model_spec?: { readonly name?: string; readonly version?: { readonly value?: string } | null } | null;
  readonly outputs?: Readonly<
    Record<string, { readonly float_val?: readonly number[]; readonly tensor_content?: Buffer }>
  >;
}

interface PredictionService extends Client {
  Predict(
    request: unknown,
    metadata: Metadata,
    options: { deadline: number },
    callback: (error: ServiceError | null, response?: PredictResponse) => void,
  ): { on(event: 'metadata' | 'status', listener: (value: unknown) => void): unknown };
}

export class DemoClient {
  readonly #options: ClientOptions;
  readonly #service: PredictionService;
  readonly #random: SeededRandom;
  #timer: NodeJS.Timeout | null = null;
  #startedAtMs = 0;
  #sent = 0;
  #inFlight = 0;
  #whenIdle: (() => void) | null = null;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    this.#service = connect(options.address);
  }

  start(): void {
    this.#startedAtMs = performance.now();
    this.#timer = setInterval(() => this.#sendWhatIsDue(), TICK_MS);
  }

  /** Stops sending, waits for the answers still due and closes the connection. */
  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    this.#service.close();
  }

  /** Sends one call outside the rate; resolves with its outcome, which is not reported to `onOutcome`. */
  ask(): Promise<CallOutcome> {
    return new Promise((resolve) => this.#call(resolve));
  }

  #sendWhatIsDue(): void {
    const { ratePerSecond, onOutcome } = this.#options;
    const nowMs = performance.now();
    const due = Math.floor(((nowMs - this.#startedAtMs) / 1000) * ratePerSecond) - this.#sent;
    this.#sent += due;
    const most = Math.max(1, Math.floor(ratePerSecond * MAX_BURST_SECONDS));
    for (let i = 0; i < Math.min(due, most); i++) {
      if (this.#inFlight < MAX_IN_FLIGHT) this.#call(onOutcome);
      else onOutcome({ answeredBy: '', failure: 'NOT_SENT', sentAtMs: nowMs, endedAtMs: nowMs });
    }
  }

  #call(report: (outcome: CallOutcome) => void): void {
    const { model, deadlineMs } = this.#options;
    const applicant = drawApplicant(this.#random);
    const headers = new Metadata();
    headers.set(COHORT_HEADER, EMPLOYMENT[applicant.employment]!);
    const sentAtMs = performance.now();
    let servedBy: Metadata | null = null;
    this.#inFlight++;
    const request = predictRequest(model, applicant.features, applicant.employment);
    const call = this.#service.Predict(request, headers, { deadline: Date.now() + deadlineMs }, (error, response) => {
      const endedAtMs = performance.now();
      const failure = error !== null ? (status[error.code] ?? 'UNKNOWN') : isSound(response) ? '' : 'BAD_ANSWER';
      const answeredBy = failure === '' ? nameAnswerer(servedBy, response) : '';
      report({ answeredBy, failure, sentAtMs, endedAtMs });
      if (--this.#inFlight === 0) this.#whenIdle?.();
    });
    call.on('metadata', (metadata) => {
      servedBy = metadata as Metadata;
    });
  }
}

function connect(address: string): PredictionService {
  const definition = loadSync(ProtoFile.predictionService, {
    includeDirs: [PROTO_DIR],
    keepCase: true,
    longs: String,
    defaults: false,
  });
  const root = loadPackageDefinition(definition) as unknown as {
    tensorflow: { serving: { PredictionService: new (address: string, credentials: unknown) => PredictionService } };
  };
  return new root.tensorflow.serving.PredictionService(address, credentials.createInsecure());
}

/** The columns travel as `tensor_content`, the category as `int64_val`: both forms are common among clients. */
function predictRequest(model: string, features: Float32Array, employment: number): unknown {
  return {
    model_spec: { name: model, signature_name: 'serving_default' },
    inputs: {
      features: {
        dtype: 'DT_FLOAT',
        tensor_shape: { dim: [{ size: 1 }, { size: FEATURES.length }] },
        tensor_content: Buffer.from(features.buffer, features.byteOffset, features.byteLength),
      },
      employment: {
        dtype: 'DT_INT64',
        tensor_shape: { dim: [{ size: 1 }, { size: 1 }] },
        int64_val: [employment],
      },
    },
  };
}

/** `MODEL@VERSION` of who answered, or `MODEL` without a version: the sidecar's word where it gave one, else the answer's own model spec. */
export function nameAnswerer(headers: Metadata | null, response: PredictResponse | undefined): string {
  const servedBy = headers?.get('x-understudy-served-by')[0]?.toString() ?? '';
  const [name, version] = servedBy.split('@');
  const shownVersion = headers?.get('x-understudy-model-version')[0]?.toString();
  const spec = response?.model_spec;
  const knownVersion = version || shownVersion || spec?.version?.value;
  return `${name || spec?.name || '?'}${knownVersion ? `@${knownVersion}` : ''}`;
}

/** Whether the answer holds two probabilities that sum to one. */
function isSound(response: PredictResponse | undefined): boolean {
  const tensor = response?.outputs?.['probabilities'];
  if (tensor === undefined) return false;
  const content = tensor.tensor_content;
  const values =
    content !== undefined && content.length === 8
      ? [content.readFloatLE(0), content.readFloatLE(4)]
      : (tensor.float_val ?? []);
  return values.length === 2 && Math.abs(values[0]! + values[1]! - 1) < 1e-3;
}
