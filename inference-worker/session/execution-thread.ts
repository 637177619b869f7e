/**
 * Entry of an execution thread. It begins at low priority, before it even reads the rest of its program, so that starting
 * a thread and loading a model hold up no thread that serves, and goes on at its own priority once the model is ready.
 */
import { lowerPriority } from './loading-priority.ts';

const restorePriority = lowerPriority();
const { runExecutionThread } = await import('./execution-loop.ts');
runExecutionThread(restorePriority);
