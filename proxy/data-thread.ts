/**
 * A data thread: puts the stages of the request path together for one event loop and runs them. It loads nothing that
 * requests do not need; configuration, admin and exposition live on the control thread.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import { BoundedWriter } from '../base/bounded-writer.ts';
import { systemClock } from '../base/clock.ts';
import { Logger, setLogFormat } from '../base/logger.ts';
import { collectStartGarbage } from '../base/start-garbage.ts';
import { TimerWheel } from '../base/timer-wheel.ts';
import { HTTP1_COUNTER_SLOTS } from '../proto/http1/counters.ts';
import { HeadParser } from '../proto/http1/head-parser.ts';
import { DEFAULT_HTTP1_LIMITS } from '../proto/http1/limits.ts';
import { HTTP2_COUNTER_SLOTS } from '../proto/http2/counters.ts';
import { DEFAULT_HTTP2_LIMITS, type Http2Limits } from '../proto/http2/limits.ts';
import { threadMemory } from '../proto/io/memory-budget.ts';
import { TLS_RESULT_SLOTS } from '../proto/io/tls-result.ts';
import { AccessLog } from './access-log.ts';
import { DegradationCells } from './degradation/cells.ts';
import { Listener } from './listener/listener.ts';
import { originalDestinationSupport } from './listener/original-destination.ts';
import type { TlsTerminationOptions } from './listener/tls-termination.ts';
import { Mesh } from './mesh.ts';
import { PairSender } from './mirror/pair-sender.ts';
import { NativeMemory } from './native-memory.ts';
import { BreakerCells } from './policy/breaker-cells.ts';
import { GuardCells } from './policy/guard-cells.ts';
import { LoadCells } from './policy/load-cells.ts';
import { DataPlane } from './request/data-plane.ts';
import { PrimaryProbing } from './request/primary-probe.ts';
import { RequestGuards } from './request/request-guards.ts';
import { Tunnels } from './request/tunnels.ts';
import { HeadPolicy } from './routing/head-policy.ts';
import { MirrorPressure } from './shadowing/mirror-pressure.ts';
import { Mirroring } from './shadowing/mirroring.ts';
import { HealthCells } from './stats/health-cells.ts';
import { LoopWatch } from './stats/loop-watch.ts';
import { StatsRegion } from './stats/region.ts';
import { ProcessSlot } from './stats/slots.ts';
import type { DataThreadData, FromData, ListenRequest, ToData } from './thread-messages.ts';
import { TlsContexts } from './tls-contexts.ts';
import { Tracer } from './tracing.ts';

/** Longest wait for an opaque connection's upstream, milliseconds. */
const OPAQUE_CONNECT_TIMEOUT_MS = 10_000;
const DRAIN_POLL_MS = 10;

assert(parentPort !== null, 'the data thread runs as a worker thread');
const control = parentPort;
const data = workerData as DataThreadData;
const { settings } = data;

setLogFormat(settings.logFormat);
const clock = systemClock;
const log = new Logger(settings.logLevel, { thread: data.index });
const region = new StatsRegion(data.statsBuffer);
const { cells } = region;
const wheel = new TimerWheel(clock);
threadMemory.limitBytes = settings.outboundMaxHeldBytes;
const upstreamCounters = countersAt(ProcessSlot.HTTP2_UPSTREAM);
const downstreamCounters = countersAt(ProcessSlot.HTTP2_DOWNSTREAM);

const downstreamLimits: Http2Limits = {
  ...DEFAULT_HTTP2_LIMITS,
  maxConcurrentStreams: settings.outboundMaxConcurrentStreams,
  maxHeaderListBytes: settings.outboundMaxHeaderListBytes,
};
/** One upstream connection carries many callers' streams, so its window is the larger. */
const upstreamLimits: Http2Limits = { ...DEFAULT_HTTP2_LIMITS, connectionWindowBytes: 16 * 1024 * 1024 };

/** Heads are bounded alike in both protocols. */
const http1Parser = new HeadParser({ ...DEFAULT_HTTP1_LIMITS, maxHeadBytes: settings.outboundMaxHeaderListBytes });
const http1Counters = cells.subarray(ProcessSlot.HTTP1_DOWNSTREAM, ProcessSlot.HTTP1_DOWNSTREAM + HTTP1_COUNTER_SLOTS);

