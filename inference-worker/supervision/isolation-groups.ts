/**
 * Which process serves which models, and where. A group is one process: what crashes in it takes nothing else down.
 * Pure: requests and models in, groups and mistakes out.
 */
import type { ModelConfig } from '../repository/managed-model.ts';
import { parsePolicyItem, type VersionPolicy } from '../repository/version-policy.ts';

export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** `host:port`, or the path of a Unix socket. */
export function addressText(address: ListenAddress): string {
  return address.kind === 'unix' ? address.path : `${address.host}:${address.port}`;
}

/** Models of one group that are found by looking into a directory of models. */
export interface DirectorySettings {
  readonly path: string;
  /** Policy of a model that `policies` does not name. */
  readonly policy: VersionPolicy;
  readonly policies: ReadonlyMap<string, VersionPolicy>;
  /** The only models served; null serves all but those in `except`. */
  readonly only: readonly string[] | null;
  readonly except: readonly string[];
}

/** Models of one group that come from a configuration file, and may change with it. */
export interface ConfigFileSettings {
  readonly path: string;
  /** Models of the group that flags name: the file does not change them. */
  readonly fixed: readonly ModelConfig[];
  readonly policies: ReadonlyMap<string, VersionPolicy>;
  /** The only models taken from the file; null takes all but those in `except`. */
  readonly only: readonly string[] | null;
  readonly except: readonly string[];
}

/** What a group serves of a configuration file's models, with those that flags name. */
export function modelsOfFile(scope: ConfigFileSettings, models: readonly ModelConfig[]): ModelConfig[] {
  const { fixed, only, except, policies } = scope;
  const taken = models.filter(({ name }) => (only === null ? !except.includes(name) : only.includes(name)));
  const own = taken.filter(({ name }) => !fixed.some((model) => model.name === name));
  return [...fixed, ...own.map((model) => ({ ...model, policy: policies.get(model.name) ?? model.policy }))];
}

/** One isolation group: the process that serves these models at these addresses. */
export interface GroupSettings {
  readonly name: string;
  readonly addresses: readonly ListenAddress[];
  readonly models: readonly ModelConfig[];
  readonly directory: DirectorySettings | null;
  /** Where the HTTP APIs listen besides; they answer at `addresses` too. */
  readonly restAddresses: readonly ListenAddress[];
  readonly configFile: ConfigFileSettings | null;
}

/** A group as `--group` asks for it. `tcp` hosts are filled in later. */
export interface GroupRequest {
  readonly name: string;
  /** A path, or a port. */
  readonly address: string | number;
  readonly models: readonly { readonly name: string; readonly policy: VersionPolicy | null }[];
}

/** The model name that stands for every model no other group names. */
export const REST_OF_MODELS = '*';
export const DEFAULT_GROUP_NAME = 'default';

/** Most groups of one worker: each is a process. */
export const MAX_GROUPS = 64;

/** Reads `NAME:ADDRESS:MODEL[@POLICY][,...]`. Throws an Error saying what was expected. */
export function parseGroup(text: string): GroupRequest {
  const [name = '', address = '', list = '', ...more] = text.split(':');
  const models = list.split(',').map(parsePolicyItem);
  const whole = models.filter((model) => model !== null);
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(name) || address === '' || more.length > 0 || whole.length < models.length) {
    throw new Error('NAME:SOCKET_PATH_OR_PORT:MODEL[@POLICY][,MODEL...], the path without a colon');
  }
  if (!/^\d+$/.test(address)) return { name, address, models: whole };
  if (Number(address) > 65_535) throw new Error('a port of at most 65535');
  return { name, address: Number(address), models: whole };
}

export interface GroupingInput {
  readonly requests: readonly GroupRequest[];
  readonly models: readonly ModelConfig[];
  /** The repository directory, or empty. */
  readonly directory: string;
  readonly directoryPolicy: VersionPolicy;
  /** Host of TCP addresses given as ports. */
  readonly host: string;
  /** Where the single group listens when no group is asked for. */
  readonly addresses: readonly ListenAddress[];
  readonly restAddresses: readonly ListenAddress[];
  /** The configuration file, or empty, and the names of the models that came from it. */
  readonly configFile: string;
  readonly fileModels: ReadonlySet<string>;
}

