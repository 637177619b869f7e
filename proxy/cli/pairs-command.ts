/**
 * `understudy pairs export`: the pairs a proxy has kept, as JSON lines on standard output.
 *
 * Exit codes: 0 all well, 1 the file cannot be read, 2 the command itself was wrong.
 */
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';

export interface PairsIo {
  /** Resolves when more may be written. */
  readonly write: (text: string) => Promise<void>;
  readonly stderr: (text: string) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const USAGE = `Usage:
  understudy pairs export [--store FILE] [--model NAME] [--kind divergent|sample] [--limit N]
      the pairs kept in FILE (default: UNDERSTUDY_PAIR_STORE), one JSON object a line
`;

/** Runs the command with the words after `pairs` and resolves to its exit code. */
export async function runPairsCommand(argv: readonly string[], io: PairsIo): Promise<number> {
  const options = readOptions(argv, io.env['UNDERSTUDY_PAIR_STORE']);
  if (options === null) {
    io.stderr(USAGE);
    return 2;
  }
  const { store, ...filter } = options;
  try {
    if (!existsSync(store)) throw new Error('no such file');
    const { exportPairs } = await import('../mirror/pair-export.ts');
    for await (const page of exportPairs(store, filter)) await io.write(page);
    return 0;
  } catch (error) {
    io.stderr(`${store}: ${(error as Error).message}\n`);
    return 1;
  }
}

function readOptions(argv: readonly string[], fromEnvironment: string | undefined) {
  const [verb, ...args] = argv;
  if (verb !== 'export') return null;
  const text = { type: 'string' } as const;
  try {
    const { values } = parseArgs({ args, options: { store: text, model: text, kind: text, limit: text } });
    const store = values.store ?? fromEnvironment ?? '';
    const kind = values.kind ?? '';
    const limit = values.limit === undefined ? Number.MAX_SAFE_INTEGER : Number(values.limit);
    if (store === '' || !['', 'divergent', 'sample'].includes(kind)) return null;
    if (!Number.isSafeInteger(limit) || limit < 1) return null;
    return { store, kind, limit, model: values.model ?? '' };
  } catch {
    return null;
  }
}
