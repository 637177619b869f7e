/** What the control thread and the data threads say to each other. Plain data: it crosses by structured clone. */
import type { MessagePort } from 'node:worker_threads';
import type { LogFormat, LogLevel } from '../base/logger.ts';
import type { EndpointAddress, MeshSnapshot } from './config/snapshot.ts';
import type { TlsMaterial, TlsMinVersion } from './config/tls-material.ts';
import type { BreakerCommand, BreakerTransition } from './policy/breaker-verdict.ts';
import type { HeadRules } from './routing/head-policy.ts';
import type { TlsServerPolicy } from './tls-contexts.ts';
import type { SpanBatch } from './tracing.ts';

export type ListenerRole = 'outbound' | 'inbound';

/** The settings a data thread needs; a part of `ProcessSettings` with the same meanings. */
export interface DataThreadSettings {
  readonly outboundOpaquePorts: readonly number[];
  readonly outboundDetectTimeoutMs: number;
  readonly outboundOpaqueIdleTimeoutMs: number;
  readonly outboundMaxConnections: number;
  readonly outboundMaxConcurrentStreams: number;
  readonly outboundMaxHeaderListBytes: number;
  readonly outboundMaxBufferedMessageBytes: number;
  readonly outboundMaxHeldBytes: number;
  readonly outboundMaxWaitingBytes: number;
  readonly tlsMinVersion: TlsMinVersion;
  readonly tlsMaxHandshakes: number;
  readonly outboundTls: 'off' | 'permissive' | 'strict';
  readonly inboundTls: 'off' | 'permissive' | 'strict';
  /** Null when no listener speaks TLS. */
  readonly tlsServer: TlsServerPolicy | null;
  /** What is done to heads, by the direction of the listener. */
  readonly heads: Readonly<Record<ListenerRole, HeadRules>>;
  /** Share of requests that begin a trace, hundredths of a percent; -1 when nothing is traced. */
  readonly traceSample: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly accessLog: 'off' | 'json' | 'text';
  readonly accessLogFile: string | null;
  /** In hundredths of a percent. */
  readonly accessLogSample: number;
  readonly accessLogTemplate: string | null;
}

export interface ListenRequest {
  readonly role: ListenerRole;
  readonly address: EndpointAddress;
}

export interface DataThreadData {
  readonly index: number;
  readonly threads: number;
  readonly settings: DataThreadSettings;
  readonly snapshot: MeshSnapshot;
  readonly listen: readonly ListenRequest[];
  readonly tlsMaterials: readonly TlsMaterial[];
  readonly statsBuffer: SharedArrayBuffer;
  readonly breakerBuffer: SharedArrayBuffer;
  readonly loadBuffer: SharedArrayBuffer;
  readonly guardBuffer: SharedArrayBuffer;
  readonly degradationBuffer: SharedArrayBuffer;
  readonly endpointBuffers: { readonly ejections: SharedArrayBuffer; readonly health: SharedArrayBuffer };
}

/** Control thread to data thread. */
export type ToData =
  | { readonly type: 'snapshot'; readonly snapshot: MeshSnapshot }
  /** Comes before the first snapshot that needs it. */
  | { readonly type: 'tls'; readonly material: TlsMaterial }
  | { readonly type: 'analysis'; readonly port: MessagePort }
  /** So many spans are no longer this thread's. */
  | { readonly type: 'spans_taken'; readonly count: number }
  | { readonly type: 'breaker'; readonly cluster: string; readonly command: BreakerCommand }
  /** Stop accepting, finish what is open, cut the rest after `deadlineMs`, answer `drained`. */
  | { readonly type: 'drain'; readonly deadlineMs: number };

/** Data thread to control thread. */
export type FromData =
  | { readonly type: 'listening'; readonly role: ListenerRole; readonly address: EndpointAddress }
  | { readonly type: 'listen_failed'; readonly role: ListenerRole; readonly message: string }
  | { readonly type: 'ready' }
  | { readonly type: 'spans'; readonly batch: SpanBatch }
  | { readonly type: 'applied'; readonly revision: number }
  | { readonly type: 'breaker'; readonly cluster: string; readonly transition: BreakerTransition }
  | {
      readonly type: 'ejection';
      readonly cluster: string;
      readonly endpoint: string;
      readonly transition: BreakerTransition;
    }
  | { readonly type: 'drained'; readonly cut: number };
