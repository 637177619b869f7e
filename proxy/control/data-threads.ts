/**
 * The data threads as the control thread sees them: started, told of snapshots, replaced when they die, drained.
 * A thread that dies loses its own connections and nothing else: the others listen on the same port, and what threads
 * share (breakers, statistics) lives in memory that outlives them.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { MessagePort } from 'node:worker_threads';
import { Worker } from 'node:worker_threads';
import type { Logger } from '../../base/logger.ts';
import type { PortRange } from '../../base/units.ts';
import { formatAddress } from '../config/address.ts';
import type { ProcessSettings } from '../config/process-fields.ts';
import type { EndpointAddress, MeshSnapshot } from '../config/snapshot.ts';
import { listenerTlsFiles, type TlsMaterial, tlsFilesId } from '../config/tls-material.ts';
import type { BreakerCommand, BreakerTransition } from '../policy/breaker-verdict.ts';
import type { HeadRules } from '../routing/head-policy.ts';
import type { DataThreadData, FromData, ListenRequest, ToData } from '../thread-messages.ts';
import type { TlsServerPolicy } from '../tls-contexts.ts';
import type { SpanBatch } from '../tracing.ts';

export interface DataThreadsOptions {
  readonly settings: ProcessSettings;
  readonly snapshot: MeshSnapshot;
  readonly statsBuffers: readonly SharedArrayBuffer[];
  readonly breakerBuffer: SharedArrayBuffer;
  readonly loadBuffer: SharedArrayBuffer;
  readonly guardBuffer: SharedArrayBuffer;
  /** Certificates in force now. */
  readonly tlsMaterials: () => readonly TlsMaterial[];
  readonly degradationBuffer: SharedArrayBuffer;
  readonly endpointBuffers: DataThreadData['endpointBuffers'];
  readonly log: Logger;
  readonly onSpans: (batch: SpanBatch) => void;
  /** A thread is ready for messages. */
  readonly onStarted: (thread: number) => void;
  /** A thread ended by itself; another takes its place. */
  readonly onDied: (thread: number) => void;
  readonly onBreaker: (cluster: string, transition: BreakerTransition) => void;
}

interface Running {
  readonly worker: Worker;
  ready: boolean;
  appliedRevision: number;
  drained: ((cut: number) => void) | null;
}

/** A thread that died is started again after the first, one that dies before it listens twice as late each time. */
const RESTART_DELAY_MS = 200;
const MAX_RESTART_DELAY_MS = 5000;
/** Heap of a data thread: its lasting state is small, bodies live outside of it. */
const DATA_THREAD_LIMITS = { maxYoungGenerationSizeMb: 12, maxOldGenerationSizeMb: 256 };

export class DataThreads {
  private readonly options: DataThreadsOptions;
  private readonly threads: (Running | null)[] = [];
  private snapshot: MeshSnapshot;
  private listen: ListenRequest[];
  private stopping = false;
  /** All have listened once: from now on a thread that cannot start is tried again. */
  private started = false;
  private readonly restartDelayMs: number[] = [];

  constructor(options: DataThreadsOptions) {
    this.options = options;
    this.snapshot = options.snapshot;
    this.listen = listenRequests(options.settings);
  }

  /** Starts all threads; rejects when one cannot listen. The first chooses ports that were left open (0). */
  async start(): Promise<void> {
    const { concurrency } = this.options.settings;
    await this.spawn(0);
    for (let thread = 1; thread < concurrency; thread++) await this.spawn(thread);
    this.started = true;
  }

  /** What keeps the proxy from being ready. */
  missing(): string[] {
    const missing: string[] = [];
    for (const [thread, running] of this.threads.entries()) {
      if (running === null || !running.ready) missing.push(`data thread ${thread} does not listen`);
      else if (running.appliedRevision < this.snapshot.revision) missing.push(`data thread ${thread} is reconfiguring`);
    }
    return missing;
  }

  /** Threads that can be talked to. */
  running(): number[] {
    return [...this.threads.keys()].filter((thread) => this.threads[thread] != null);
  }

  publish(snapshot: MeshSnapshot): void {
    this.snapshot = snapshot;
    this.broadcast({ type: 'snapshot', snapshot });
  }

