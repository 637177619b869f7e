/**
 * One program of ours run as a child process: its lines as they come, its log in a file, an orderly end.
 *
 * Rule: after `stop` resolves the process is gone. It leads a process group of its own, so that Ctrl-C in a terminal
 * reaches only the demo, which then ends everything in order; and so that its own children can be ended with it. Standard output and standard error are read line by line; lines that
 * are JSON objects go to `onEvent`, and everything goes to the log file, so that a terminal keeps its table.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** A line that was a JSON object. */
export type ProgramEvent = Readonly<Record<string, unknown>>;

export interface ProgramOptions {
  /** For messages: `worker`, `proxy`. */
  readonly name: string;
  /** Path of the TypeScript file. */
  readonly program: string;
  readonly args: readonly string[];
  /** Added to this process's environment, from which every UNDERSTUDY_ setting is taken out. */
  readonly env: Readonly<Record<string, string>>;
  readonly logPath: string;
  readonly onEvent: (event: ProgramEvent) => void;
  /** Called once if the program ends without having been stopped; `last` are its last lines. */
  readonly onDeath: (description: string, last: readonly string[]) => void;
}

const LAST_LINES = 20;
/** How long a program may take to drain before it is killed. */
const STOP_WITHIN_MS = 15_000;

export class ChildProgram {
  readonly #options: ProgramOptions;
  readonly #child: ChildProcess;
  readonly #log: WriteStream;
  readonly #last: string[] = [];
  readonly #ended: Promise<void>;
  #stopping = false;

  constructor(options: ProgramOptions) {
    this.#options = options;
    this.#log = createWriteStream(options.logPath);
    this.#child = spawn(process.execPath, [options.program, ...options.args], {
      env: { ...environmentWithoutSettings(), ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.#ended = new Promise((resolve) => {
      this.#child.once('error', (error) => this.#died(error.message, resolve));
      this.#child.once('close', (code, signal) => this.#died(signal ?? `exit code ${code}`, resolve));
    });
    process.once('exit', this.#killGroup);
    this.#read(this.#child.stdout!);
    this.#read(this.#child.stderr!);
  }

  /** Asks the program to drain and end, kills it if it does not, and resolves when it is gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#child.kill('SIGTERM');
    const timer = setTimeout(this.#killGroup, STOP_WITHIN_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Ends the program and its children at once. */
  kill(): void {
    this.#killGroup();
  }

  readonly #killGroup = (): void => {
    try {
      if (this.#child.pid !== undefined) process.kill(-this.#child.pid, 'SIGKILL');
    } catch {
      // Nobody is left in the group.
    }
  };

  #read(stream: Readable): void {
    createInterface({ input: stream }).on('line', (line) => {
      this.#log.write(`${line}\n`);
      if (this.#last.push(line) > LAST_LINES) this.#last.shift();
      const event = parseEvent(line);
      if (event !== null) this.#options.onEvent(event);
    });
  }

  #died(reason: string, resolve: () => void): void {
    process.removeListener('exit', this.#killGroup);
    this.#log.end();
    resolve();
    if (!this.#stopping) this.#options.onDeath(`the ${this.#options.name} ended: ${reason}`, this.#last);
    this.#stopping = true;
  }
}

function parseEvent(line: string): ProgramEvent | null {
  if (!line.startsWith('{')) return null;
  try {
    return JSON.parse(line) as ProgramEvent;
  } catch {
    return null;
  }
}

/** What an operator's shell sets for a real sidecar must not reach the demo's. */
function environmentWithoutSettings(): Record<string, string | undefined> {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('UNDERSTUDY_'));
  return Object.fromEntries(kept);
}
