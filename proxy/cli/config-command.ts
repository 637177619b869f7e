/**
 * `understudy config`: explains every setting, and checks a document before it is deployed.
 *
 * Exit codes: 0 all well, 1 the configuration has mistakes, 2 the command itself was wrong.
 */

import { NameAllocator } from '../config/allocation.ts';
import { compileMesh, EMPTY_DOCUMENT } from '../config/compile.ts';
import { MAX_DOCUMENT_BYTES, parseDocument } from '../config/document.ts';
import { type EnvironmentVariables, parseEnvironment } from '../config/env.ts';
import { explainJson, explainText } from '../config/explain.ts';
import { formatProblems, ProblemList } from '../config/problem.ts';
import { readTextFile } from '../config/watched-file.ts';
import { wholeReference } from './reference.ts';

export interface CommandIo {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly env: EnvironmentVariables;
}

const USAGE = `Usage:
  understudy config explain [--json | --markdown]   every setting with its type, default and reason
  understudy config check FILE                      checks a document together with the environment; every mistake at once
`;

const FORMATS: Readonly<Record<string, () => string>> = {
  '': explainText,
  '--json': explainJson,
  '--markdown': wholeReference,
};

/** Runs the command with the words after `config` and returns its exit code. */
export function runConfigCommand(argv: readonly string[], io: CommandIo): number {
  const [verb, ...rest] = argv;
  if (verb === 'explain' && rest.length <= 1) {
    const write = FORMATS[rest[0] ?? ''];
    if (write !== undefined) {
      io.stdout(write());
      return 0;
    }
  }
  if (verb === 'check' && rest.length === 1 && !rest[0]!.startsWith('-')) return check(rest[0]!, io);
  if (verb === '--help' || verb === '-h') {
    io.stdout(`${USAGE}\n${explainText()}`);
    return 0;
  }
  io.stderr(USAGE);
  return 2;
}

/** The file stands in for whatever document the environment names. */
function check(path: string, io: CommandIo): number {
  const problems = new ProblemList();
  const { UNDERSTUDY_CONFIG: _inline, UNDERSTUDY_CONFIG_FILE: _file, ...env } = io.env;
  const environment = parseEnvironment(env, problems);
  let text: string;
  try {
    text = readTextFile(path, MAX_DOCUMENT_BYTES);
  } catch (error) {
    io.stderr(`${path}: ${(error as Error).message}\n`);
    return 1;
  }
  const document = parseDocument(text, problems) ?? EMPTY_DOCUMENT;
  const mesh = compileMesh(environment, document, new NameAllocator().allocate, 1, problems);
  if (mesh === null) {
    io.stderr(`${path}: ${formatProblems(problems.problems)}\n`);
    return 1;
  }
  io.stdout(`${path}: good; ${mesh.models.length} models, ${mesh.clusters.length} clusters\n`);
  return 0;
}
