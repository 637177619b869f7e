/** Both ends of ModelStreamInfer for tests: a caller made of grpc-js, and a script for an upstream that answers one by one. */
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { Test } from 'tap';
import { PROTO_DIR, ProtoFile } from '../../proto/files.ts';
import { decodeMessage, encodeMessage, type Message } from './proto-codecs.ts';
import { framed, type Script, type UpstreamCall } from './scripted-upstream.ts';

export const STREAM_INFER = '/inference.GRPCInferenceService/ModelStreamInfer';

const Service = (() => {
  const options = { includeDirs: [PROTO_DIR], keepCase: true, longs: String, defaults: true };
  const loaded = grpc.loadPackageDefinition(loadSync(Object.values(ProtoFile), options));
  // biome-ignore lint/suspicious/noExplicitAny: shaped by the schema
  return (loaded['inference'] as any).GRPCInferenceService as grpc.ServiceClientConstructor;
})();

/** How a stream ended, and its answers. */
export interface StreamEnd {
  readonly status: number;
  readonly details: string;
  readonly answers: readonly Message[];
  readonly tookMs: number;
}

export class InferStream {
  readonly answers: Message[] = [];
  /** When each answer came, `performance.now()`. */
  readonly cameMs: number[] = [];
  metadata: Readonly<Record<string, grpc.MetadataValue>> = {};
  readonly end: Promise<StreamEnd>;
  readonly call: grpc.ClientDuplexStream<object, Message>;
  private readonly waiters = new Set<() => void>();

  constructor(test: Test, address: string, options: { readonly deadlineMs?: number } = {}) {
    const client = new Service(address, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
    test.teardown(() => client.close());
    const startedMs = performance.now();
    this.call = client['ModelStreamInfer']!({
      deadline: Date.now() + (options.deadlineMs ?? Number.POSITIVE_INFINITY),
    });
    this.call.on('metadata', (metadata: grpc.Metadata) => {
      this.metadata = metadata.getMap();
    });
    this.call.on('data', (answer: Message) => {
      this.answers.push(answer);
      this.cameMs.push(performance.now());
      this.wake();
    });
    this.call.on('error', () => undefined);
    this.end = new Promise((resolve) => {
      this.call.on('status', ({ code, details }) => {
        resolve({ status: code, details, answers: this.answers, tookMs: performance.now() - startedMs });
        queueMicrotask(() => this.wake());
      });
    });
  }

  send(model: string, id: string, values: readonly number[] = [1], more: object = {}): void {
    this.call.write(inferRequest(model, id, values, more));
  }

  /** Waits until there are `count` answers; fails when the stream ends first. */
  async until(count: number): Promise<Message> {
    const ended = this.end.then(() => true);
    while (this.answers.length < count) {
      const woken = new Promise<false>((resolve) => this.waiters.add(() => resolve(false)));
      if ((await Promise.race([ended, woken])) && this.answers.length < count) {
        throw new Error(`ended with ${this.answers.length} answers: ${JSON.stringify(await this.end)}`);
      }
    }
    return this.answers[count - 1]!;
  }

  /** Sends nothing more and waits for the end. */
  finish(): Promise<StreamEnd> {
    this.call.end();
    return this.end;
  }

  private wake(): void {
    for (const waiter of [...this.waiters]) waiter();
    this.waiters.clear();
  }
}

export function inferRequest(model: string, id: string, values: readonly number[] = [1], more: object = {}): object {
  const inputs = [{ name: 'x', datatype: 'FP32', shape: [1, values.length], contents: { fp32_contents: [...values] } }];
  return { model_name: model, id, inputs, ...more };
}

/** One request of a stream as the upstream got it. */
export interface StreamRequest {
  readonly call: UpstreamCall;
  readonly index: number;
  readonly request: Message;
  /** Bytes of the message, without prefix. */
  readonly bytes: Buffer;
  answer(values: readonly number[], more?: object): void;
  error(message: string, parameters?: Readonly<Record<string, string>>): void;
}

/** Answers the messages of a stream as `onRequest` says, in whatever order it says. */
export function streams(name: string, onRequest: (request: StreamRequest) => void = (r) => r.answer([0.5])): Script {
  return (call) => {
    const { stream } = call;
    let kept = Buffer.alloc(0);
    let index = 0;
    let headSent = false;
    let answered = 0;
    let ended = false;
    const write = (message: object): void => {
      if (stream.destroyed || stream.closed) return;
      if (!headSent) stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      headSent = true;
      stream.write(framed(encodeMessage('inference.ModelStreamInferResponse', message)));
      answered++;
      endWhenAnswered();
    };
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.on('data', (chunk: Buffer) => {
      kept = Buffer.concat([kept, chunk]);
      while (kept.length >= 5 && kept.length >= 5 + kept.readUInt32BE(1)) {
        const bytes = Buffer.from(kept.subarray(5, 5 + kept.readUInt32BE(1)));
        kept = kept.subarray(5 + bytes.length);
        const request = decodeMessage('inference.ModelInferRequest', bytes);
        const { id, model_name, model_version } = request;
        onRequest({
          call,
          index: index++,
          request,
          bytes,
          answer: (values, more = {}) => write({ infer_response: inferResponse(name, request, values), ...more }),
          error: (message, parameters = {}) => {
            const entries = Object.entries(parameters).map(([key, value]) => [key, { string_param: value }]);
            write({
              error_message: message,
              infer_response: { id, model_name, model_version, parameters: Object.fromEntries(entries) },
            });
          },
        });
      }
    });
    stream.on('end', () => {
      ended = true;
      endWhenAnswered();
    });
    function endWhenAnswered(): void {
      if (!ended || answered < index || stream.destroyed || stream.writableEnded) return;
      if (!headSent) stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.end();
    }
  };
}

/** A ModelInferResponse with `served_by` and `scores`. */
export function inferResponse(name: string, request: Message, scores: readonly number[]): object {
  return {
    model_name: request.model_name,
    model_version: request.model_version,
    id: request.id,
    outputs: [
      { name: 'served_by', datatype: 'BYTES', shape: [1], contents: { bytes_contents: [Buffer.from(name)] } },
      { name: 'scores', datatype: 'FP32', shape: [1, scores.length], contents: { fp32_contents: [...scores] } },
    ],
  };
}

/** Which server an answer is from. */
export function streamServedBy(answer: Message): string {
  const outputs = answer.infer_response?.outputs ?? [];
  return outputs.length === 0 ? '' : String(outputs[0].contents.bytes_contents[0]);
}
