/** The injector's settings, all from the environment: every mistake is found in one start. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { LogLevel } from '../../base/logger.ts';
import { UnitError } from '../../base/units.ts';
import { defaultOf, expectationOf, type Field, type FieldValue, parseField } from '../../proxy/config/field.ts';
import { nearestHint } from '../../proxy/config/nearest-name.ts';
import { isRecord } from './kubernetes.ts';

export const INJECTOR_PREFIX = 'UNDERSTUDY_INJECTOR_';

export const INJECTOR_FIELDS = {
  LISTEN: {
    kind: 'listen',
    default: '[::]:8443',
    reason: 'Where the API server reaches the webhook; an unprivileged port, behind a Service at 443.',
    reloadable: false,
  },
  CERT_FILE: {
    kind: 'text',
    default: '/etc/understudy/tls/tls.crt',
    reason: 'Certificate chain, as a Secret of type kubernetes.io/tls names it. Reloaded when it changes.',
    reloadable: true,
  },
  KEY_FILE: {
    kind: 'text',
    default: '/etc/understudy/tls/tls.key',
    reason: 'Its private key. Reloaded together with the certificate.',
    reloadable: true,
  },
  DEFAULTS_FILE: {
    kind: 'text',
    default: null,
    unset: 'no defaults, so each pod must name its image',
    reason: 'YAML or JSON: annotations that hold for every pod unless the pod says otherwise.',
    reloadable: false,
  },
  SHUTDOWN_DELAY: {
    kind: 'duration',
    default: '5s',
    min: 0,
    max: 300_000,
    reason: 'How long after SIGTERM requests are still taken, until the API server knows that this one is going.',
    reloadable: false,
  },
  LOG_LEVEL: {
    kind: 'choice',
    choices: ['debug', 'info', 'warn', 'error', 'silent'],
    default: 'info',
    reason: 'Least severity written to standard error. Each review is one line at info.',
    reloadable: false,
  },
} as const satisfies Record<string, Field>;

type Values = { readonly [K in keyof typeof INJECTOR_FIELDS]: FieldValue<(typeof INJECTOR_FIELDS)[K]> };

export interface InjectorSettings {
  readonly host: string;
  readonly port: number;
  readonly certFile: string;
  readonly keyFile: string;
  readonly defaults: Readonly<Record<string, string>>;
  readonly shutdownDelayMs: number;
  readonly logLevel: LogLevel;
}

/** The settings, or every mistake in them. Reads the defaults file. */
export function readInjectorSettings(
  env: Readonly<Record<string, string | undefined>>,
): { readonly settings: InjectorSettings } | { readonly problems: readonly string[] } {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(INJECTOR_FIELDS)) {
    values[key] = readField(INJECTOR_PREFIX + key, field, env[INJECTOR_PREFIX + key], problems);
  }
  for (const name of Object.keys(env).filter((known) => known.startsWith(INJECTOR_PREFIX))) {
    const key = name.slice(INJECTOR_PREFIX.length);
    if (Object.hasOwn(INJECTOR_FIELDS, key) || isServiceVariable(key)) continue;
    const hint = nearestHint(key, Object.keys(INJECTOR_FIELDS));
    problems.push(`${name}: expected a known name${hint === undefined ? '' : `; ${hint}`}`);
  }
  const { LISTEN, CERT_FILE, KEY_FILE, DEFAULTS_FILE, SHUTDOWN_DELAY, LOG_LEVEL } = values as Values;
  const address = LISTEN[0];
  if (LISTEN.length !== 1 || address?.kind !== 'tcp') problems.push(`${INJECTOR_PREFIX}LISTEN: expected one IP:PORT`);
  const defaults = DEFAULTS_FILE === null ? {} : readDefaults(DEFAULTS_FILE, problems);
  if (problems.length > 0 || address?.kind !== 'tcp') return { problems };
  return {
    settings: {
      host: address.host,
      port: address.port,
      certFile: CERT_FILE,
      keyFile: KEY_FILE,
      defaults,
      shutdownDelayMs: SHUTDOWN_DELAY,
      logLevel: LOG_LEVEL as LogLevel,
    },
  };
}

/** The kubelet invents these for a Service called `understudy-injector`. */
function isServiceVariable(key: string): boolean {
  return /^(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_TCP(?:_(?:PROTO|PORT|ADDR))?)?)$/.test(key);
}

function readField(name: string, field: Field, text: string | undefined, problems: string[]): unknown {
  if (text === undefined || text.trim() === '') return defaultOf(field);
  try {
    return parseField(field, text.trim());
  } catch (error) {
    if (!(error instanceof UnitError)) throw error;
    problems.push(`${name} = ${JSON.stringify(text)}: expected ${expectationOf(field)}`);
    return defaultOf(field);
  }
}

function readDefaults(path: string, problems: string[]): Record<string, string> {
  try {
    const document: unknown = parse(readFileSync(path, 'utf8')) ?? {};
    if (isRecord(document) && Object.values(document).every((value) => typeof value === 'string')) {
      return document as Record<string, string>;
    }
    problems.push(`${path}: expected text values by annotation name`);
  } catch (error) {
    problems.push(`${path}: ${(error as Error).message}`);
  }
  return {};
}
