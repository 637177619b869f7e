/** One upstream process of the soak: started, killed, halted and started again on the same port. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Tally } from './tally.ts';

const PROGRAM = fileURLToPath(new URL('./upstream.ts', import.meta.url));

export class UpstreamProgram {
  readonly name: string;
  /** Times it was killed. */
  kills = 0;
  private readonly tally: Tally;
  private readonly seed: number;
  private readonly unreliability: number;
  private port = 0;
  private child: ChildProcess | null = null;

  constructor(name: string, seed: number, unreliability: number, tally: Tally) {
    this.name = name;
    this.seed = seed;
    this.unreliability = unreliability;
    this.tally = tally;
  }

  /** `host:port`. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Resolves when it listens. */
  async start(): Promise<void> {
    const args = [PROGRAM, this.name, String(this.port), String(this.seed + this.kills), String(this.unreliability)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
    this.child = child;
    await new Promise<void>((resolve, reject) => {
      child.on('exit', (code) => {
        if (this.child !== child) return;
        this.tally.wrong(`upstream ${this.name} ended by itself with ${code}`);
        reject(new Error(`upstream ${this.name} ended by itself with ${code}`));
      });
      createInterface({ input: child.stdout! }).on('line', (line) => {
        if (line.startsWith('ready ')) {
          this.port = Number(line.slice(6));
          resolve();
        } else {
          this.tally.wrong(line);
        }
      });
    });
  }

  /** SIGKILL: its connections die with it. */
  async kill(): Promise<void> {
    const { child } = this;
    this.child = null;
    if (child === null) return;
    this.kills++;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  /** It stops taking and answering, its connections stay. */
  halt(): void {
    this.child?.kill('SIGSTOP');
  }

  resume(): void {
    this.child?.kill('SIGCONT');
  }
}
