import t from 'tap';
import {
  bindingProvider,
  parseProviderOption,
  parseProviders,
} from '../../../../inference-worker/session/provider-options.ts';
import { readSettings } from '../../../../inference-worker/settings.ts';

function executionOf(...argv: string[]) {
  const result = readSettings(['--model_base_path=/m', ...argv], {});
  if (result.kind === 'mistakes') return result.problems;
  return result.kind === 'settings' ? result.settings.serving.execution : [];
}

t.test('providers keep their order, each once', async (t) => {
  t.same(parseProviders('tensorrt,cuda,webgpu,cpu'), ['tensorrt', 'cuda', 'webgpu', 'cpu']);
  t.throws(() => parseProviders('cuda,rocm'), /tensorrt, cuda, webgpu, cpu/);
  t.throws(() => parseProviders('cpu,cpu'), /each once/);
});

t.test('an option the binding would ignore is refused with what it passes', async (t) => {
  t.throws(() => parseProviderOption('cuda:gpu_mem_limit=1'), /passes to cuda: deviceId/);
  t.throws(() => parseProviderOption('tensorrt:trt_engine_cache_enable=1'), /passes to tensorrt: deviceId/);
  t.throws(() => parseProviderOption('cpu:useArena=0'), /passes none to cpu/);
  t.throws(
    () => parseProviderOption('webgpu:deviceId=0'),
    /passes to webgpu: preferredLayout, .*defaultBufferCacheMode/,
  );
  t.throws(() => parseProviderOption('webgpu:__proto__=0'), /passes to webgpu/);
  t.throws(() => parseProviderOption('webgpu:preferredLayout=ABC'), /NCHW or NHWC/);
  t.throws(() => parseProviderOption('cuda:deviceId=first'), /device numbers/);
});

t.test('options reach the provider they are for, in the form the binding wants', async (t) => {
  const execution = executionOf(
    '--execution_providers=cuda,webgpu,cpu',
    '--execution_provider_option=cuda:deviceId=0+1',
    '--execution_provider_option=webgpu:enableRobustness=true',
    '--execution_provider_option=webgpu:forceCpuNodeNames=a+b',
    '--session_config=session.set_denormal_as_zero=1',
    '--intra_op_threads=2',
  );
  t.match(execution, { intraOpThreads: 2, extra: { 'session.set_denormal_as_zero': '1' } });
  if (!('providers' in execution)) throw new Error('mistakes');
  const [cuda, webgpu, cpu] = execution.providers;
  t.same(
    [0, 1, 2].map((instance) => bindingProvider(cuda!, instance)),
    [
      { name: 'cuda', deviceId: 0 },
      { name: 'cuda', deviceId: 1 },
      { name: 'cuda', deviceId: 0 },
    ],
  );
  t.same(bindingProvider(webgpu!, 0), { name: 'webgpu', enableRobustness: true, forceCpuNodeNames: ['a', 'b'] });
  t.equal(bindingProvider(cpu!, 0), 'cpu');
});

t.test('an option of a provider that is not asked for is a mistake', async (t) => {
  t.match(executionOf('--execution_provider_option=cuda:deviceId=0'), [/cuda is not among the providers/]);
});
