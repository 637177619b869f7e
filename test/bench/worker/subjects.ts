/** The servers of the worker bench: how each is started, and what it is called in the report. */
import { join } from 'node:path';
import { AskedProgram } from '../programs/asked-program.ts';
import { freePort } from '../programs/free-port.ts';
import { PinnedProgram } from '../programs/pinned-program.ts';
import type { BenchModel } from './models.ts';

export const OURS = 'understudy';
export const PER_REQUEST = 'grpcjsPerRequest';
export const BARE_LOOP = 'bareLoop';

/** On what all programs of a run execute their models. */
export interface BenchExecution {
  /** Execution provider, by onnxruntime's name. */
  readonly provider: string;
  /** How far an answer may be from the CPU's. */
  readonly tolerance: number;
  /** How long a program may take to load the models: devices compile for each size. */
  readonly readyWithinMs: number;
  /** Names of the devices of the machine, for the report. */
  readonly devices: readonly string[];
}

/** Batched kernels may add in another order than a single row's do. */
export const ON_CPU: BenchExecution = {
  provider: 'cpu',
  tolerance: 1e-5,
  readyWithinMs: 30_000,
  devices: [],
};

/** A server that answers Predict calls. */
export interface Subject {
  readonly name: string;
  readonly program: PinnedProgram;
  readonly port: number;
  /** Port of its metrics; 0 where it has none. */
  readonly metricsPort: number;
}

/** A model and where its file lies. */
export interface ModelFile {
  readonly model: BenchModel;
  readonly file: string;
  /** Directory of its versions. */
  readonly basePath: string;
}

export type BareLoop = AskedProgram<object, { model: string; seconds: number }, BareLoopCount>;

export interface BareLoopCount {
  readonly items: number;
  readonly seconds: number;
  /** Batch size that carried most. */
  readonly batch: number;
}

const ROOT = join(import.meta.dirname, '../../..');
const PEERS = join(import.meta.dirname, '../peers');

/** Our worker, everything at its defaults but the provider and what `flags` say. */
export async function startOurs(
  core: number,
  models: readonly ModelFile[],
  { provider, readyWithinMs }: BenchExecution,
  nodeFlags: readonly string[],
  flags: readonly string[] = [],
): Promise<Subject> {
  const port = await freePort();
  const metricsPort = await freePort();
  let isReady = false;
  const program = new PinnedProgram({
    name: OURS,
    command: process.execPath,
    args: [
      ...nodeFlags,
      join(ROOT, 'inference-worker/main.ts'),
      '--host=127.0.0.1',
      `--port=${port}`,
      `--metrics_port=${metricsPort}`,
      '--rest_api_port=0',
      `--execution_providers=${provider}`,
      ...models.map(({ model, basePath }) => `--model=${model.name}:${basePath}`),
      ...flags,
    ],
    core,
    onLine: (line) => {
      isReady ||= line.includes('"worker_ready"');
    },
  });
  await program.ready(() => isReady, readyWithinMs);
  return { name: OURS, program, port, metricsPort };
}

export async function startPerRequest(
  core: number,
  models: readonly ModelFile[],
  { provider, readyWithinMs }: BenchExecution,
): Promise<Subject> {
  const { program, announcement } = await AskedProgram.start<{ port: number }, object, object>({
    name: PER_REQUEST,
    core,
    script: join(PEERS, 'grpc-js-server.ts'),
    args: [provider, ...models.map(({ model, file }) => `${model.name}=${file}`)],
    readyWithinMs,
  });
  return { name: PER_REQUEST, program, port: announcement.port, metricsPort: 0 };
}

export function startBareLoop(
  core: number,
  models: readonly ModelFile[],
  { provider, readyWithinMs }: BenchExecution,
): Promise<BareLoop> {
  return AskedProgram.start({
    name: BARE_LOOP,
    core,
    script: join(PEERS, 'bare-loop.ts'),
    args: [provider, ...models.map(({ model, file }) => `${model.name}=${file}=${model.inputs}`)],
    readyWithinMs,
  });
}
