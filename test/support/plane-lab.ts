/**
 * A data plane in virtual time, whose wires are scripted: a test is caller, connection pool and upstream at once, and
 * decides the order of all their events. Requests are REST calls (`POST /v1/models/NAME:predict`).
 */
import { TimerWheel } from '../../base/timer-wheel.ts';
import type { Http1ClientConnection } from '../../proto/http1/client-connection.ts';
import type { Http1Exchange } from '../../proto/http1/exchange.ts';
import { HeaderList } from '../../proto/http2/header-list.ts';
import { DEFAULT_HTTP2_LIMITS } from '../../proto/http2/limits.ts';
import { NameAllocator } from '../../proxy/config/allocation.ts';
import { compileMesh } from '../../proxy/config/compile.ts';
import { parseDocument } from '../../proxy/config/document.ts';
import { parseEnvironment } from '../../proxy/config/env.ts';
import { formatProblem, ProblemList } from '../../proxy/config/problem.ts';
import { DegradationCells } from '../../proxy/degradation/cells.ts';
import { Mesh, type MeshCluster } from '../../proxy/mesh.ts';
import { BreakerCells } from '../../proxy/policy/breaker-cells.ts';
import { GuardCells } from '../../proxy/policy/guard-cells.ts';
import { LoadCells } from '../../proxy/policy/load-cells.ts';
import { DataPlane } from '../../proxy/request/data-plane.ts';
import type { Attempt, Exchange } from '../../proxy/request/exchange.ts';
import { PrimaryProbing } from '../../proxy/request/primary-probe.ts';
import { RequestGuards } from '../../proxy/request/request-guards.ts';
import type { Tunnels } from '../../proxy/request/tunnels.ts';
import { HeadPolicy } from '../../proxy/routing/head-policy.ts';
import type { Mirroring } from '../../proxy/shadowing/mirroring.ts';
import { HealthCells } from '../../proxy/stats/health-cells.ts';
import { CLUSTER_SLOTS, ClusterSlot, HedgeEvent, PROCESS_SLOTS, ProcessSlot } from '../../proxy/stats/slots.ts';
import type { Unavailable } from '../../proxy/upstream/wait-queue.ts';
import { VirtualClock } from './virtual-clock.ts';

const PLACES = 8;

/** Either side of an exchange, as far as the plane looks: what it was told, and whether it is over. */
export class Wire {
  readonly connection = {
    io: { remoteAddress: '', secure: false },
    context: { destination: null, key: '' },
    established: true,
    dead: false,
  };
  readonly heads: HeaderList[] = [];
  body = '';
  outstanding = 0;
  queuedBytes = 0;
  headReceived = false;
  headSent = false;
  localEnded = false;
  endQueued = false;
  remoteEnded = false;
  closed = false;
  refused = false;
  canRetry = false;
  dead = false;
  /** Error code it was reset with; -1 while it was not. */
  resetCode = -1;

  takesSection(): boolean {
    return true;
  }

  sendHeaders(head: HeaderList, end: boolean): void {
    this.heads.push(head);
    this.headSent = true;
    if (end) this.sendEnd();
  }

  sendData(buffer: Buffer, start: number, end: number, last: boolean): number {
    this.body += buffer.toString('latin1', start, end);
    if (last) this.sendEnd();
    return end - start;
  }

  sendEnd(): void {
    this.localEnded = true;
    if (this.remoteEnded) this.closed = true;
  }

  consume(bytes: number): void {
    this.outstanding -= Math.min(bytes, this.outstanding);
  }

  reset(code: number): void {
    if (this.closed) return;
    this.resetCode = code;
    this.closed = true;
  }
}

/** One upstream call: an attempt that has its stream. */
export class UpstreamCall {
  readonly attempt: Attempt;
  readonly wire: Wire;

  constructor(attempt: Attempt, wire: Wire) {
    this.attempt = attempt;
    this.wire = wire;
  }

  get isOver(): boolean {
    return this.wire.closed || this.wire.remoteEnded;
  }

  /** A whole answer, or without its end. */
  answer(status: number, body: string, whole = true): void {
    const stream = this.wire as unknown as Http1Exchange;
    const bytes = Buffer.from(body);
    if (!this.wire.headReceived) {
      this.wire.headReceived = true;
      this.attempt.onHead(
        stream,
        HeaderList.of([':status', String(status)], ['content-type', 'application/json']),
        false,
      );
    }
    if (this.wire.closed) return;
    this.wire.remoteEnded = whole;
    this.attempt.onData(stream, bytes, 0, bytes.length, whole);
  }

  /** `unseen`: it says that it has not looked at the request. */
  breakOff(unseen: boolean): void {
    this.wire.closed = true;
    this.wire.canRetry = unseen;
    this.attempt.onReset(this.wire as unknown as Http1Exchange, 2);
  }
}

export class PlaneLab {
  readonly clock = new VirtualClock();
  readonly wheel = new TimerWheel(this.clock, false);
  readonly cells = new Float64Array(PROCESS_SLOTS + PLACES * CLUSTER_SLOTS);
  readonly mesh: Mesh;
  readonly plane: DataPlane;
  /** Attempts that wait for a connection, in their order. */
  readonly waiting: Attempt[] = [];
  readonly calls: UpstreamCall[] = [];
  /** Attempts that asked for a connection so far. */
  readonly attempts = new Set<Attempt>();
  readonly callers: Wire[] = [];
  private readonly heads = new HeadPolicy({
    side: 'outbound',
    trustsInternal: false,
    forwarded: 'off',
    requestId: 'pass',
  });