  /** New certificates; to be sent before the snapshot that first needs them. */
  sendTls(material: TlsMaterial): void {
    this.broadcast({ type: 'tls', material });
  }

  /** Breakers live in shared memory, so one thread is told. */
  command(cluster: string, command: BreakerCommand): void {
    const [first] = this.running();
    if (first !== undefined) this.post(first, { type: 'breaker', cluster, command });
  }

  sendAnalysisPort(thread: number, port: MessagePort): void {
    this.threads[thread]?.worker.postMessage({ type: 'analysis', port } satisfies ToData, [port]);
  }

  /** Ends all threads gracefully; resolves with the requests that had to be cut at the deadline. */
  async drain(deadlineMs: number): Promise<number> {
    this.stopping = true;
    const cuts = this.running().map((thread) => this.drainOne(thread, deadlineMs));
    const cut = (await Promise.all(cuts)).reduce((sum, count) => sum + count, 0);
    await Promise.all(this.threads.map((running) => running?.worker.terminate()));
    return cut;
  }

  private drainOne(thread: number, deadlineMs: number): Promise<number> {
    const running = this.threads[thread]!;
    const answered = new Promise<number>((resolve) => {
      running.drained = resolve;
    });
    this.post(thread, { type: 'drain', deadlineMs });
    // A thread that does not answer at all is not waited for.
    return Promise.race([answered, sleep(deadlineMs + 1000, 0, { ref: false })]);
  }

  private spawn(thread: number): Promise<void> {
    const { options } = this;
    const { settings } = options;
    const workerData: DataThreadData = {
      index: thread,
      threads: settings.concurrency,
      settings: {
        outboundOpaquePorts: settings.outboundOpaquePorts.flatMap(expandRange),
        outboundDetectTimeoutMs: settings.outboundDetectTimeoutMs,
        outboundOpaqueIdleTimeoutMs: settings.outboundOpaqueIdleTimeoutMs,
        outboundMaxConnections: settings.outboundMaxConnections,
        outboundMaxConcurrentStreams: settings.outboundMaxConcurrentStreams,
        outboundMaxHeaderListBytes: settings.outboundMaxHeaderListBytes,
        outboundMaxBufferedMessageBytes: settings.outboundMaxBufferedMessageBytes,
        outboundMaxHeldBytes: settings.outboundMaxHeldBytes,
        outboundMaxWaitingBytes: settings.outboundMaxWaitingBytes,
        tlsMinVersion: settings.tlsMinVersion,
        tlsMaxHandshakes: settings.tlsMaxHandshakes,
        outboundTls: settings.outboundTls,
        inboundTls: settings.inboundTls,
        tlsServer: tlsServerPolicy(settings),
        heads: { outbound: headRules(settings, 'outbound'), inbound: headRules(settings, 'inbound') },
        traceSample: settings.tracingEndpoint === null ? -1 : settings.tracingSample,
        logLevel: settings.logLevel,
        logFormat: settings.logFormat,
        accessLog: settings.accessLog,
        accessLogFile: settings.accessLogFile,
        accessLogSample: settings.accessLogSample,
        accessLogTemplate: settings.accessLogTemplate,
      },
      snapshot: this.snapshot,
      listen: this.listen,
      tlsMaterials: options.tlsMaterials(),
      statsBuffer: options.statsBuffers[thread]!,
      breakerBuffer: options.breakerBuffer,
      loadBuffer: options.loadBuffer,
      guardBuffer: options.guardBuffer,
      degradationBuffer: options.degradationBuffer,
      endpointBuffers: options.endpointBuffers,
    };
    const worker = new Worker(new URL('../data-thread.ts', import.meta.url), {
      workerData,
      name: `data-${thread}`,
      resourceLimits: DATA_THREAD_LIMITS,
    });
    const running: Running = { worker, ready: false, appliedRevision: this.snapshot.revision, drained: null };
    this.threads[thread] = running;
    return new Promise((resolve, reject) => {
      worker.on('message', (message: FromData) => this.receive(thread, running, message, resolve, reject));
      worker.on('error', (error) => {
        options.log.error('data_thread_error', { thread, error, stack: (error as Error).stack });
        reject(error);
      });
      worker.on('exit', () => this.exited(thread, running));
    });
  }

