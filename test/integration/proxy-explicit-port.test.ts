/** The explicit-port mode: no rules, no privilege, no koffi; the application is pointed at the proxy, which says so. */
import t from 'tap';
import { freePort } from '../bench/programs/free-port.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { ScriptedUpstream } from '../support/scripted-upstream.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';

/** As on a machine for which koffi has no library, in every thread. */
const WITHOUT_KOFFI = `import { registerHooks } from 'node:module';
  registerHooks({ resolve: (name, context, next) => {
    if (name === 'koffi') throw new Error("Cannot find module 'koffi'");
    return next(name, context);
  } });`;

t.test('a proxy without koffi serves those who dial its ports, and says what it cannot do', async (t) => {
  const upstream = await ScriptedUpstream.start(t, 'upstream');
  const port = await freePort();
  const proxy = await ProxyProgram.start(t, {
    nodeArgs: ['--import', `data:text/javascript,${encodeURIComponent(WITHOUT_KOFFI)}`],
    env: {
      UNDERSTUDY_OUTBOUND_EXPLICIT_PORTS: `${port}`,
      UNDERSTUDY_MODEL_M_PRIMARY: `m@1 via ${upstream.address}`,
    },
    ready: false,
  });
  const told = proxy.logged('explicit_port_mode');
  if (process.platform === 'linux') {
    t.equal(told.length, 1, 'once');
    t.match(told[0], { level: 'warn', reason: /koffi.*Cannot find module 'koffi'\): explicit-port mode$/ });
  }
  for (const address of [`127.0.0.1:${port}`, proxy.address]) {
    const client = new TfsClient(address);
    t.teardown(() => client.close());
    const reply = await client.predict({ model_spec: modelSpec('m'), inputs: { x: floats([1], [1]) } });
    t.equal(reply.model_spec.version.value, '1', address);
  }
});

t.test('a proxy that can ask the kernel says nothing of it', { skip: process.platform !== 'linux' }, async (t) => {
  const proxy = await ProxyProgram.start(t, { ready: false });
  t.same(proxy.logged('explicit_port_mode'), []);
});