  /** `env` are settings of the process. */
  constructor(document: object, env: Readonly<Record<string, string>> = {}) {
    const problems = new ProblemList();
    const environment = parseEnvironment(env, problems);
    const random = () => 0.5;
    const allocator = new NameAllocator({ cluster: { first: PROCESS_SLOTS, stride: CLUSTER_SLOTS, count: PLACES } });
    const parsed = parseDocument(JSON.stringify(document), problems);
    const snapshot = parsed === null ? null : compileMesh(environment, parsed, allocator.allocate, 1, problems);
    if (snapshot === null) throw new Error(problems.problems.map(formatProblem).join('\n'));
    const { clock, wheel, cells } = this;
    const breakers = () => new BreakerCells(BreakerCells.allocate(PLACES, 1), 0);
    this.mesh = new Mesh(snapshot, {
      clock,
      breakerCells: breakers(),
      loadCells: new LoadCells(LoadCells.allocate(PLACES, 1)),
      thread: 0,
      degradationCells: new DegradationCells(DegradationCells.allocate(1, 1), 0),
      endpointCells: breakers(),
      healthCells: new HealthCells(HealthCells.allocate(1)),
      statsCells: cells,
      upstreamLimits: DEFAULT_HTTP2_LIMITS,
      upstreamCounters: new Float64Array(64),
      onBreaker: () => {},
      tlsRole: () => {
        throw new Error('no TLS here');
      },
      onEjection: () => {},
    });
    this.plane = new DataPlane({
      clock,
      wheel,
      mesh: this.mesh,
      mirroring: null as unknown as Mirroring,
      probing: new PrimaryProbing(clock, wheel),
      tunnels: null as unknown as Tunnels,
      cells,
      maxScanBytes: 1024 * 1024,
      maxWaitingBytes: 1024 * 1024,
      random,
      accessLog: null,
      tracer: null,
      guards: new RequestGuards(new GuardCells(GuardCells.allocate(1, clock.nowMs())), random),
    });
    for (const cluster of this.clusters) {
      cluster.request = (waiter) => {
        this.waiting.push(waiter as Attempt);
        this.attempts.add(waiter as Attempt);
      };
    }
  }

  /** Those of all models. */
  get clusters(): MeshCluster[] {
    const all = [...this.mesh.models.values()].flatMap(({ split, fallbacks }) => [...split, ...fallbacks]);
    return [...new Set(all)];
  }

  /** Moves time on in steps of the wheel. */
  advance(ms: number): void {
    for (let left = ms; left > 0; left -= 5) {
      this.clock.advance(Math.min(5, left));
      this.wheel.advance();
    }
  }

  /** A caller asks, and has sent its whole request. */
  ask(model: string, bytes = 19): { readonly exchange: Exchange; readonly caller: Wire } {
    const caller = new Wire();
    const stream = caller as unknown as Http1Exchange;
    const path = `/v1/models/${model}:predict`;
    const exchange = this.plane.acceptExchange(stream, this.heads) as Exchange;
    this.callers.push(caller);
    exchange.onHead(stream, HeaderList.of([':method', 'POST'], [':path', path], [':authority', 'm']), false);
    const body = Buffer.from('{"instances":[[1]]}'.padEnd(bytes));
    caller.remoteEnded = true;
    exchange.onData(stream, body, 0, body.length, true);
    return { exchange, caller };
  }

  /** A caller that leaves. */
  leave(exchange: Exchange, caller: Wire): void {
    if (caller.closed) return;
    caller.closed = true;
    caller.dead = true;
    exchange.onReset(caller as unknown as Http1Exchange, 8);
  }

  /** The attempt that has waited longest gets a connection; null when none waits. */
  connect(at = 0): UpstreamCall | null {
    const [attempt] = this.waiting.splice(at, 1);
    if (attempt === undefined || attempt.settled) return null;
    const wire = new Wire();
    const connection = { established: true, dead: false, open: () => wire };
    const call = new UpstreamCall(attempt, wire);
    this.calls.push(call);
    attempt.onConnection(connection as unknown as Http1ClientConnection);
    return call;
  }

  /** There is none for it, for an `Unavailable` reason. */
  refuseConnection(at: number, reason: (typeof Unavailable)[keyof typeof Unavailable]): void {
    const [attempt] = this.waiting.splice(at, 1);
    if (attempt !== undefined && !attempt.settled) attempt.onUnavailable(reason);
  }

  /** Sum over all clusters of `count` slots from this one on. */
  sum(slot: number, count = 1): number {
    let sum = 0;
    for (let place = 0; place < PLACES; place++) {
      const at = PROCESS_SLOTS + place * CLUSTER_SLOTS + slot;
      for (let i = 0; i < count; i++) sum += this.cells[at + i]!;
    }
    return sum;
  }

  hedges(event: keyof typeof HedgeEvent): number {
    return this.sum(ClusterSlot.HEDGES + HedgeEvent[event]);
  }

  /** Requests that have ended. */
  get ends(): number {
    return this.cells.subarray(ProcessSlot.REQUEST_ENDS, ProcessSlot.REQUEST_ENDS + 4).reduce((sum, n) => sum + n, 0);
  }
}
