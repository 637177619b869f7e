/**
 * The environment, parsed once at the edge.
 *
 * Every name that starts with `UNDERSTUDY_` is accounted for: it is a setting, a model's shorthand, another program's,
 * or a mistake. All of them are read before any failure is reported, so one start names every mistake.
 */

import { countPorts, UnitError } from '../../base/units.ts';
import { formatAddress } from './address.ts';
import { ENVIRONMENT_PREFIX, FOREIGN_PREFIXES, KUBERNETES_SERVICE_NAME } from './environment-names.ts';
import { defaultOf, expectationOf, type Field, type FieldValue, parseField } from './field.ts';
import { CONNECTION_LOG_FIELDS, REQUEST_LOG_FIELDS, unknownLogFields } from './log-template.ts';
import { nearestHint, nearestName } from './nearest-name.ts';
import { ConfigError, HIDDEN, ProblemList } from './problem.ts';
import { PROCESS_FIELDS, type ProcessField, type ProcessSettings } from './process-fields.ts';
import { MODEL_PREFIX, SHORTHAND_FIELDS, type ShorthandValues } from './shorthand-fields.ts';
import { checkTlsSettings } from './tls-settings.ts';

export type EnvironmentVariables = Readonly<Record<string, string | undefined>>;

/** One model written in the environment. */
export interface ModelShorthand {
  /** NAME of `UNDERSTUDY_MODEL_<NAME>_PRIMARY`; it groups and names nothing else. */
  readonly group: string;
  readonly values: ShorthandValues;
}

export interface Environment {
  readonly settings: ProcessSettings;
  readonly shorthands: readonly ModelShorthand[];
}

/** Ports `UNDERSTUDY_OUTBOUND_EXPLICIT_PORTS` may name in all: each is a socket per data thread. */
const MAX_EXPLICIT_PORTS = 64;

/** Models the shorthand may name. */
const MAX_SHORTHANDS = 256;

const PROCESS_BY_NAME: ReadonlyMap<string, ProcessField> = new Map(
  Object.values(PROCESS_FIELDS).map((field) => [field.environment, field]),
);

/** Parses the environment or throws a `ConfigError` with every mistake in it. */
export function readEnvironment(env: EnvironmentVariables): Environment {
  const problems = new ProblemList();
  const environment = parseEnvironment(env, problems);
  if (problems.length > 0) throw new ConfigError(problems.problems);
  return environment;
}

/** Parses the environment; mistakes go to `problems`, and the values they leave out are the defaults. */
export function parseEnvironment(env: EnvironmentVariables, problems: ProblemList): Environment {
  const settings: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(PROCESS_FIELDS)) {
    settings[key] = parseValue(field, field.environment, env[field.environment], problems);
  }
  const shorthands = parseShorthands(env, problems);
  reportUnknownNames(env, problems);
  checkTogether(settings as ProcessSettings, problems);
  return { settings: settings as ProcessSettings, shorthands };
}

/** `UNDERSTUDY_MODEL_<GROUP>_<SUFFIX>`. */
export function shorthandName(group: string, key: keyof ShorthandValues): string {
  return `${MODEL_PREFIX}${group}_${SHORTHAND_FIELDS[key].suffix}`;
}

/** An empty or blank variable counts as unset: templates write those for values they do not have. */
function parseValue<F extends Field>(
  field: F,
  name: string,
  text: string | undefined,
  problems: ProblemList,
): FieldValue<F> {
  if (text === undefined || text.trim() === '') return defaultOf(field);
  try {
    return parseField(field, field.kind === 'text' ? text : text.trim()) as FieldValue<F>;
  } catch (error) {
    if (!(error instanceof UnitError)) throw error;
    problems.add(name, field.secret === true ? HIDDEN : text, expectationOf(field), choiceHint(field, text));
    return defaultOf(field);
  }
}

function choiceHint(field: Field, text: string): string | undefined {
  return field.choices === undefined ? undefined : nearestHint(text.trim(), field.choices);
}

function parseShorthands(env: EnvironmentVariables, problems: ProblemList): ModelShorthand[] {
  const groups = new Set<string>();
  for (const name of Object.keys(env).sort()) {
    const group = shorthandGroup(name);
    if (group !== null && env[name]?.trim()) groups.add(group);
  }
  const shorthands: ModelShorthand[] = [];
  for (const group of groups) {
    const values = parseShorthand(group, env, problems);
    if (values !== null) shorthands.push({ group, values });
  }
  if (shorthands.length > MAX_SHORTHANDS) {
    problems.add(`${MODEL_PREFIX}*`, undefined, `at most ${MAX_SHORTHANDS} models`, 'write them in a document');
  }
  return shorthands.slice(0, MAX_SHORTHANDS);
}

function parseShorthand(group: string, env: EnvironmentVariables, problems: ProblemList): ShorthandValues | null {
  const values: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(SHORTHAND_FIELDS)) {
    const name = shorthandName(group, key as keyof ShorthandValues);
    values[key] = parseValue(field, name, env[name], problems);
  }
  const { primary, canary } = values as { [K in keyof ShorthandValues]: ShorthandValues[K] | null };
  const primaryName = shorthandName(group, 'primary');
  if (canary?.some((share) => share.percentHundredths === null)) {
    const name = shorthandName(group, 'canary');
    problems.add(name, env[name], 'a percentage with each target, such as credit-risk@2 5%');
  }
  if (primary === null && !env[primaryName]?.trim()) {
    problems.add(primaryName, undefined, `the model's primary, since other names of ${MODEL_PREFIX}${group} are set`);
  }
  return primary === null ? null : (values as ShorthandValues);
}

