/**
 * Reads command lines and their environment twins by a table of flags. TensorFlow Serving's spelling: `--name=value` or
 * `--name value`, one or two dashes, a bare `--name` for a switch. Everything is read before anything is refused, so
 * that one start reports every mistake, each with its name, its value and what was expected.
 */

/** How one flag is read. `parse` throws an Error whose message says what was expected. */
export interface Flag<T> {
  readonly name: string;
  /** What goes after `=` in the help, with its unit. */
  readonly form: string;
  readonly help: string;
  readonly fallback: T;
  readonly parse: (text: string) => T;
  /** A switch takes no separate value: `--name` alone is `true`. */
  readonly isSwitch: boolean;
  /** May be given several times; in the environment the values are separated by white space. */
  readonly repeated: boolean;
}

export interface ParsedFlags {
  readonly problems: readonly string[];
  /** Whether the flag was given at all, on the command line or in the environment. */
  given(name: string): boolean;
  value<T>(flag: Flag<T>): T;
  /** Every value of a repeated flag, in order. */
  values<T>(flag: Flag<T>): readonly T[];
}

export const ENVIRONMENT_PREFIX = 'UNDERSTUDY_WORKER_';

/** The environment variable that stands for a flag; the command line wins over it. */
export function environmentName(flag: string): string {
  return ENVIRONMENT_PREFIX + flag.toUpperCase();
}

/** Reads `argv` (without the program) and `env` against `table`. Never throws. */
export function parseFlags(
  table: readonly Flag<unknown>[],
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): ParsedFlags {
  const byName = new Map(table.map((flag) => [flag.name, flag]));
  const problems: string[] = [];
  const read = new Map<string, unknown[]>();
  const take = (flag: Flag<unknown>, text: string, shown: string): void => {
    const values = read.get(flag.name) ?? [];
    read.set(flag.name, values);
    try {
      values.push(flag.parse(text));
    } catch (error) {
      problems.push(`${shown}: expected ${(error as Error).message}, got ${JSON.stringify(text)}`);
    }
  };
  readArguments(byName, argv, problems, take);
  readEnvironment(byName, env, problems, read, take);
  return {
    problems,
    given: (name) => read.has(name),
    value: <T>(flag: Flag<T>) => (read.get(flag.name)?.at(-1) as T | undefined) ?? flag.fallback,
    values: <T>(flag: Flag<T>) => (read.get(flag.name) ?? []) as T[],
  };
}

type Take = (flag: Flag<unknown>, text: string, shown: string) => void;

function readArguments(
  byName: ReadonlyMap<string, Flag<unknown>>,
  argv: readonly string[],
  problems: string[],
  take: Take,
): void {
  const seen = new Set<string>();
  for (let i = 0; i < argv.length; i++) {
    const match = /^--?([a-zA-Z0-9_]+)(?:=(.*))?$/s.exec(argv[i]!);
    if (match === null) {
      problems.push(`${JSON.stringify(argv[i])}: expected a flag such as --port=8500`);
      continue;
    }
    const name = match[1]!;
    const flag = byName.get(name);
    if (flag === undefined) {
      problems.push(`--${name}: unknown flag (--help lists them)`);
      // Its separate value, if it has one, is no mistake of its own.
      if (match[2] === undefined && i + 1 < argv.length && !argv[i + 1]!.startsWith('-')) i++;
      continue;
    }
    if (seen.has(name) && !flag.repeated) problems.push(`--${name}: given more than once`);
    seen.add(name);
    let text = match[2];
    if (text === undefined && flag.isSwitch) text = /^(true|false)$/.test(argv[i + 1] ?? '') ? argv[++i]! : 'true';
    else if (text === undefined && i + 1 < argv.length && !argv[i + 1]!.startsWith('--')) text = argv[++i]!;
    if (text === undefined) problems.push(`--${name}: expected a value ${flag.form}`);
    else take(flag, text, `--${name}`);
  }
}

function readEnvironment(
  byName: ReadonlyMap<string, Flag<unknown>>,
  env: Readonly<Record<string, string | undefined>>,
  problems: string[],
  read: ReadonlyMap<string, unknown[]>,
  take: Take,
): void {
  for (const variable of Object.keys(env).sort()) {
    if (!variable.startsWith(ENVIRONMENT_PREFIX)) continue;
    const name = variable.slice(ENVIRONMENT_PREFIX.length).toLowerCase();
    const flag = byName.get(name);
    if (flag === undefined) problems.push(`${variable}: unknown setting (--help lists the flags they stand for)`);
    else if (!read.has(name)) {
      const text = env[variable] ?? '';
      const parts = flag.repeated ? text.split(/\s+/).filter((part) => part !== '') : [text];
      for (const part of parts) take(flag, part, variable);
    }
  }
}

interface FlagText {
  readonly name: string;
  readonly form?: string;
  readonly help: string;
}

/** A flag that takes any text. */
export function textFlag(text: FlagText & { fallback?: string; repeated?: boolean }): Flag<string> {
  const { name, form = '=TEXT', help, fallback = '', repeated = false } = text;
  return { name, form, help, fallback, parse: (value) => value, isSwitch: false, repeated };
}

/** A whole number between `least` and `most`. */
export function numberFlag(text: FlagText & { fallback: number; least: number; most: number }): Flag<number> {
  const { name, form = '=N', help, fallback, least, most } = text;
  const parse = (value: string): number => {
    const number = /^-?\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= least && number <= most)) throw new Error(`a whole number from ${least} to ${most}`);
    return number;
  };
  return { name, form, help, fallback, parse, isSwitch: false, repeated: false };
}

/** `true` or `false`, `1` or `0`; alone it means true. */
export function switchFlag(text: FlagText & { fallback: boolean }): Flag<boolean> {
  const { name, form = '[=true|false]', help, fallback } = text;
  const parse = (value: string): boolean => {
    if (value === 'true' || value === '1') return true;
    if (value === 'false' || value === '0') return false;
    throw new Error('true or false');
  };
  return { name, form, help, fallback, parse, isSwitch: true, repeated: false };
}

/** One of a few words. */
export function choiceFlag<T extends string>(text: FlagText & { fallback: T; choices: readonly T[] }): Flag<T> {
  const { name, form = `=${text.choices.join('|')}`, help, fallback, choices } = text;
  const parse = (value: string): T => {
    if (!choices.includes(value as T)) throw new Error(choices.join(' or '));
    return value as T;
  };
  return { name, form, help, fallback, parse, isSwitch: false, repeated: false };
}

/** A value read by a function of its own. */
export function parsedFlag<T>(
  text: FlagText & { fallback: T; parse: (value: string) => T; repeated?: boolean },
): Flag<T> {
  const { name, form = '=VALUE', help, fallback, parse, repeated = false } = text;
  return { name, form, help, fallback, parse, isSwitch: false, repeated };
}

/** The help text: one flag a line with its form, default and meaning. */
export function flagsHelp(table: readonly Flag<unknown>[]): string {
  const lines = table.map(({ name, form, help, fallback }) => {
    const text = Array.isArray(fallback) ? fallback.join(',') : String(fallback ?? '');
    return `  --${name}${form}\n      ${help}${text === '' ? '' : ` Default ${text}.`}\n`;
  });
  return `${lines.join('')}\nEach flag has a twin in the environment: ${ENVIRONMENT_PREFIX} and its name in capitals.\n`;
}
