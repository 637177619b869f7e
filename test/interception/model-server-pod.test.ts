/**
 * In front of a model server: callers of the pod who speak TensorFlow Serving or Open Inference, over gRPC or REST, are
 * answered by that server through the proxy, and by a smaller model when it is gone; without the rules by the server alone.
 */
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { InterceptionLab, POD_V4 } from '../support/interception-lab.ts';
import { ModelFolder, scaleModel } from '../support/model-folder.ts';
import { namespacesUnavailable } from '../support/netns.ts';
import { APPLICATION, inPeer, MODEL_SERVER, metric, startProxy } from '../support/sidecar-pod.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables', 'setpriv', 'curl');
const program = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const WORKER = program('../../inference-worker/main.ts');
const CALLER = program('../support/four-protocol-caller.ts');
const INBOUND = ['--outbound-ports', 'none', '--inbound-ports', '8500,8501'];

t.test('a pod with a model server of its own', { skip }, async (t) => {
  const lab = new InterceptionLab();
  const models = new ModelFolder();
  t.teardown(async () => {
    await lab.close();
    models.remove();
  });
  chmodSync(models.path, 0o755);
  models.put('doubles', 1, scaleModel(2));
  models.put('triples', 1, scaleModel(3));
  const fallback = models.at('fallback.sock');
  const [server] = await Promise.all([
    lab.pod.spawnUntil(['worker_ready'], process.execPath, [
      ...[WORKER, '--port=8500', '--rest_api_port=8501', `--model=doubles@all:${models.at('doubles')}`],
    ]),
    lab.pod.spawnUntil(['worker_ready'], process.execPath, [
      ...[WORKER, '--socket_mode=0666', `--model=triples@all:${models.at('triples')}`],
      `--group=fallback:${fallback}:triples`,
    ]),
    startProxy(lab, {
      UNDERSTUDY_MODEL_DOUBLES_PRIMARY: 'doubles via 127.0.0.1:8500',
      UNDERSTUDY_MODEL_DOUBLES_FALLBACK: `triples via unix:${fallback}`,
    }),
  ]);
  const ask = () => inPeer(lab, CALLER, POD_V4, '8500', '8501', 'doubles');
  const requests = () => metric(lab, 'understudy_cluster_requests_total');
  const doubled = { y: [2, 4] };

  t.match(ask(), { tfsGrpc: doubled, oipGrpc: doubled, tfsRest: { ...doubled, by: null }, oipRest: doubled }, 'before');
  t.equal(requests(), 0);
  const before = lab.savedRules();
  lab.mustIntercept('install', ...INBOUND);
  t.match(
    ask(),
    {
      tfsGrpc: doubled,
      oipGrpc: doubled,
      tfsRest: { ...doubled, by: 'doubles' },
      oipRest: { ...doubled, by: 'doubles' },
    },
    'by its own server, through the proxy',
  );
  t.equal(requests(), 4);

  server.kill('SIGKILL');
  await once(server, 'exit');
  // Its process that answers sees a moment later that its supervisor is gone; until then it goes on answering.
  for (let waited = 0; ask().tfsRest.by !== 'triples' && waited < 50; waited++) await sleep(100);
  const tripled = { y: [3, 6] };
  t.match(
    ask(),
    {
      tfsGrpc: tripled,
      oipGrpc: tripled,
      tfsRest: { ...tripled, by: 'triples' },
      oipRest: { ...tripled, by: 'triples' },
    },
    'by the fallback, in the same call',
  );
  lab.mustIntercept('remove');
  t.same(lab.savedRules(), before);
});

t.test(
  'a model server whose gRPC port answers no REST: a route sends REST to the port that does',
  { skip },
  async (t) => {
    const lab = new InterceptionLab();
    t.teardown(() => lab.close());
    const document = {
      clusters: [{ name: 'server-rest', endpoints: ['127.0.0.1:8501'] }],
      models: [{ name: 'm', split: [{ model: 'm via 127.0.0.1:8500' }] }],
      routes: [{ name: 'rest', pathPrefix: '/v1/', cluster: 'server-rest' }],
    };
    const rest = `require('node:http').createServer((request, response) => response.end(request.url)).listen(8501, '::',
    () => console.log('ready'))`;
    await Promise.all([
      lab.pod.spawnUntil(['ready'], process.execPath, [MODEL_SERVER, 'own', '[::]:8500']),
      lab.pod.spawnUntil(['ready'], process.execPath, ['-e', rest]),
      startProxy(lab, { UNDERSTUDY_CONFIG: JSON.stringify(document) }),
    ]);
    lab.mustIntercept('install', ...INBOUND);
    t.match(inPeer(lab, APPLICATION, 'predict', `${POD_V4}:8500`, 'm'), { servedBy: 'own' });
    const url = `http://${POD_V4}:8501/v1/models/m:predict`;
    t.equal(lab.peer.must('curl', '--silent', '--max-time', '5', '--data', '{}', url), '/v1/models/m:predict');
    t.equal(metric(lab, 'understudy_downstream_connections_total'), 2, 'both through the proxy');
  },
);
