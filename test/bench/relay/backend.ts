/** The fixed-reply backend as the bench sees it: started, asked for its counts, stopped. */
import { join } from 'node:path';
import { AskedProgram } from '../programs/asked-program.ts';

/** Requests answered since the start. */
export interface BackendCounts {
  readonly good: number;
  readonly bad: number;
}

export type Backend = AskedProgram<{ readonly port: number }, object, BackendCounts>;

/** Starts it on `core` for request bodies of the sizes given. */
export function startBackend(core: number, requestSizes: readonly number[]): Promise<Backend> {
  const script = join(import.meta.dirname, 'fixed-reply-backend.ts');
  return AskedProgram.start({ name: 'backend', core, script, args: requestSizes.map(String) });
}
