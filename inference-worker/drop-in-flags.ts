/**
 * The flags of tensorflow_model_server beyond those that name models: what they mean here, and those that tune TensorFlow
 * alone, which are taken so that a command line keeps working, and said to have no effect.
 */
import { type Flag, numberFlag, parsedFlag, switchFlag, textFlag } from './flags.ts';

/** A gRPC channel argument, `name=value`. */
export interface ChannelArgument {
  readonly name: string;
  readonly value: string;
}

/** The channel arguments that mean something here, with what they bound. */
const CHANNEL_ARGUMENTS: readonly string[] = ['grpc.max_concurrent_streams', 'grpc.max_receive_message_length'];

function channelArguments(text: string): ChannelArgument[] {
  if (text === '') return [];
  return text.split(',').map((part) => {
    const match = /^([A-Za-z0-9_.]+)=(.*)$/.exec(part.trim());
    if (match === null) throw new Error('NAME=VALUE,NAME=VALUE...');
    const [, name, value] = match as unknown as [string, string, string];
    if (CHANNEL_ARGUMENTS.includes(name) && !/^[1-9]\d{0,9}$/.test(value)) {
      throw new Error(`a whole number of at least 1 for ${name}`);
    }
    return { name, value };
  });
}

/** Whether a channel argument is honoured. */
export function isKnownChannelArgument(name: string): boolean {
  return CHANNEL_ARGUMENTS.includes(name);
}

export const DROP_IN_FLAGS = {
  rest_api_port: numberFlag({
    name: 'rest_api_port',
    fallback: 8501,
    least: 0,
    most: 65_535,
    help: 'TCP port of the HTTP APIs; 0 opens none, and so does the default when --port is 0 or there are groups.',
  }),
  rest_api_timeout_in_ms: numberFlag({
    name: 'rest_api_timeout_in_ms',
    fallback: 30_000,
    least: 1,
    most: 86_400_000,
    help: 'How long an HTTP request may take, in milliseconds.',
  }),
  rest_api_enable_cors_support: switchFlag({
    name: 'rest_api_enable_cors_support',
    fallback: false,
    help: 'Whether pages of other origins may call the HTTP APIs.',
  }),
  model_config_file_poll_wait_seconds: numberFlag({
    name: 'model_config_file_poll_wait_seconds',
    fallback: 0,
    least: 0,
    most: 2_000_000,
    help: 'Seconds between looks at --model_config_file, whose changes are followed like a reload. 0 reads it once.',
  }),
  allow_version_labels_for_unavailable_models: switchFlag({
    name: 'allow_version_labels_for_unavailable_models',
    fallback: false,
    help: 'Whether a label that is new may name a version that does not serve yet.',
  }),
  batching_parameters_file: textFlag({
    name: 'batching_parameters_file',
    form: '=FILE',
    help: 'BatchingParameters in protobuf text format, instead of the batching flags.',
  }),
  enable_per_model_batching_parameters: switchFlag({
    name: 'enable_per_model_batching_parameters',
    fallback: false,
    help: 'Whether batching_params.pbtxt beside a model replaces the batching parameters for it.',
  }),
  monitoring_config_file: textFlag({
    name: 'monitoring_config_file',
    form: '=FILE',
    help: 'MonitoringConfig in protobuf text format: metrics on the port of the HTTP APIs.',
  }),
  ssl_config_file: textFlag({
    name: 'ssl_config_file',
    form: '=FILE',
    help: 'SSLConfig in protobuf text format: TLS on the gRPC port, with client certificates if wanted.',
  }),
  grpc_channel_arguments: parsedFlag<ChannelArgument[]>({
    name: 'grpc_channel_arguments',
    form: '=NAME=VALUE,...',
    fallback: [],
    parse: channelArguments,
    help: `Of gRPC's channel arguments these count: ${CHANNEL_ARGUMENTS.join(', ')}.`,
  }),
  enable_model_warmup: switchFlag({
    name: 'enable_model_warmup',
    fallback: true,
    help: 'Whether recorded requests (assets.extra/tf_serving_warmup_requests) are replayed before a version serves.',
  }),
  num_request_iterations_for_warmup: numberFlag({
    name: 'num_request_iterations_for_warmup',
    fallback: 1,
    least: 1,
    most: 1000,
    help: 'How often each recorded request is run.',
  }),
  enable_serialization_as_tensor_content: switchFlag({
    name: 'enable_serialization_as_tensor_content',
    fallback: false,
    help: 'Whether Predict over gRPC answers with tensor_content instead of typed lists.',
  }),
  enable_grpc_healthcheck_service: switchFlag({
    name: 'enable_grpc_healthcheck_service',
    fallback: true,
    help: 'Whether grpc.health.v1 is served.',
  }),
};

/** A flag whose only value that can be taken is the one that asks for nothing: ignoring the others would break a promise. */
function refusedFlag(name: string, only: string, expected: string): Flag<string> {
  const parse = (text: string): string => {
    if (text !== only) throw new Error(expected);
    return text;
  };
  const help = 'Taken for the sake of old command lines; asks for what is not to be had here.';
  return { name, form: `=${only}`, help, fallback: only, parse, isSwitch: true, repeated: false };
}

/** What else tensorflow_model_server can be asked for and this worker cannot. */
export const REFUSED_FLAGS: readonly Flag<unknown>[] = [
  refusedFlag('use_alts_credentials', 'false', 'false: there is no ALTS here, --ssl_config_file puts TLS on the port'),
  refusedFlag(
    'platform_config_file',
    '',
    'nothing: ONNX is the one platform, --session_config configures its sessions',
  ),
];

/** Flags that steer TensorFlow's own machinery. The value is not looked at. */
const WITHOUT_EFFECT: readonly string[] = [
  'rest_api_num_threads',
  'num_load_threads',
  'num_unload_threads',
  'flush_filesystem_caches',
  'tensorflow_session_parallelism',
  'tensorflow_session_config_file',
  'tensorflow_intra_op_parallelism',
  'tensorflow_inter_op_parallelism',
  'per_process_gpu_memory_fraction',
  'total_model_memory_limit_bytes',
  'saved_model_tags',
  'grpc_max_threads',
  'remove_unused_fields_from_bundle_metagraph',
  'prefer_tflite_model',
  'num_tflite_pools',
  'num_tflite_interpreters_per_pool',
  'enable_signature_method_name_check',
  'xla_cpu_compilation_enabled',
  'enable_profiler',
  'thread_pool_factory_config_file',
  'mixed_precision',
  'skip_initialize_tpu',
];

/** The flags that are taken and do nothing. */
export const IGNORED_FLAGS: readonly Flag<unknown>[] = WITHOUT_EFFECT.map((name) => ({
  name,
  form: '=X',
  help: 'Taken for the sake of old command lines; tunes TensorFlow and has no effect here.',
  fallback: '',
  parse: (text: string) => text,
  isSwitch: true,
  repeated: false,
}));
