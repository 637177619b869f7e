/**
 * Process entry of `npm run bench -- <bench> [options]`: side-by-side runs with other programs on one machine. What
 * counts are the ratios; absolute figures belong to the machine.
 */
import { OPTIONS_HELP } from './options.ts';

type Bench = (args: readonly string[]) => Promise<number>;

/** Each bench is loaded only when asked for: one needs onnxruntime, another does not. */
const BENCHES: Readonly<Record<string, { readonly help: string; readonly load: () => Promise<Bench> }>> = {
  relay: {
    help: 'our proxy beside haproxy, nginx and nghttpx',
    load: async () => (await import('./relay/relay-bench.ts')).runRelayBench,
  },
  mirror: {
    help: "shadows that hang, answer garbage, flood, die, are slow: what the primary's callers notice",
    load: async () => (await import('./mirror/mirror-bench.ts')).runMirrorBench,
  },
  worker: {
    help: 'our worker beside a grpc-js server and a bare session.run loop',
    load: async () => {
      const { runWorkerBench } = await import('./worker/worker-bench.ts');
      return (args) => runWorkerBench(args);
    },
  },
  intercept: {
    help: 'as root: the redirected path beside the explicit one',
    load: async () => (await import('./intercept/intercept-bench.ts')).runInterceptBench,
  },
  gpu: {
    help: 'the same on a device: --provider cuda, tensorrt or webgpu; the first that loads without it',
    load: async () => (await import('./gpu/gpu-bench.ts')).runGpuBench,
  },
};

async function main([name, ...args]: readonly string[]): Promise<number> {
  const bench = BENCHES[name ?? ''];
  if (bench === undefined) {
    const list = Object.entries(BENCHES).map(([key, { help }]) => `  ${key.padEnd(17)} ${help}\n`);
    process.stderr.write(`usage: npm run bench -- BENCH [OPTIONS]\n\n${list.join('')}\n${OPTIONS_HELP}`);
    return name === undefined || name === '--help' ? 0 : 2;
  }
  try {
    return await (await bench.load())(args);
  } catch (error) {
    process.stderr.write(`bench ${name}: ${(error as Error).message}\n`);
    return 1;
  }
}

// Programs still running are ended by the exit handler that started them.
process.exit(await main(process.argv.slice(2)));
