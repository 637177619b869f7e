/**
 * Mistakes in the configuration, collected so that one attempt reports all of them.
 *
 * A problem names where the value stands (an environment name, or a path into the document such as
 * `models[0].fallback[1].cluster`), the value as written, and what was expected there. Values of secret settings
 * are hidden before they get here: problems are printed and logged.
 */

/** What stands in place of a secret wherever configuration is shown. */
export const HIDDEN = '(hidden)';

export interface Problem {
  /** Environment name, document path, or file name. */
  readonly path: string;
  /** The value as written, cut to 120 characters; undefined where there is none, such as a missing key. */
  readonly value: string | undefined;
  /** Completes "expected ...". */
  readonly expectation: string;
  /** A likely remedy, such as the nearest known name. */
  readonly hint: string | undefined;
  /** Line of the document, counted from 1, when the problem lies in one. */
  readonly line: number | undefined;
}

/** Keeps the problems of one attempt to read the configuration, in the order found, at most `MAX_PROBLEMS` of them. */
export class ProblemList {
  static readonly MAX_PROBLEMS = 200;
  readonly problems: Problem[] = [];
  /** Finds the line of a document path; set while a document is read. */
  lineOf: ((path: string) => number | undefined) | null = null;
  private readonly keys = new Set<string>();

  /** Records one problem; the same expectation at the same path is recorded once. */
  add(path: string, value: string | undefined, expectation: string, hint?: string): void {
    const key = `${path} ${expectation}`;
    if (this.keys.has(key) || this.problems.length === ProblemList.MAX_PROBLEMS) return;
    this.keys.add(key);
    const line = this.lineOf?.(path);
    this.problems.push({ path, value: value === undefined ? undefined : shorten(value), expectation, hint, line });
  }

  /** Whether something at this path or below it is already known to be wrong, so that what follows from it stays unsaid. */
  covers(path: string): boolean {
    return this.problems.some(
      (problem) => problem.path === path || problem.path.startsWith(`${path}.`) || problem.path.startsWith(`${path}[`),
    );
  }

  get length(): number {
    return this.problems.length;
  }
}

/** Every mistake of one attempt, thrown where there is no last good configuration to stay with. */
export class ConfigError extends Error {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(formatProblems(problems));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/** `NAME = "value": expected ...; did you mean ...?` on one line. */
export function formatProblem(problem: Problem): string {
  const line = problem.line === undefined ? '' : ` (line ${problem.line})`;
  const value = problem.value === undefined ? '' : ` = ${JSON.stringify(problem.value)}`;
  const hint = problem.hint === undefined ? '' : `; ${problem.hint}`;
  return `${problem.path}${line}${value}: expected ${problem.expectation}${hint}`;
}

/** All of them under a heading that counts them. */
export function formatProblems(problems: readonly Problem[]): string {
  const heading = problems.length === 1 ? '1 mistake' : `${problems.length} mistakes`;
  return [`${heading} in the configuration:`, ...problems.map((problem) => `  ${formatProblem(problem)}`)].join('\n');
}

function shorten(value: string): string {
  return value.length <= 120 ? value : `${value.slice(0, 117)}...`;
}