/** Gives every model to a group. Without requests one group serves everything. */
export function divideIntoGroups(input: GroupingInput): { groups: GroupSettings[]; problems: string[] } {
  const { requests, models, directory, directoryPolicy: policy } = input;
  if (requests.length === 0) {
    const everything: DirectorySettings = { path: directory, policy, policies: new Map(), only: null, except: [] };
    const single: GroupSettings = {
      name: DEFAULT_GROUP_NAME,
      addresses: input.addresses,
      models,
      directory: directory === '' ? null : everything,
      restAddresses: input.restAddresses,
      configFile: configFileOf(input, models, new Map(), true, new Set()),
    };
    return { groups: [single], problems: [] };
  }
  const problems = groupProblems(input);
  const named = new Set(requests.flatMap((request) => request.models.map((model) => model.name)));
  const groups: GroupSettings[] = [];
  for (const request of requests) {
    const rest = request.models.some((model) => model.name === REST_OF_MODELS);
    const asked = new Map(request.models.map((model) => [model.name, model.policy]));
    const served: ModelConfig[] = [];
    for (const model of models) {
      if (asked.has(model.name)) served.push({ ...model, policy: asked.get(model.name) ?? model.policy });
      else if (rest && !named.has(model.name)) served.push(model);
    }
    const address: ListenAddress =
      typeof request.address === 'number'
        ? { kind: 'tcp', host: input.host, port: request.address }
        : { kind: 'unix', path: request.address };
    groups.push({
      name: request.name,
      addresses: [address],
      models: served,
      directory: directory === '' ? null : directoryOf(input, request, asked, rest, named),
      restAddresses: [],
      configFile: configFileOf(input, served, asked, rest, named),
    });
  }
  return { groups, problems };
}

function configFileOf(
  input: GroupingInput,
  served: readonly ModelConfig[],
  asked: ReadonlyMap<string, VersionPolicy | null>,
  rest: boolean,
  named: ReadonlySet<string>,
): ConfigFileSettings | null {
  if (input.configFile === '') return null;
  const policies = new Map<string, VersionPolicy>();
  for (const [name, policy] of asked) if (policy !== null) policies.set(name, policy);
  return {
    path: input.configFile,
    fixed: served.filter(({ name }) => !input.fileModels.has(name)),
    policies,
    only: rest ? null : [...asked.keys()],
    except: [...named].filter((name) => !asked.has(name)),
  };
}

/** What a group takes from the repository directory: the models it names that are not configured otherwise, or the rest. */
function directoryOf(
  input: GroupingInput,
  request: GroupRequest,
  asked: ReadonlyMap<string, VersionPolicy | null>,
  rest: boolean,
  named: ReadonlySet<string>,
): DirectorySettings | null {
  const configured = new Set(input.models.map((model) => model.name));
  const policies = new Map<string, VersionPolicy>();
  for (const [name, policy] of asked) if (policy !== null) policies.set(name, policy);
  const own = request.models.map((model) => model.name).filter((name) => !configured.has(name));
  if (!rest && own.length === 0) return null;
  const others = [...named].filter((name) => !asked.has(name));
  return {
    path: input.directory,
    policy: asked.get(REST_OF_MODELS) ?? input.directoryPolicy,
    policies,
    only: rest ? null : own,
    except: rest ? [...others, ...configured] : [],
  };
}

function groupProblems({ requests, models, directory }: GroupingInput): string[] {
  const problems: string[] = [];
  if (requests.length > MAX_GROUPS) problems.push(`--group: expected at most ${MAX_GROUPS}, got ${requests.length}`);
  for (const name of repeated(requests.map((request) => request.name))) {
    problems.push(`--group: two groups are named ${name}`);
  }
  // Port 0 is any free port, so several groups may ask for it.
  for (const address of repeated(requests.map((request) => String(request.address)).filter((text) => text !== '0'))) {
    problems.push(`--group: two groups listen at ${address}`);
  }
  const claims = new Map<string, (VersionPolicy | null)[]>();
  for (const request of requests) {
    for (const { name, policy } of request.models) claims.set(name, [...(claims.get(name) ?? []), policy]);
  }
  for (const [name, policies] of claims) {
    if (policies.length > 1 && !areDisjoint(policies)) {
      problems.push(
        `--group: model ${name} is in two groups; that needs versions that differ, like ${name}@1 and ${name}@2`,
      );
    }
    const known = name === REST_OF_MODELS || directory !== '' || models.some((model) => model.name === name);
    if (!known) problems.push(`--group: model ${name} is not configured`);
  }
  if (!claims.has(REST_OF_MODELS)) {
    for (const { name } of models) if (!claims.has(name)) problems.push(`--group: no group serves model ${name}`);
  }
  return problems;
}

function areDisjoint(policies: readonly (VersionPolicy | null)[]): boolean {
  const versions: bigint[] = [];
  for (const policy of policies) {
    if (policy?.kind !== 'specific') return false;
    versions.push(...policy.versions);
  }
  return new Set(versions).size === versions.length;
}

function repeated(values: readonly string[]): string[] {
  return [...new Set(values.filter((value, i) => values.indexOf(value) !== i))];
}