  private receive(
    thread: number,
    running: Running,
    message: FromData,
    resolve: () => void,
    reject: (error: Error) => void,
  ): void {
    const { log } = this.options;
    switch (message.type) {
      case 'listening':
        this.listening(thread, message.role, message.address);
        return;
      case 'listen_failed':
        reject(new Error(`cannot listen (${message.role}): ${message.message}`));
        void running.worker.terminate();
        return;
      case 'ready':
        running.ready = true;
        this.restartDelayMs[thread] = RESTART_DELAY_MS;
        this.options.onStarted(thread);
        resolve();
        return;
      case 'spans':
        this.options.onSpans(message.batch);
        this.post(thread, { type: 'spans_taken', count: message.batch.spans.length });
        return;
      case 'applied':
        running.appliedRevision = message.revision;
        return;
      case 'breaker': {
        const { from, to, reason, openForMs } = message.transition;
        this.options.onBreaker(message.cluster, message.transition);
        log.warn('breaker', { cluster: message.cluster, from, to, reason, openForMs: Math.round(openForMs) });
        return;
      }
      case 'ejection': {
        const { from, to, reason, openForMs } = message.transition;
        const { cluster, endpoint } = message;
        log.warn('endpoint_ejection', { cluster, endpoint, from, to, reason, forMs: Math.round(openForMs) });
        return;
      }
      case 'drained':
        running.drained?.(message.cut);
        return;
    }
  }

  /** The first thread's ports are everybody's: one left open is now fixed. */
  private listening(thread: number, role: ListenRequest['role'], address: EndpointAddress): void {
    if (thread !== 0) return;
    this.options.log.info('listening', { role, address: formatAddress(address) });
    const open = this.listen.findIndex(
      (request) => request.role === role && request.address.kind === 'tcp' && request.address.port === 0,
    );
    const fixed = this.listen.some((request) => formatAddress(request.address) === formatAddress(address));
    if (!fixed && open >= 0) this.listen = this.listen.with(open, { role, address });
  }

  private exited(thread: number, running: Running): void {
    if (this.stopping || this.threads[thread] !== running) return;
    this.threads[thread] = null;
    running.drained?.(0);
    if (!running.ready && !this.started) return; // it never listened: `spawn` has rejected and the start has failed
    const restartMs = this.restartDelayMs[thread] ?? RESTART_DELAY_MS;
    this.restartDelayMs[thread] = Math.min(restartMs * 2, MAX_RESTART_DELAY_MS);
    this.options.log.error('data_thread_died', { thread, restartMs });
    this.options.onDied(thread);
    setTimeout(() => {
      if (this.stopping) return;
      this.spawn(thread).catch((error) => this.options.log.error('data_thread_start_failed', { thread, error }));
    }, restartMs);
  }

  private broadcast(message: ToData): void {
    for (const thread of this.running()) this.post(thread, message);
  }

  private post(thread: number, message: ToData): void {
    this.threads[thread]?.worker.postMessage(message);
  }
}

function headRules(settings: ProcessSettings, role: ListenRequest['role']): HeadRules {
  return {
    side: role,
    trustsInternal: settings[`${role}TrustInternalHeaders`],
    forwarded: settings[`${role}ForwardedHeaders`],
    requestId: settings.requestId,
  };
}

function tlsServerPolicy(settings: ProcessSettings): TlsServerPolicy | null {
  const files = listenerTlsFiles(settings);
  if (files === null) return null;
  return {
    filesId: tlsFilesId(files),
    clientCertificate: settings.tlsClientCertificate,
    clientNames: settings.tlsClientNames ?? [],
    handshakeTimeoutMs: settings.tlsHandshakeTimeoutMs,
  };
}

function listenRequests(settings: ProcessSettings): ListenRequest[] {
  const requests: ListenRequest[] = [];
  for (const address of settings.outboundListen) {
    requests.push({ role: 'outbound', address });
    if (address.kind !== 'tcp') continue;
    for (const port of settings.outboundExplicitPorts.flatMap(expandRange)) {
      requests.push({ role: 'outbound', address: { kind: 'tcp', host: address.host, port } });
    }
  }
  for (const address of settings.inboundListen) requests.push({ role: 'inbound', address });
  return requests;
}

function expandRange(range: PortRange): number[] {
  const ports: number[] = [];
  for (let port = range.first; port <= range.last; port++) ports.push(port);
  return ports;
}
