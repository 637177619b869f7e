/**
 * Makes a process slow as a CPU quota does: it is stopped for most of each period and runs for the rest. Nothing in it
 * knows; its calls take as long as it stands still.
 */

const PERIOD_MS = 800;
const STOPPED_MS = 600;

export class Throttle {
  readonly #pid: () => number | null;
  readonly #signal: (pid: number, signal: NodeJS.Signals) => void;
  #stopped: number | null = null;
  #timer: NodeJS.Timeout | null = null;

  /** `pid` is asked at each turn: the process may have been replaced. `signal` is for tests. */
  constructor(pid: () => number | null, signal: (pid: number, signal: NodeJS.Signals) => void = process.kill) {
    this.#pid = pid;
    this.#signal = signal;
  }

  get isOn(): boolean {
    return this.#timer !== null;
  }

  start(): void {
    if (this.isOn) return;
    this.#halt();
  }

  /** Lets the process run again; may be called at any time. */
  end(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#resume();
  }

  #halt(): void {
    const pid = this.#pid();
    if (pid !== null && this.#send(pid, 'SIGSTOP')) this.#stopped = pid;
    this.#timer = setTimeout(() => {
      this.#resume();
      this.#timer = setTimeout(() => this.#halt(), PERIOD_MS - STOPPED_MS);
    }, STOPPED_MS);
  }

  #resume(): void {
    if (this.#stopped !== null) this.#send(this.#stopped, 'SIGCONT');
    this.#stopped = null;
  }

  /** False when the process is gone. */
  #send(pid: number, signal: NodeJS.Signals): boolean {
    try {
      this.#signal(pid, signal);
      return true;
    } catch {
      return false;
    }
  }
}
