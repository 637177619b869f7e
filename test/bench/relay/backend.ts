/** The fixed-reply backend as the bench sees it: started, asked for its counts, stopped. */
import { join } from 'node:path';
import { AskedProgram } from '../programs/asked-program.ts';
import type { TrafficKind } from './traffic.ts';

/** Requests answered since the start. */
export interface BackendCounts {
  readonly good: number;
  readonly bad: number;
}

export type Backend = AskedProgram<{ readonly port: number }, object, BackendCounts>;

const SCRIPTS: Readonly<Record<TrafficKind, string>> = {
  grpc: 'fixed-reply-backend.ts',
  tls: 'fixed-reply-backend.ts',
  mirror: 'fixed-reply-backend.ts',
  http1: 'rest-backend.ts',
  tcp: 'echo-backend.ts',
};

/** Starts the backend of one kind of traffic on `core`, for request bodies of the sizes given. */
export function startBackend(traffic: TrafficKind, core: number, requestSizes: readonly number[]): Promise<Backend> {
  const script = join(import.meta.dirname, SCRIPTS[traffic]);
  return AskedProgram.start({ name: 'backend', core, script, args: requestSizes.map(String) });
}
