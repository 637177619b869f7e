/**
 * Sets the stage: a worker with two isolation groups on Unix sockets, and a sidecar in front of them.
 *
 * Owns the temporary folder (sockets and logs), both child programs, and knowledge of the process that serves the
 * primary. Nothing here is special to the demo's engine: a person could type the same flags and environment.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChildProgram, type ProgramEvent } from './child-program.ts';
import { COHORT_HEADER } from './client.ts';
import { isSidecarReady } from './sidecar-admin.ts';

const ROOT = join(import.meta.dirname, '../..');
const MODELS = join(import.meta.dirname, 'models');
const READY_WITHIN_MS = 60_000;
const POLL_MS = 50;

/** A change of the group that serves the primary, as the worker tells it. */
export interface PrimaryGroupChange {
  readonly state: string;
  readonly pid: number | null;
  readonly startedInMs: number | null;
}

export interface StageEvents {
  onPrimaryGroup(change: PrimaryGroupChange): void;
  /** The worker's supervisor or the sidecar ended by itself: the demo cannot go on. */
  onCollapse(description: string): void;
}

export class Stage {
  /** Where the sockets and logs are; removed by `clear` unless something went wrong. */
  readonly folder: string = mkdtempSync(join(tmpdir(), 'understudy-demo-'));
  /** `host:port` that clients call. */
  address = '';
  adminUrl = '';
  /** Process that serves the primary; null while there is none. */
  primaryPid: number | null = null;
  fallbackPid: number | null = null;
  readonly #events: StageEvents;
  #worker: ChildProgram | null = null;
  #sidecar: ChildProgram | null = null;
  #isWorkerReady = false;
  #collapse: string | null = null;
  #isCleared = false;

  constructor(events: StageEvents) {
    this.#events = events;
  }

  /**
   * Starts both programs and resolves once the sidecar is ready for traffic. Rejects if that takes a minute.
   * `degradation` is the model's degradation policy; null for none.
   */
  async set(degradation: object | null): Promise<void> {
    const primarySocket = join(this.folder, 'primary.sock');
    const fallbackSocket = join(this.folder, 'fallback.sock');
    this.#worker = this.#start('worker', 'inference-worker/main.ts', this.#onWorkerEvent.bind(this), {}, [
      `--model=credit-risk@all:${join(MODELS, 'credit-risk')}`,
      `--model=credit-risk-lite:${join(MODELS, 'credit-risk-lite')}`,
      `--group=primary:${primarySocket}:credit-risk`,
      `--group=fallback:${fallbackSocket}:credit-risk-lite`,
    ]);
    this.#sidecar = this.#start('sidecar', 'proxy/main.ts', this.#onSidecarEvent.bind(this), {
      UNDERSTUDY_OUTBOUND_LISTEN: '127.0.0.1:0',
      UNDERSTUDY_ADMIN_LISTEN: '127.0.0.1:0',
      UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: `unix:${primarySocket}`,
      UNDERSTUDY_OUTBOUND_FALLBACK_WORKER_ADDRESS: `unix:${fallbackSocket}`,
      ...modelSettings(degradation),
    });
    const deadlineMs = performance.now() + READY_WITHIN_MS;
    while (!(await this.#isReady())) {
      if (this.#collapse !== null) throw new Error(this.#collapse);
      if (this.#isCleared) throw new Error('cleared while it was being set');
      if (performance.now() > deadlineMs) throw new Error(`not ready within a minute; logs are in ${this.folder}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Ends sidecar and worker, in this order so that no call meets a closed worker, and clears the folder. */
  async clear(): Promise<void> {
    this.#isCleared = true;
    await this.#sidecar?.stop();
    await this.#worker?.stop();
    if (this.#collapse === null) rmSync(this.folder, { recursive: true, force: true });
  }

  /** Ends everything at once; `clear` then has nothing to wait for. */
  kill(): void {
    this.#sidecar?.kill();
    this.#worker?.kill();
  }

  async #isReady(): Promise<boolean> {
    const known = this.#isWorkerReady && this.address !== '' && this.adminUrl !== '';
    return known && (await isSidecarReady(this.adminUrl));
  }

  #start(
    name: string,
    program: string,
    onEvent: (event: ProgramEvent) => void,
    env: Record<string, string>,
    args: string[] = [],
  ): ChildProgram {
    return new ChildProgram({
      name,
      program: join(ROOT, program),
      args,
      env,
      logPath: join(this.folder, `${name}.log`),
      onEvent,
      onDeath: (description, last) => {
        this.#collapse = [`${description}; logs are in ${this.folder}`, ...last].join('\n');
        this.#events.onCollapse(this.#collapse);
      },
    });
  }

  #onWorkerEvent(event: ProgramEvent): void {
    if (event['event'] === 'worker_ready') this.#isWorkerReady = true;
    if (event['event'] !== 'group_state') return;
    const { group, to, pid, startedInMs } = event as {
      group: string;
      to: string;
      pid: number | null;
      startedInMs?: number;
    };
    const servingPid = to === 'READY' ? pid : null;
    if (group === 'fallback') this.fallbackPid = servingPid;
    if (group !== 'primary') return;
    this.primaryPid = servingPid;
    this.#events.onPrimaryGroup({ state: to, pid, startedInMs: startedInMs ?? null });
  }

  #onSidecarEvent(event: ProgramEvent): void {
    if (event['event'] !== 'listening') return;
    const { role, address } = event as { role?: string; address?: string };
    if (role === 'outbound') this.address = address ?? '';
    if (role === 'admin') this.adminUrl = `http://${address}`;
  }
}

/** The model's policy: in the environment as long as that can say it all, else in a document. */
function modelSettings(degradation: object | null): Record<string, string> {
  if (degradation === null) {
    return {
      UNDERSTUDY_MODEL_CREDIT_RISK_PRIMARY: 'credit-risk@1',
      UNDERSTUDY_MODEL_CREDIT_RISK_SHADOW: 'credit-risk@2 100%',
      UNDERSTUDY_MODEL_CREDIT_RISK_FALLBACK: 'credit-risk-lite',
      UNDERSTUDY_MODEL_CREDIT_RISK_COHORT: `header:${COHORT_HEADER}`,
    };
  }
  const model = {
    name: 'credit-risk',
    split: [{ model: 'credit-risk@1' }],
    shadows: [{ model: 'credit-risk@2' }],
    fallback: [{ model: 'credit-risk-lite' }],
    cohort: { header: COHORT_HEADER },
    degradation,
  };
  return { UNDERSTUDY_CONFIG: JSON.stringify({ models: [model] }) };
}
