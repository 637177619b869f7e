/**
 * The fault matrix's common part: one question asked in five protocols by independent callers, what came of it in terms
 * that can be compared, and the table of what each fault cost.
 *
 * The question is the number `n`; the primary answers n, the fallback n + 0.5.
 */
import type { ServiceError } from '@grpc/grpc-js';
import type { Test } from 'tap';
import { request } from 'undici';
import { InferStream } from './infer-stream.ts';
import { OnnxModel } from './onnx-writer.ts';
import { type Message, TfsClient } from './tfs-client.ts';

export const PROTOCOLS = ['TFS gRPC', 'TFS REST', 'OIP gRPC', 'OIP stream', 'OIP REST'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

export interface Asked {
  /** The answer, NaN when there is none. */
  readonly value: number;
  /** gRPC status; of REST the HTTP status; 0 or 200 for answers. An error inside a stream counts as status 2. */
  readonly status: number;
  /** What the error said. */
  readonly text: string;
  readonly tookMs: number;
}

export function isRest(protocol: Protocol): boolean {
  return protocol === 'TFS REST' || protocol === 'OIP REST';
}

/** y = n + 0.5: the fallback for `allocator`. */
export function halfMore(): Buffer {
  return new OnnxModel('half_more')
    .input('n', 'int64', [1])
    .output('y', 'float32', [1])
    .initializer('half', 'float32', [1], [0.5])
    .node('Cast', ['n'], ['f'], { to: 1 })
    .node('Add', ['f', 'half'], ['y'])
    .build();
}

/** Asks one proxy in all protocols; closed with the test. */
export class MatrixCaller {
  private readonly test: Test;
  private readonly address: string;
  private readonly client: TfsClient;

  constructor(test: Test, address: string) {
    this.test = test;
    this.address = address;
    this.client = new TfsClient(address);
    test.teardown(() => this.client.close());
  }

  async ask(protocol: Protocol, model: string, n: bigint): Promise<Asked> {
    const startedMs = performance.now();
    const outcome = await this.send(protocol, model, String(n));
    return { ...outcome, tookMs: performance.now() - startedMs };
  }

  private send(protocol: Protocol, model: string, n: string): Promise<Omit<Asked, 'tookMs'>> {
    switch (protocol) {
      case 'TFS gRPC': {
        const tensor = { dtype: 9, tensor_shape: { dim: [{ size: 1 }] }, int64_val: [n] };
        const asked = this.client.predict({ model_spec: { name: model }, inputs: { n: tensor } }, PATIENT);
        return grpcOutcome(asked, (answer) => answer.outputs.y.float_val[0]);
      }
      case 'OIP gRPC': {
        const asked = this.client.unary(
          'inference.GRPCInferenceService',
          'ModelInfer',
          { model_name: model, id: 'q', inputs: [inferInput(n)] },
          PATIENT,
        );
        return grpcOutcome(asked, (answer) => answer.outputs[0].contents.fp32_contents[0]);
      }
      case 'OIP stream':
        return this.askStream(model, n);
      case 'TFS REST':
        return this.post(`/v1/models/${model}:predict`, `{"inputs":{"n":[${n}]}}`, ({ outputs }) => outputs[0]);
      case 'OIP REST': {
        const body = `{"inputs":[{"name":"n","datatype":"INT64","shape":[1],"data":[${n}]}]}`;
        return this.post(`/v2/models/${model}/infer`, body, ({ outputs }) => outputs[0].data[0]);
      }
    }
  }

  private async askStream(model: string, n: string): Promise<Omit<Asked, 'tookMs'>> {
    const stream = new InferStream(this.test, this.address);
    stream.call.write({ model_name: model, id: 'q', inputs: [inferInput(n)] });
    const { status, details, answers } = await stream.finish();
    return streamOutcome(status, details, answers[0]);
  }

  private async post(path: string, body: string, value: (json: Message) => number): Promise<Omit<Asked, 'tookMs'>> {
    const url = `http://${this.address}${path}`;
    const answer = await request(url, { method: 'POST', body, headers: { 'content-type': 'application/json' } });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) return { value: Number.NaN, status: answer.statusCode, text: errorText(text) };
    return { value: value(JSON.parse(text)), status: 200, text: '' };
  }
}

/** Callers set no deadline: those of the configuration are the proxy's to keep. */
const PATIENT = { deadlineMs: Number.POSITIVE_INFINITY };

export function inferInput(n: string): object {
  return { name: 'n', datatype: 'INT64', shape: ['1'], contents: { int64_contents: [n] } };
}

/** How a stream of one question ended. */
export function streamOutcome(status: number, details: string, answer: Message | undefined): Omit<Asked, 'tookMs'> {
  if (status !== 0 || answer === undefined) return { value: Number.NaN, status, text: details };
  if (answer.error_message !== '') return { value: Number.NaN, status: 2, text: answer.error_message };
  return { value: answer.infer_response.outputs[0].contents.fp32_contents[0], status: 0, text: '' };
}

async function grpcOutcome(
  asked: Promise<Message>,
  value: (answer: Message) => number,
): Promise<Omit<Asked, 'tookMs'>> {
  try {
    return { value: value(await asked), status: 0, text: '' };
  } catch (error) {
    const { code, details } = error as ServiceError;
    return { value: Number.NaN, status: code, text: details };
  }
}

/** REST errors of both protocols are `{"error": ...}`; anything else is shown as it is, and so fails a test. */
function errorText(text: string): string {
  try {
    const { error, ...rest } = JSON.parse(text) as { error?: unknown };
    return typeof error === 'string' && Object.keys(rest).length === 0 ? error : text;
  } catch {
    return text;
  }
}

/** Milliseconds that faults added, by fault and protocol. */
export class CostTable {
  private readonly baselines = new Map<Protocol, number>();
  private readonly rows = new Map<string, Map<Protocol, number>>();

  /** Median of what an undisturbed call takes. */
  async measure(caller: MatrixCaller, models: (protocol: Protocol) => string): Promise<void> {
    for (const protocol of PROTOCOLS) {
      const took: number[] = [];
      for (let i = 0; i < 7; i++) took.push((await caller.ask(protocol, models(protocol), 4n)).tookMs);
      this.baselines.set(protocol, took.sort((a, b) => a - b)[3]!);
    }
  }

  add(fault: string, protocol: Protocol, tookMs: number): void {
    const row = this.rows.get(fault) ?? new Map<Protocol, number>();
    row.set(protocol, tookMs - this.baselines.get(protocol)!);
    this.rows.set(fault, row);
  }

  toString(): string {
    const line = (first: string, cells: readonly string[]): string =>
      `${first.padEnd(28)}${cells.map((cell) => cell.padStart(12)).join('')}`;
    const cell = (value: number | undefined): string => (value === undefined ? '-' : value.toFixed(1));
    return [
      line('added latency, ms', PROTOCOLS),
      ...[...this.rows].map(([fault, row]) =>
        line(
          fault,
          PROTOCOLS.map((protocol) => cell(row.get(protocol))),
        ),
      ),
      line(
        'an undisturbed call takes',
        PROTOCOLS.map((protocol) => cell(this.baselines.get(protocol))),
      ),
    ].join('\n');
  }
}
