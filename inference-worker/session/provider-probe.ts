/**
 * Finds the execution provider to use: the first of those asked for that loads. A provider is only known to load once a
 * session runs on it, so a graph of one node is run on each in turn, in a thread of its own: loading a device's libraries
 * takes long and has no business in the thread that serves.
 */
import { Worker } from 'node:worker_threads';
import type { Logger } from '../../base/logger.ts';
import type { ExecutionSettings, ProviderChoice } from './provider-options.ts';

/** What became of one provider: null when it ran, else why not. */
export type ProbeResult = string | null;

/** None of the providers asked for can be used. */
export class NoProviderError extends Error {
  override readonly name = 'NoProviderError';
}

export type ProbeProvider = (execution: ExecutionSettings) => Promise<ProbeResult>;

const PROBE_THREAD = new URL('./provider-probe-thread.ts', import.meta.url);

/**
 * The settings with only the providers that will be used, the one in force first. Rejects with a NoProviderError that
 * names every provider asked for and why it cannot be used.
 */
export async function settleProviders(
  asked: ExecutionSettings,
  log: Logger,
  probe: ProbeProvider = probeInThread,
): Promise<ExecutionSettings> {
  const problems: string[] = [];
  for (let i = 0; i < asked.providers.length; i++) {
    const chosen = await firstUsable(asked, i, probe);
    if (typeof chosen !== 'string') {
      log.info('execution_provider', { provider: chosen[0].name, asked: asked.providers.map(({ name }) => name) });
      return { ...asked, providers: chosen };
    }
    const { name } = asked.providers[i];
    log.warn('execution_provider_unusable', { provider: name, reason: chosen });
    problems.push(`${name}: ${chosen}`);
  }
  throw new NoProviderError(`no execution provider of --execution_providers can be used: ${problems.join('; ')}`);
}

/** TensorRT leaves what it cannot run to CUDA if that is asked for next; whatever is left runs on the CPU. */
async function firstUsable(
  asked: ExecutionSettings,
  at: number,
  probe: ProbeProvider,
): Promise<ProviderChoice[] | string> {
  const provider = asked.providers[at];
  if (provider.name === 'cpu') return [provider];
  const problem = await probe({ ...asked, providers: [provider] });
  if (problem !== null) return problem;
  const next = asked.providers[at + 1];
  return provider.name === 'tensorrt' && next?.name === 'cuda' ? [provider, next] : [provider];
}

function probeInThread(execution: ExecutionSettings): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const worker = new Worker(PROBE_THREAD, { workerData: execution });
    worker.once('message', (result: ProbeResult) => resolve(result));
    worker.once('error', (error) => resolve(error instanceof Error ? error.message : String(error)));
    worker.once('exit', () => resolve('its library ended the thread'));
  });
}
