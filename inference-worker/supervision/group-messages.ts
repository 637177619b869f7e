/** What the supervisor and the process of a group tell each other over their IPC channel. */
import type { MetricFamily } from '../metrics/metric-family.ts';
import type { MetricsDialect } from '../metrics/metrics-paths.ts';
import type { ServingSettings } from '../settings.ts';
import type { GroupSettings, ListenAddress } from './isolation-groups.ts';

/** Supervisor to process. */
export type GroupCommand =
  /** First message: what to serve and how. */
  | { readonly kind: 'start'; readonly group: GroupSettings; readonly serving: ServingSettings }
  /** Tell your metrics; `id` comes back with them. */
  | { readonly kind: 'metrics'; readonly id: number; readonly dialect: MetricsDialect }
  /** Say that your thread that serves is not stuck. */
  | { readonly kind: 'ping' }
  /** Finish accepted calls, unload, exit. */
  | { readonly kind: 'drain' };

/** Process to supervisor. */
export type GroupReport =
  /** The first loads are done and the addresses are bound; `addresses` holds the ports really in use, `provider` executes. */
  | { readonly kind: 'ready'; readonly addresses: readonly ListenAddress[]; readonly provider?: string }
  /** An address could not be bound: starting again will not help by itself. */
  | { readonly kind: 'unbindable'; readonly message: string }
  /** Nothing can be executed here: no execution provider asked for can be used. */
  | { readonly kind: 'unservable'; readonly message: string }
  | { readonly kind: 'pong' }
  | { readonly kind: 'metrics'; readonly id: number; readonly families: readonly MetricFamily[] }
  /** A thread is stuck in native code; only SIGKILL ends it. */
  | { readonly kind: 'broken'; readonly message: string };
