/**
 * opossum as the breaker's state machine, with its traps kept shut. One machine per cluster and data thread.
 *
 * The closed path never enters opossum: the breaker counts outcomes itself and calls `open`. Only the probe of a
 * half-open breaker goes through `fire`, and what opossum makes of its outcome (closed or open) is what the breaker then
 * publishes to the other threads. How each trap of opossum 10 is avoided:
 * - it half-opens by its own timer: that timer is set to its longest, 24.8 days, and cleared with the instance; a
 *   half-open machine is instead a new instance that starts in that state, made when the shared state says so;
 * - an error its filter excludes closes it in half-open: no filter is set, and a probe whose outcome does not count is
 *   dropped together with its instance, never settled;
 * - a probe that never settles leaves it rejecting for ever: same, the instance is dropped;
 * - every counted failure walks its window, and outcomes pile up in an array even with percentiles off: it never sees
 *   outcomes but those of probes;
 * - its timers: the call timeout and snapshots are off, and buckets turn on an emitter that never fires.
 */

import { EventEmitter } from 'node:events';
import Opossum from 'opossum';
import { assert } from '../../base/assert.ts';

/** Longest delay a Node timer takes, milliseconds. */
const NEVER_MS = 2 ** 31 - 1;

/** Replaces one bucket timer per instance; nothing is ever emitted, since the window is not read. */
const bucketTurns = new EventEmitter().setMaxListeners(0);

type InitialState = 'closed' | 'half_open';

/** What a probe failed with; opossum wants an error, nobody reads it. */
const PROBE_FAILURE = new Error('probe failed');

/**
 * The probe's outcome as opossum awaits it. It has the `then().catch()` shape opossum uses and settles synchronously, so
 * that the breaker knows at once what became of it; a promise would answer some microtasks later.
 */
class ProbeOutcome {
  private onSuccess: (value: undefined) => void = ignore;
  private onFailure: (error: Error) => void = ignore;

  // biome-ignore lint/suspicious/noThenProperty: opossum recognises an asynchronous action by its `then`.
  then(onSuccess: (value: undefined) => void): this {
    this.onSuccess = onSuccess;
    return this;
  }

  catch(onFailure: (error: Error) => void): this {
    this.onFailure = onFailure;
    return this;
  }

  settle(success: boolean): void {
    if (success) this.onSuccess(undefined);
    else this.onFailure(PROBE_FAILURE);
  }
}

export class BreakerMachine {
  private readonly name: string;
  private circuit: Opossum;
  private probe: ProbeOutcome | null = null;

  /** `name` tells instances apart in a debugger; it has no effect. */
  constructor(name: string) {
    this.name = name;
    this.circuit = this.createCircuit('closed');
  }

  /** The instance in force, for tests that look for traps. */
  get opossum(): Opossum {
    return this.circuit;
  }

  /** Opens the machine, dropping a probe of ours that was overtaken. */
  open(): void {
    this.probe = null;
    this.circuit.open();
  }

  close(): void {
    this.probe = null;
    this.circuit.close();
  }

  /** Puts the machine into half-open with no probe: what a probe that is returned or lost leaves behind. */
  halfOpen(): void {
    this.replace('half_open');
  }

  /** Fires the probe of a half-open breaker. */
  startProbe(): void {
    this.replace('half_open');
    // The action below runs inside `fire` and sets `probe`.
    this.circuit.fire().catch(ignore);
    assert(this.probe !== null, 'a half-open opossum did not admit its probe');
  }

  /** A probe was fired and is not settled; false after a shutdown, whatever was in flight. */
  get probing(): boolean {
    return this.probe !== null;
  }

  /** Settles the probe in flight. Returns whether opossum closed (else it opened). */
  settleProbe(success: boolean): boolean {
    const probe = this.probe;
    assert(probe !== null, 'there is no probe to settle');
    this.probe = null;
    probe.settle(success);
    assert(this.circuit.closed === success && this.circuit.opened === !success, 'opossum did not follow its probe');
    return this.circuit.closed;
  }

  /** Ends the machine and its timer. */
  shutdown(): void {
    this.probe = null;
    this.circuit.shutdown();
  }

  private replace(state: InitialState): void {
    this.probe = null;
    this.circuit.shutdown();
    this.circuit = this.createCircuit(state);
  }

  private createCircuit(state: InitialState): Opossum {
    // `state` is opossum's own way to start an instance where another left off; its type package lacks it.
    const options: Opossum.Options & { state?: { closed: boolean; halfOpen: boolean } } = {
      name: this.name,
      timeout: false,
      resetTimeout: NEVER_MS,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      rotateBucketController: bucketTurns,
      state: { closed: state === 'closed', halfOpen: state === 'half_open' },
    };
    return new Opossum(this.probeAction, options);
  }

  private readonly probeAction = (): Promise<undefined> => {
    this.probe = new ProbeOutcome();
    return this.probe as unknown as Promise<undefined>;
  };
}

function ignore(): void {}