/** The NAME in a shorthand's variable, null for any other variable. */
function shorthandGroup(name: string): string | null {
  if (!name.startsWith(MODEL_PREFIX)) return null;
  for (const { suffix } of Object.values(SHORTHAND_FIELDS)) {
    if (!name.endsWith(`_${suffix}`)) continue;
    const group = name.slice(MODEL_PREFIX.length, -suffix.length - 1);
    if (/^[A-Za-z0-9_]{1,128}$/.test(group)) return group;
  }
  return null;
}

function reportUnknownNames(env: EnvironmentVariables, problems: ProblemList): void {
  for (const name of Object.keys(env).sort()) {
    if (!name.startsWith(ENVIRONMENT_PREFIX) || PROCESS_BY_NAME.has(name) || shorthandGroup(name) !== null) continue;
    if (FOREIGN_PREFIXES.some(({ prefix }) => name.startsWith(prefix)) || KUBERNETES_SERVICE_NAME.test(name)) continue;
    const candidates = name.startsWith(MODEL_PREFIX) ? shorthandGuesses(name) : PROCESS_BY_NAME.keys();
    // The value is not shown: the name may be a mistyped secret's.
    problems.add(name, undefined, 'a known name', nearestSetting(name, candidates));
  }
}

/** Compares without the prefix, which would make every name look near. */
function nearestSetting(name: string, candidates: Iterable<string>): string {
  const rests = Array.from(candidates, (candidate) => candidate.slice(ENVIRONMENT_PREFIX.length));
  const nearest = nearestName(name.slice(ENVIRONMENT_PREFIX.length), rests);
  return nearest === undefined ? 'see understudy config explain' : `did you mean ${ENVIRONMENT_PREFIX}${nearest}?`;
}

/** The shorthand names that share all but the last one or two words with this one. */
function shorthandGuesses(name: string): string[] {
  const words = name.slice(MODEL_PREFIX.length).split('_');
  const groups = [words.slice(0, -1), words.slice(0, -2), words].map((group) => group.join('_')).filter(Boolean);
  return groups.flatMap((group) =>
    Object.values(SHORTHAND_FIELDS).map((field) => `${MODEL_PREFIX}${group}_${field.suffix}`),
  );
}

/** Rules between settings. */
function checkTogether(settings: ProcessSettings, problems: ProblemList): void {
  const { configFile, configInline, shutdownDelayMs, shutdownGracePeriodMs, outboundExplicitPorts } = settings;
  if (configFile !== null && configInline !== null) {
    problems.add('UNDERSTUDY_CONFIG', HIDDEN, 'no value, since UNDERSTUDY_CONFIG_FILE names a document', 'keep one');
  }
  if (shutdownDelayMs > shutdownGracePeriodMs) {
    const hint = 'the delay is a part of the grace period';
    problems.add('UNDERSTUDY_SHUTDOWN_DELAY', `${shutdownDelayMs}ms`, 'at most UNDERSTUDY_SHUTDOWN_GRACE_PERIOD', hint);
  }
  if (countPorts(outboundExplicitPorts) > MAX_EXPLICIT_PORTS) {
    problems.add('UNDERSTUDY_OUTBOUND_EXPLICIT_PORTS', undefined, `at most ${MAX_EXPLICIT_PORTS} ports in all`);
  }
  checkTlsSettings(settings, problems);
  const { accessLogTemplate: template } = settings;
  const unknown = template === null ? [] : unknownLogFields(template);
  if (unknown.length > 0) {
    const known = [...REQUEST_LOG_FIELDS, ...CONNECTION_LOG_FIELDS].join(', ');
    problems.add('UNDERSTUDY_ACCESS_LOG_TEMPLATE', `{${unknown.join('} {')}}`, `known fields: ${known}`);
  }
  checkTracing(settings, problems);
  checkListeners(settings, problems);
}

/** The endpoint of tracing is a URL that can be posted to. */
function checkTracing({ tracingEndpoint }: ProcessSettings, problems: ProblemList): void {
  if (tracingEndpoint === null || /^https?:\/\/./.test(URL.parse(tracingEndpoint)?.href ?? '')) return;
  const name = PROCESS_FIELDS.tracingEndpoint.environment;
  problems.add(name, tracingEndpoint, 'an http or https URL such as http://collector:4318/v1/traces');
}

/** No two listeners share an address: the second bind would fail after the first had begun to serve. */
function checkListeners(settings: ProcessSettings, problems: ProblemList): void {
  const owners = new Map<string, string>();
  for (const key of ['outboundListen', 'inboundListen', 'adminListen', 'metricsListen'] as const) {
    const name = PROCESS_FIELDS[key].environment;
    for (const address of settings[key]) {
      if (address.kind === 'tcp' && address.port === 0) continue;
      const text = formatAddress(address);
      const owner = owners.get(text);
      if (owner !== undefined) problems.add(name, text, `an address of its own; ${owner} listens there`);
      owners.set(text, name);
    }
  }
}
