/** A model behind a cluster of several scripted upstreams, and a caller of the proxy before them. */
import type { Test } from 'tap';
import { GrpcCaller } from './grpc-caller.ts';
import { until } from './patience.ts';
import { ProxyProgram } from './proxy-program.ts';
import { type Script, ScriptedUpstream } from './scripted-upstream.ts';

/** Upstreams behind one cluster of the model `credit`, and a caller of the proxy before them. */
export async function endpointLab(
  test: Test,
  count: number,
  cluster: object = {},
  more: { env?: Record<string, string> } = {},
) {
  const names = Array.from({ length: count }, (_, i) => `e${i}`);
  const upstreams = await Promise.all(names.map((name) => ScriptedUpstream.start(test, name)));
  const proxy = await ProxyProgram.start(test, {
    ...more,
    ready: false,
    document: {
      clusters: [
        {
          name: 'credit@1',
          model: 'credit',
          version: '1',
          endpoints: upstreams.map(({ address }) => address),
          breaker: { enabled: false },
          ...cluster,
        },
      ],
      models: [{ name: 'credit', split: [{ cluster: 'credit@1' }] }],
    },
  });
  await proxy.until(() => proxy.address !== '' && proxy.adminUrl !== '', 'its addresses');
  return { upstreams, proxy, caller: GrpcCaller.to(test, proxy.address) };
}

/** UNAVAILABLE in the trailers, at once. */
export const failsNow: Script = (call) => call.failInTrailers(14, 'not now');

/** Calls ten at a time; how many ended with each gRPC status. */
export async function statuses(caller: GrpcCaller, count: number): Promise<Map<number, number>> {
  const seen = new Map<number, number>();
  for (let i = 0; i < count; i += 10) {
    const some = Math.min(10, count - i);
    const all = await Promise.all(Array.from({ length: some }, () => caller.predict('credit')));
    for (const { status } of all) seen.set(status, (seen.get(status) ?? 0) + 1);
  }
  return seen;
}

/** Waits until the admin address shows an endpoint in a state. */
export async function untilState(proxy: ProxyProgram, address: string, state: string): Promise<void> {
  await until(async () => {
    const { clusters } = (await (await fetch(`${proxy.adminUrl}/models`)).json()) as {
      clusters: { endpoints: { address: string; state: string }[] }[];
    };
    const endpoints = clusters.flatMap((cluster) => cluster.endpoints);
    return endpoints.find((endpoint) => endpoint.address === address)?.state === state;
  }, `${address} is ${state}`);
}
