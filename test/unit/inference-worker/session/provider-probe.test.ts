/** The first provider that loads is used; when none does, the reasons are all there. */
import t from 'tap';
import { Logger } from '../../../../base/logger.ts';
import {
  DEFAULT_EXECUTION,
  type ExecutionSettings,
  type ProviderName,
} from '../../../../inference-worker/session/provider-options.ts';
import { type ProbeProvider, settleProviders } from '../../../../inference-worker/session/provider-probe.ts';

const log = new Logger('silent');

function asking(...names: ProviderName[]): ExecutionSettings {
  return { ...DEFAULT_EXECUTION, providers: names.map((name) => ({ name, deviceIds: [], options: {} })) };
}

/** Loads only these. */
function machineWith(...names: ProviderName[]): ProbeProvider {
  return async ({ providers }) => (names.includes(providers[0]!.name) ? null : 'no such library');
}

async function settled(asked: ExecutionSettings, probe?: ProbeProvider): Promise<string[]> {
  const { providers } = await settleProviders(asked, log, probe);
  return providers.map(({ name }) => name);
}

t.test('the first that loads wins', async (t) => {
  t.same(await settled(asking('tensorrt', 'cuda', 'webgpu', 'cpu'), machineWith('webgpu')), ['webgpu']);
  t.same(await settled(asking('tensorrt', 'cuda', 'cpu'), machineWith()), ['cpu']);
  t.same(await settled(asking('cpu', 'cuda'), machineWith('cuda')), ['cpu']);
});

t.test('TensorRT leaves the rest to CUDA where both are asked for', async (t) => {
  t.same(await settled(asking('tensorrt', 'cuda', 'cpu'), machineWith('tensorrt', 'cuda')), ['tensorrt', 'cuda']);
});

t.test('a required provider that is missing is an error that says why', async (t) => {
  await t.rejects(settled(asking('tensorrt', 'cuda'), machineWith()), {
    name: 'NoProviderError',
    message:
      'no execution provider of --execution_providers can be used: tensorrt: no such library; cuda: no such library',
  });
});

t.test('the probe really asks onnxruntime', async (t) => {
  t.same(await settled(asking('cpu')), ['cpu']);
  const cuda = settled(asking('cuda', 'cpu'));
  t.ok(['cuda', 'cpu'].includes((await cuda)[0]!));
});
