/**
 * `bench gpu`: the worker bench on a device. Every program of it (our worker, the grpc-js server, the bare loop) executes
 * on the same provider; answers are checked against the CPU's. It needs nothing but this checkout with its node_modules,
 * for CUDA with the libraries that README.md tells how to fetch, so it can be carried to a machine without a network.
 */
import { Logger } from '../../../base/logger.ts';
import { DeviceMonitor } from '../../../inference-worker/metrics/device-monitor.ts';
import {
  chooseProviders,
  DEFAULT_EXECUTION,
  type ProviderName,
  parseProviders,
} from '../../../inference-worker/session/provider-options.ts';
import { settleProviders } from '../../../inference-worker/session/provider-probe.ts';
import { runWorkerBench } from '../worker/worker-bench.ts';

/** TensorRT builds a plan for each size, which takes minutes: it is run only when asked for. */
const PROVIDERS: readonly ProviderName[] = ['cuda', 'webgpu'];
/** Devices multiply in shorter formats (TF32 on NVIDIA's) and add in another order. */
const TOLERANCE = 5e-3;
const READY_WITHIN_MS = 300_000;
const PROVIDER_OPTION = '--provider';

/** Runs the bench on the first of `--provider A,B` (cuda,webgpu) that loads. Returns the exit code. */
export async function runGpuBench(args: readonly string[]): Promise<number> {
  const { asked, rest } = takeProviders(args);
  const execution = { ...DEFAULT_EXECUTION, providers: chooseProviders(asked, [], []) };
  const { providers } = await settleProviders(execution, new Logger('silent'));
  const provider = providers[0]!.name;
  const devices = new DeviceMonitor(new Logger('silent')).read().map(({ name }) => name);
  process.stderr.write(`bench gpu: ${provider} on ${devices.join(', ') || 'a device the driver does not name'}\n`);
  return runWorkerBench(rest, {
    provider,
    tolerance: TOLERANCE,
    readyWithinMs: READY_WITHIN_MS,
    devices,
  });
}

function takeProviders(args: readonly string[]): { asked: readonly ProviderName[]; rest: string[] } {
  const rest = [...args];
  const at = rest.findIndex((arg) => arg === PROVIDER_OPTION || arg.startsWith(`${PROVIDER_OPTION}=`));
  if (at < 0) return { asked: PROVIDERS, rest };
  const [option] = rest.splice(at, 1) as [string];
  const text = option === PROVIDER_OPTION ? rest.splice(at, 1)[0] : option.slice(PROVIDER_OPTION.length + 1);
  return { asked: parseProviders(text ?? ''), rest };
}