const accessLogWriter = await openAccessLog();
const accessLog =
  accessLogWriter === null || settings.accessLog === 'off'
    ? null
    : new AccessLog({
        format: settings.accessLog,
        template: settings.accessLogTemplate,
        sampleHundredths: settings.accessLogSample,
        writer: accessLogWriter,
        random: Math.random,
        onDropped: () => {
          cells[ProcessSlot.ACCESS_LOG_DROPPED]! += 1;
        },
      });
const sender = new PairSender();
const pressure = new MirrorPressure({
  cells,
  memory: threadMemory,
  maxReplayBytes: () => mesh.snapshot.maxReplayBytesTotal,
});
const mirroring = new Mirroring({ clock, wheel, cells, sender, random: Math.random, pressure });
const tls = new TlsContexts(settings.tlsMinVersion, data.tlsMaterials, countersFrom(ProcessSlot.TLS_UPSTREAM));
const tlsServer = settings.tlsServer === null ? null : tls.serverRole(settings.tlsServer);
const mesh = new Mesh(data.snapshot, {
  clock,
  breakerCells: new BreakerCells(data.breakerBuffer, data.index),
  loadCells: new LoadCells(data.loadBuffer),
  thread: data.index,
  degradationCells: new DegradationCells(data.degradationBuffer, data.index),
  endpointCells: new BreakerCells(data.endpointBuffers.ejections, data.index),
  healthCells: new HealthCells(data.endpointBuffers.health),
  statsCells: cells,
  upstreamLimits,
  upstreamCounters,
  tlsRole: (origination) => tls.clientRole(origination),
  onBreaker: (cluster, transition) => tell({ type: 'breaker', cluster, transition }),
  onEjection: (cluster, endpoint, transition) => tell({ type: 'ejection', cluster, endpoint, transition }),
});
const tunnels = new Tunnels({
  cells,
  idleTimeoutMs: settings.outboundOpaqueIdleTimeoutMs,
  nowMs: () => clock.nowMs(),
  onClosed: (relay) => accessLog?.connection(relay),
});
const tracer =
  settings.traceSample < 0
    ? null
    : new Tracer({
        sampleHundredths: settings.traceSample,
        random: Math.random,
        send: (batch) => tell({ type: 'spans', batch }),
      });
const plane = new DataPlane({
  tunnels,
  clock,
  wheel,
  mesh,
  mirroring,
  probing: new PrimaryProbing(clock, wheel),
  cells,
  maxScanBytes: settings.outboundMaxBufferedMessageBytes,
  maxWaitingBytes: settings.outboundMaxWaitingBytes,
  random: Math.random,
  accessLog,
  tracer,
  guards: new RequestGuards(new GuardCells(data.guardBuffer), Math.random),
});
const opaquePorts = new Set(settings.outboundOpaquePorts);
/** A Unix socket is one thread's: ports can be shared, paths cannot. */
const requests = data.listen.filter(({ address }) => address.kind === 'tcp' || data.index === 0);
const listeners = requests.map(createListener);
/** It trims for the whole process, so one thread does it. */
const nativeMemory = data.index === 0 ? new NativeMemory() : null;
const loopWatch = new LoopWatch(region, clock);

/** Null when there is none, or when its file cannot be opened: then the proxy serves without, and says so. */
async function openAccessLog(): Promise<BoundedWriter | null> {
  if (settings.accessLog === 'off') return null;
  if (settings.accessLogFile === null) return BoundedWriter.onDescriptor(1);
  try {
    return await BoundedWriter.onFile(settings.accessLogFile);
  } catch (error) {
    log.error('access_log_unavailable', { path: settings.accessLogFile, error });
    return null;
  }
}

/** The HTTP/2 engine counts straight into this thread's statistics. */
function countersAt(slot: number): Float64Array {
  return cells.subarray(slot, slot + HTTP2_COUNTER_SLOTS);
}

function countersFrom(slot: number): Float64Array {
  return cells.subarray(slot, slot + TLS_RESULT_SLOTS);
}

