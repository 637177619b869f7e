/** The bench's command line, one for all benches; each reads what concerns it. */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';

export interface BenchOptions {
  /** Measured rounds; each runs every program under test once on every workload. */
  readonly rounds: number;
  /** Length of one measured run. */
  readonly seconds: number;
  /** Ends the output with one line of JSON. */
  readonly json: boolean;
  /** Workloads to run; null for all. */
  readonly only: readonly string[] | null;
  /** Programs to compare; null for all. */
  readonly targets: readonly string[] | null;
  /** Core of the program under test, and of load and backend. */
  readonly testedCore: number;
  readonly loadCore: number;
  /** Folder for CPU profiles of our own program; null for none. A profiler costs CPU: such figures are no results. */
  readonly profileFolder: string | null;
  /** Node's flags for our own proxy instead of those it is shipped with; for tuning. */
  readonly nodeFlags: readonly string[] | null;
}

export const OPTIONS_HELP = `  --rounds N        measured rounds (5)
  --seconds S       length of each run (relay and mirror 1.5, worker 2)
  --quick           few short rounds: under 90 seconds, for a first impression
  --json            ends with one line of JSON
  --only A,B        only these workloads
  --targets A,B     only these programs
  --tested-core N   core of the program under test (0)
  --load-core N     core of load generator and backend (1)
  --cpu-prof DIR    writes CPU profiles of our own program; see profile-summary.ts
  --node-flags=F    Node's flags for our own proxy, instead of those it is shipped with
`;

const QUICK_ROUNDS = 3;
const QUICK_SECONDS = 0.4;

/** Reads the arguments behind the bench's name. Throws an Error that says what is wrong. */
export function readOptions(args: readonly string[], defaults: { rounds: number; seconds: number }): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      only: { type: 'string' },
      targets: { type: 'string' },
      'tested-core': { type: 'string', default: '0' },
      'load-core': { type: 'string', default: '1' },
      'cpu-prof': { type: 'string' },
      'node-flags': { type: 'string' },
    },
  });
  const options: BenchOptions = {
    rounds: positive('rounds', values.rounds, values.quick ? QUICK_ROUNDS : defaults.rounds),
    seconds: positive('seconds', values.seconds, values.quick ? QUICK_SECONDS : defaults.seconds),
    json: values.json,
    only: values.only?.split(',') ?? null,
    targets: values.targets?.split(',') ?? null,
    testedCore: core('tested-core', values['tested-core']),
    loadCore: core('load-core', values['load-core']),
    profileFolder: values['cpu-prof'] ?? null,
    nodeFlags: values['node-flags']?.split(' ').filter(Boolean) ?? null,
  };
  if (options.testedCore === options.loadCore) throw new Error('--tested-core and --load-core must differ');
  return options;
}

function positive(name: string, text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!(value > 0)) throw new Error(`--${name}: a number above 0, not ${text}`);
  return value;
}

function core(name: string, text: string): number {
  const value = Number(text);
  const cores = availableParallelism();
  if (!Number.isInteger(value) || value < 0 || value >= cores) {
    throw new Error(`--${name}: a core from 0 to ${cores - 1}, not ${text}; the bench needs two`);
  }
  return value;
}

/** Cores for a program of this many threads: the tested one, and others that are not the load's as far as there are. */
export function testedCores({ testedCore, loadCore }: BenchOptions, threads: number): number[] {
  const others = Array.from({ length: availableParallelism() }, (_, core) => core).filter(
    (core) => core !== testedCore && core !== loadCore,
  );
  return [testedCore, ...others.slice(0, threads - 1)];
}

/** Those of `all` that `wanted` names, in the order of `all`. Throws if a name is unknown. */
export function chosen<T>(
  what: string,
  all: readonly T[],
  nameOf: (item: T) => string,
  wanted: readonly string[] | null,
): T[] {
  if (wanted === null) return [...all];
  for (const name of wanted) {
    if (!all.some((item) => nameOf(item) === name)) {
      throw new Error(`no ${what} ${name}; there are ${all.map(nameOf).join(', ')}`);
    }
  }
  return all.filter((item) => wanted.includes(nameOf(item)));
}
