/**
 * Execution providers and their options as a command line names them, checked against what the onnxruntime binding really
 * passes on. The binding ignores what it does not know of cuda, tensorrt and cpu without a word, so nothing unknown may
 * reach it: every other option is a mistake that names what is supported.
 */

/** Providers in the package's builds for servers, by the names onnxruntime uses. */
export const PROVIDER_NAMES = ['tensorrt', 'cuda', 'webgpu', 'cpu'] as const;
export type ProviderName = (typeof PROVIDER_NAMES)[number];

export type ProviderOptionValue = string | number | boolean | readonly string[];

/** One provider as asked for, in the order of preference. Plain data: it is sent to threads. */
export interface ProviderChoice {
  readonly name: ProviderName;
  /** Devices to spread instances over; empty leaves the choice to the provider. */
  readonly deviceIds: readonly number[];
  /** Options other than the device, as the binding wants them. */
  readonly options: Readonly<Record<string, ProviderOptionValue>>;
}

export type GraphOptimizationLevel = 'disabled' | 'basic' | 'extended' | 'layout' | 'all';

/** How sessions are made. */
export interface ExecutionSettings {
  /** In order of preference; the first that loads is used. Never empty. */
  readonly providers: readonly ProviderChoice[];
  /** Threads of one session inside and between operators. */
  readonly intraOpThreads: number;
  readonly interOpThreads: number;
  readonly graphOptimizationLevel: GraphOptimizationLevel;
  /** Session configuration entries, passed on as they are. */
  readonly extra: Readonly<Record<string, string>>;
}

const CPU: ProviderChoice = { name: 'cpu', deviceIds: [], options: {} };

/** The CPU with one thread per session: batches are the parallelism, and a sidecar shares its cores. */
export const DEFAULT_EXECUTION: ExecutionSettings = {
  providers: [CPU],
  intraOpThreads: 1,
  interOpThreads: 1,
  graphOptimizationLevel: 'all',
  extra: {},
};

type OptionReader = (text: string) => ProviderOptionValue;

const CACHE_MODES = ['disabled', 'lazyRelease', 'simple', 'bucket'];

/** What each provider takes besides `deviceId`, which `DEVICE_PROVIDERS` take. */
const OPTIONS: Readonly<Record<ProviderName, Readonly<Record<string, OptionReader>>>> = {
  tensorrt: {},
  cuda: {},
  webgpu: {
    preferredLayout: oneOf(['NCHW', 'NHWC']),
    forceCpuNodeNames: (text) => text.split('+'),
    validationMode: oneOf(['disabled', 'wgpuOnly', 'basic', 'full']),
    enableRobustness: (text) => oneOf(['true', 'false'])(text) === 'true',
    storageBufferCacheMode: oneOf(CACHE_MODES),
    uniformBufferCacheMode: oneOf(CACHE_MODES),
    queryResolveBufferCacheMode: oneOf(CACHE_MODES),
    defaultBufferCacheMode: oneOf(CACHE_MODES),
  },
  cpu: {},
};
const DEVICE_PROVIDERS: readonly ProviderName[] = ['tensorrt', 'cuda'];

/** Reads `tensorrt,cuda,cpu`. Throws an Error saying what was expected. */
export function parseProviders(text: string): ProviderName[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !isProvider(name));
  if (unknown !== undefined || new Set(names).size < names.length) {
    throw new Error(`some of ${PROVIDER_NAMES.join(', ')}, each once, joined by commas`);
  }
  return names as ProviderName[];
}

/** One `PROVIDER:NAME=VALUE` of a command line. */
export interface ProviderOption {
  readonly provider: ProviderName;
  readonly name: string;
  readonly value: ProviderOptionValue | readonly number[];
}

/** Reads `PROVIDER:NAME=VALUE`. Throws an Error naming what the provider supports. */
export function parseProviderOption(text: string): ProviderOption {
  const match = /^([a-z]+):([A-Za-z0-9_]+)=(.*)$/s.exec(text);
  if (match === null) throw new Error('PROVIDER:NAME=VALUE such as cuda:deviceId=0');
  const [, provider = '', name = '', value = ''] = match;
  if (!isProvider(provider)) throw new Error(`a provider of ${PROVIDER_NAMES.join(', ')}`);
  if (name === 'deviceId' && DEVICE_PROVIDERS.includes(provider)) {
    return { provider, name, value: deviceList(value) };
  }
  const read = Object.hasOwn(OPTIONS[provider], name) ? OPTIONS[provider][name] : undefined;
  if (read === undefined) throw new Error(supportedText(provider));
  return { provider, name, value: read(value) };
}

/** The providers with their options; an option of a provider that is not asked for is a mistake. */
export function chooseProviders(
  names: readonly ProviderName[],
  options: readonly ProviderOption[],
  problems: string[],
): ProviderChoice[] {
  for (const { provider, name } of options) {
    if (!names.includes(provider)) {
      problems.push(
        `--execution_provider_option: ${provider}:${name} is given, but ${provider} is not among the providers`,
      );
    }
  }
  return names.map((name) => {
    const own = options.filter(({ provider }) => provider === name);
    const devices = own.findLast((option) => option.name === 'deviceId')?.value as readonly number[] | undefined;
    const rest = own.filter((option) => option.name !== 'deviceId');
    return {
      name,
      deviceIds: devices ?? [],
      options: Object.fromEntries(rest.map((option) => [option.name, option.value as ProviderOptionValue])),
    };
  });
}

/** What the binding is given for one provider; instance `instance` runs on its share of the devices. */
export function bindingProvider(choice: ProviderChoice, instance: number): string | { name: string } {
  const { name, deviceIds, options } = choice;
  if (deviceIds.length === 0 && Object.keys(options).length === 0) return name;
  const device = deviceIds.length === 0 ? {} : { deviceId: deviceIds[instance % deviceIds.length] };
  return { name, ...device, ...options };
}

function supportedText(provider: ProviderName): string {
  const names = Object.keys(OPTIONS[provider]);
  if (DEVICE_PROVIDERS.includes(provider)) names.push('deviceId');
  return names.length === 0
    ? `no option: the binding passes none to ${provider}`
    : `an option the binding passes to ${provider}: ${names.join(', ')}`;
}

function deviceList(text: string): number[] {
  if (!/^\d{1,3}(\+\d{1,3})*$/.test(text)) throw new Error('device numbers such as 0 or 0+1');
  return text.split('+').map(Number);
}

function oneOf(values: readonly string[]): OptionReader {
  return (text) => {
    if (!values.includes(text)) throw new Error(values.join(' or '));
    return text;
  };
}

function isProvider(name: string): name is ProviderName {
  return (PROVIDER_NAMES as readonly string[]).includes(name);
}
