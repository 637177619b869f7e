/**
 * Entry of an execution thread. It begins at low priority, before it even reads the rest of its program, so that starting
 * a thread and loading a model hold up no thread that serves, and goes on at its own priority once the model is ready.
 */
import { workerData } from 'node:worker_threads';
import { loadsAlone, lowerPriority } from './loading-priority.ts';
import type { ThreadData } from './thread-protocol.ts';

const restorePriority = loadsAlone((workerData as ThreadData).execution) ? lowerPriority() : () => {};
const { runExecutionThread } = await import('./execution-loop.ts');
runExecutionThread(restorePriority);