function termination(mode: 'off' | 'permissive' | 'strict'): TlsTerminationOptions | null {
  if (mode === 'off' || tlsServer === null) return null;
  const counters = countersFrom(ProcessSlot.TLS_DOWNSTREAM);
  return { mode, role: () => tlsServer, maxHandshakes: settings.tlsMaxHandshakes, counters };
}

function tell(message: FromData): void {
  control.postMessage(message);
}

function createListener({ address, role }: ListenRequest): Listener {
  const heads = new HeadPolicy(settings.heads[role]);
  return new Listener({
    direction: role,
    address,
    reusePort: data.threads > 1 && address.kind === 'tcp',
    maxConnections: settings.outboundMaxConnections,
    detectTimeoutMs: settings.outboundDetectTimeoutMs,
    connectTimeoutMs: OPAQUE_CONNECT_TIMEOUT_MS,
    opaqueIdleTimeoutMs: settings.outboundOpaqueIdleTimeoutMs,
    opaquePorts,
    limits: downstreamLimits,
    clock,
    cells,
    counters: downstreamCounters,
    log,
    acceptStream: (stream) => plane.acceptStream(stream, heads),
    acceptExchange: (exchange) => plane.acceptExchange(exchange, heads),
    http1Parser,
    http1Counters,
    tls: termination(role === 'inbound' ? settings.inboundTls : settings.outboundTls),
    onRelayClosed: (relay) => accessLog?.connection(relay),
    opaqueUpstream: () => mesh.passthrough?.config.endpoints[0] ?? null,
  });
}

async function listen(): Promise<void> {
  loopWatch.start();
  collectStartGarbage();
  nativeMemory?.start();
  if (data.index === 0) reportExplicitPortMode();
  for (const [index, listener] of listeners.entries()) {
    const { role } = requests[index]!;
    try {
      const address = await listener.listen();
      tell({ type: 'listening', role, address });
    } catch (error) {
      if (isMissingIpv6(requests[index]!, error as NodeJS.ErrnoException)) {
        log.warn('listen_skipped', { role, reason: 'this machine has no IPv6' });
        continue;
      }
      tell({ type: 'listen_failed', role, message: (error as Error).message });
      return;
    }
  }
  tell({ type: 'ready' });
}

/** Where the kernel cannot be asked for original destinations, callers have to be pointed at the ports of the proxy. */
function reportExplicitPortMode(): void {
  const { available, reason } = originalDestinationSupport();
  if (available) return;
  if (process.platform === 'linux') log.warn('explicit_port_mode', { reason });
  else log.info('explicit_port_mode', { reason });
}

/** The default listens on both loopback addresses; a machine without IPv6 has one of them. */
function isMissingIpv6({ address }: ListenRequest, error: NodeJS.ErrnoException): boolean {
  const missing = error.code === 'EADDRNOTAVAIL' || error.code === 'EAFNOSUPPORT';
  return missing && address.kind === 'tcp' && address.host.includes(':');
}

async function drain(deadlineMs: number): Promise<void> {
  for (const listener of listeners) listener.drain();
  const end = clock.nowMs() + deadlineMs;
  while (openConnections() > 0 && clock.nowMs() < end)
    await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
  const cut = plane.active;
  for (const listener of listeners) listener.destroy();
  tunnels.destroy();
  mesh.pools.destroy();
  loopWatch.stop();
  nativeMemory?.stop();
  tracer?.flush();
  await accessLogWriter?.end();
  tell({ type: 'drained', cut });
}

function openConnections(): number {
  return listeners.reduce((sum, listener) => sum + listener.open, tunnels.open);
}

control.on('message', (message: ToData) => {
  switch (message.type) {
    case 'snapshot':
      mesh.apply(message.snapshot);
      tell({ type: 'applied', revision: message.snapshot.revision });
      break;
    case 'tls':
      tls.set(message.material);
      break;
    case 'spans_taken':
      tracer?.taken(message.count);
      break;
    case 'analysis':
      sender.connect(message.port);
      break;
    case 'breaker':
      mesh.command(message.cluster, message.command);
      break;
    case 'drain':
      void drain(message.deadlineMs);
      break;
  }
});

void listen();
