/**
 * The flags of execution: how batches adapt, and on which provider, device and threads sessions run. Part of the worker's
 * table of flags.
 */
import type { BatchingOptions } from './batching/batching-options.ts';
import { choiceFlag, numberFlag, type ParsedFlags, parsedFlag, switchFlag } from './flags.ts';
import {
  chooseProviders,
  type ExecutionSettings,
  type GraphOptimizationLevel,
  type ProviderName,
  type ProviderOption,
  parseProviderOption,
  parseProviders,
} from './session/provider-options.ts';

function configEntry(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at <= 0) throw new Error('KEY=VALUE such as session.set_denormal_as_zero=1');
  return [text.slice(0, at), text.slice(at + 1)];
}

export const EXECUTION_FLAGS = {
  enable_adaptive_batching: switchFlag({
    name: 'enable_adaptive_batching',
    fallback: true,
    help:
      'Dispatches a batch when waiting for more rows stops paying, by the measured cost of the model; ' +
      '--batch_timeout_micros is then the longest wait. Off: waits that long, as TensorFlow Serving does.',
  }),
  latency_objective_ms: numberFlag({
    name: 'latency_objective_ms',
    fallback: 0,
    least: 0,
    most: 3_600_000,
    help:
      'What 99 of 100 requests should take from acceptance to answer, in milliseconds: bounds waits and batches, and ' +
      'refuses what is expected to come later. 0 sets none.',
  }),
  pad_variable_length_inputs: switchFlag({
    name: 'pad_variable_length_inputs',
    fallback: false,
    help: 'Lets requests of different lengths share a batch, the shorter ones padded with their first value.',
  }),
  enable_large_batch_splitting: switchFlag({
    name: 'enable_large_batch_splitting',
    fallback: false,
    help: 'Executes a request larger than --max_execution_batch_size in parts.',
  }),
  max_execution_batch_size: numberFlag({
    name: 'max_execution_batch_size',
    fallback: 0,
    least: 0,
    most: 1_000_000,
    help: 'Most rows in one run when large requests are split. 0 is the same as --max_batch_size.',
  }),
  execution_providers: parsedFlag<readonly ProviderName[]>({
    name: 'execution_providers',
    form: '=tensorrt,cuda,webgpu,cpu',
    fallback: ['cpu'],
    parse: parseProviders,
    help:
      'Execution providers in order of preference: the first that loads is used. When none does the worker does not ' +
      'start, so a list without cpu requires a device.',
  }),
  execution_provider_option: parsedFlag<ProviderOption | null>({
    name: 'execution_provider_option',
    form: '=PROVIDER:NAME=VALUE',
    fallback: null,
    parse: parseProviderOption,
    repeated: true,
    help:
      'An option of a provider, repeat it for several: cuda and tensorrt take deviceId (0+1 spreads instances over ' +
      'both), webgpu its own list. An option the binding would ignore is refused.',
  }),
  intra_op_threads: numberFlag({
    name: 'intra_op_threads',
    fallback: 1,
    least: 0,
    most: 1024,
    help: 'Threads of one session inside an operator; 0 is one per core.',
  }),
  inter_op_threads: numberFlag({
    name: 'inter_op_threads',
    fallback: 1,
    least: 0,
    most: 1024,
    help: 'Threads of one session between operators; more than one runs independent operators in parallel.',
  }),
  graph_optimization_level: choiceFlag<GraphOptimizationLevel>({
    name: 'graph_optimization_level',
    fallback: 'all',
    choices: ['disabled', 'basic', 'extended', 'layout', 'all'],
    help: "How much onnxruntime rewrites the graph. Rewriting may change a result's last bits.",
  }),
  session_config: parsedFlag<readonly [string, string] | null>({
    name: 'session_config',
    form: '=KEY=VALUE',
    fallback: null,
    parse: configEntry,
    repeated: true,
    help: 'A configuration entry of onnxruntime sessions, passed on as it is; repeat it for several.',
  }),
  metrics_port: numberFlag({
    name: 'metrics_port',
    fallback: -1,
    least: -1,
    most: 65_535,
    help: 'TCP port of a metrics server of its own, for all groups together. 0 takes any free port (printed), -1 none.',
  }),
};

/** The longest wait of an adaptive batch when `--batch_timeout_micros` is not given, in microseconds. */
export const ADAPTIVE_WAIT_MICROS = 5_000;

/** What these flags add to the batching options; all but adaptivity and the goal need batching to be on. */
export function readAdaptiveBatching(
  flags: ParsedFlags,
  maxBatchSize: number,
  enabled: boolean,
): Pick<
  BatchingOptions,
  'adaptive' | 'latencyObjectiveMs' | 'padVariableLengthInputs' | 'maxExecutionBatchSize' | 'splitLargeBatches'
> {
  const splits = enabled && flags.value(EXECUTION_FLAGS.enable_large_batch_splitting);
  const most = flags.value(EXECUTION_FLAGS.max_execution_batch_size);
  return {
    adaptive: flags.value(EXECUTION_FLAGS.enable_adaptive_batching),
    latencyObjectiveMs: flags.value(EXECUTION_FLAGS.latency_objective_ms),
    padVariableLengthInputs: enabled && flags.value(EXECUTION_FLAGS.pad_variable_length_inputs),
    splitLargeBatches: splits,
    maxExecutionBatchSize: splits && most > 0 ? most : maxBatchSize,
  };
}

/** Providers, threads and session options. */
export function readExecution(flags: ParsedFlags, problems: string[]): ExecutionSettings {
  const options = flags.values(EXECUTION_FLAGS.execution_provider_option).filter((option) => option !== null);
  const entries = flags.values(EXECUTION_FLAGS.session_config).filter((entry) => entry !== null);
  return {
    providers: chooseProviders(flags.value(EXECUTION_FLAGS.execution_providers), options, problems),
    intraOpThreads: flags.value(EXECUTION_FLAGS.intra_op_threads),
    interOpThreads: flags.value(EXECUTION_FLAGS.inter_op_threads),
    graphOptimizationLevel: flags.value(EXECUTION_FLAGS.graph_optimization_level),
    extra: Object.fromEntries(entries),
  };
}
