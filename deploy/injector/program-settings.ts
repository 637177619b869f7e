/**
 * Annotations that stand for settings of our programs, turned into their environment and checked by their own readers,
 * so that a pod with a mistake is refused at once instead of crashing later.
 *
 *   proxy.understudy.dev/outbound-other-models: upstream     UNDERSTUDY_OUTBOUND_OTHER_MODELS
 *   model.understudy.dev/credit-risk.primary: credit-risk@1  UNDERSTUDY_MODEL_CREDIT_RISK_PRIMARY
 *   worker.understudy.dev/max_batch_size: "128"              UNDERSTUDY_WORKER_MAX_BATCH_SIZE
 *   intercept.understudy.dev/outbound-ports: 8500,9000       UNDERSTUDY_INTERCEPT_OUTBOUND_PORTS
 */
import { readSettings } from '../../inference-worker/settings.ts';
import { FLAGS as WORKER_FLAGS } from '../../inference-worker/worker-flags.ts';
import { type FlagSpec, FLAGS as INTERCEPT_FLAGS } from '../../proxy/cli/intercept-flags.ts';
import { readInterceptOptions } from '../../proxy/cli/intercept-options.ts';
import { compileMesh, EMPTY_DOCUMENT } from '../../proxy/config/compile.ts';
import { parseEnvironment } from '../../proxy/config/env.ts';
import { formatProblem, ProblemList } from '../../proxy/config/problem.ts';
import { PROCESS_FIELDS } from '../../proxy/config/process-fields.ts';
import { SHORTHAND_FIELDS } from '../../proxy/config/shorthand-fields.ts';
import { DOMAIN } from './annotations.ts';

export type Environment = Readonly<Record<string, string>>;

/** Settings of one pod as annotations gave them, and which annotation gave each. */
export interface ProgramSettings {
  readonly proxy: Environment;
  readonly worker: Environment;
  readonly intercept: Environment;
  readonly source: ReadonlyMap<string, string>;
}

type Program = 'proxy' | 'worker' | 'intercept';

/** What only the injector may set, since the pod's other parts depend on it. */
const RESERVED: ReadonlySet<string> = new Set([
  'proxy.outbound-listen',
  'proxy.inbound-listen',
  'proxy.admin-listen',
  'proxy.metrics-listen',
  'proxy.config-file',
  'worker.port',
  'worker.host',
  'worker.grpc_socket_path',
  'worker.socket_mode',
  'worker.model_repository',
  'worker.model_config_file',
  'worker.help',
  'worker.version',
  ...INTERCEPT_FLAGS.filter((spec: FlagSpec) => spec.inPods !== undefined).map(({ flag }) => `intercept.${flag}`),
]);

/** Annotation names of each family and the environment names they stand for; `model` is by suffix. */
export const SETTING_NAMES: Readonly<Record<Program, ReadonlyMap<string, string>>> = {
  proxy: new Map(
    Object.values(PROCESS_FIELDS).map(({ environment }) => [
      kebab(environment.slice('UNDERSTUDY_'.length)),
      environment,
    ]),
  ),
  worker: new Map(Object.keys(WORKER_FLAGS).map((name) => [name, `UNDERSTUDY_WORKER_${name.toUpperCase()}`])),
  intercept: new Map(
    INTERCEPT_FLAGS.map(({ flag }) => [flag, `UNDERSTUDY_INTERCEPT_${flag.toUpperCase().replaceAll('-', '_')}`]),
  ),
};
const MODEL_SUFFIXES = new Map(Object.values(SHORTHAND_FIELDS).map(({ suffix }) => [kebab(suffix), suffix]));

/** Reads the four families; unknown and reserved names go to `problems`. Values are not looked at. */
export function readProgramSettings(given: Readonly<Record<string, string>>, problems: string[]): ProgramSettings {
  const settings = { proxy: {}, worker: {}, intercept: {} } as Record<Program, Record<string, string>>;
  const source = new Map<string, string>();
  for (const key of Object.keys(given).sort()) {
    const match = /^(proxy|model|worker|intercept)\.understudy\.dev\/(.+)$/.exec(key);
    if (match === null) continue;
    const [, family, name] = match as unknown as [string, Program | 'model', string];
    const program = family === 'model' ? 'proxy' : family;
    const environment = family === 'model' ? modelEnvironment(name) : SETTING_NAMES[family].get(name);
    if (environment === undefined) problems.push(`${key}: no such setting`);
    else if (RESERVED.has(`${family}.${name}`)) problems.push(`${key}: set by the injector; remove it`);
    else if (source.has(environment)) problems.push(`${key}: ${source.get(environment)} says the same`);
    else {
      settings[program][environment] = given[key]!;
      source.set(environment, key);
    }
  }
  return { ...settings, source };
}

/** The families' prefixes, for whoever lists annotations. */
export const FAMILIES: readonly string[] = ['proxy', 'model', 'worker', 'intercept'].map(
  (name) => `${name}.${DOMAIN}/`,
);

/** Checks the environment a proxy is going to have. `hasDocument` leaves out what only the whole configuration shows. */
export function checkProxy(env: Environment, hasDocument: boolean, source: ProgramSettings['source']): string[] {
  const list = new ProblemList();
  const environment = parseEnvironment(env, list);
  if (list.length === 0 && !hasDocument) {
    let places = 0;
    compileMesh(environment, EMPTY_DOCUMENT, () => places++, 1, list);
  }
  return list.problems.map((problem) => renamed(formatProblem(problem), source));
}

export function checkWorker(env: Environment, source: ProgramSettings['source']): string[] {
  const result = readSettings([], env);
  return result.kind === 'mistakes' ? result.problems.map((problem) => renamed(problem, source)) : [];
}

export function checkInterception(env: Environment, source: ProgramSettings['source']): string[] {
  return (readInterceptOptions([], env).mistakes ?? []).map((mistake) => renamed(mistake, source));
}

/** Says the annotation's name where a message says its variable. */
function renamed(message: string, source: ReadonlyMap<string, string>): string {
  let text = message;
  for (const [environment, key] of source) text = text.replaceAll(environment, key);
  return text;
}

function modelEnvironment(name: string): string | undefined {
  const dot = name.lastIndexOf('.');
  const suffix = MODEL_SUFFIXES.get(name.slice(dot + 1));
  const group = name.slice(0, Math.max(0, dot)).toUpperCase().replaceAll(/[-.]/g, '_');
  return suffix === undefined || !/^[A-Z0-9_]{1,63}$/.test(group) ? undefined : `UNDERSTUDY_MODEL_${group}_${suffix}`;
}

function kebab(name: string): string {
  return name.toLowerCase().replaceAll('_', '-');
}
