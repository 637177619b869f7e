/** REST over HTTP/1.1: routed and weighted by the model in its path, and replaced like gRPC when the primary fails. */
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { request } from 'undici';
import { ProxyProgram } from '../support/proxy-program.ts';

type Script = (request: IncomingMessage, body: Buffer, response: ServerResponse) => void;

/** A model server that speaks REST, by node:http. */
async function restServer(test: Test, script: Script): Promise<string> {
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => script(incoming, Buffer.concat(chunks), response));
    incoming.on('error', () => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  test.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const echo: Script = (incoming, body, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ path: incoming.url, bytes: body.length, headers: incoming.headers }));
};

async function predict(address: string, path: string, body = '{"instances":[[1]]}', headers = {}) {
  const answer = await request(`http://${address}${path}`, { method: 'POST', body, headers });
  const text = await answer.body.text();
  return { status: answer.statusCode, headers: answer.headers, body: JSON.parse(text) };
}

t.test('a path that names a model goes to its cluster, asking for the version served there', async (test) => {
  const upstream = await restServer(test, echo);
  const proxy = await ProxyProgram.start(test, {
    document: { models: [{ name: 'm', split: [{ model: `m@7 via ${upstream}` }] }] },
  });
  const first = await predict(proxy.address, '/v1/models/m:predict');
  test.equal(first.body.path, '/v1/models/m/versions/7:predict');
  test.equal(first.headers['x-understudy-served-by'], 'm@7');
  test.equal((await predict(proxy.address, '/v2/models/m/infer')).body.path, '/v2/models/m/versions/7/infer');
  test.equal(
    (await predict(proxy.address, '/v1/models/m/versions/3:predict')).body.path,
    '/v1/models/m/versions/3:predict',
  );
  test.equal(
    (await predict(proxy.address, '/v1/models/m/labels/stable:predict')).body.path,
    '/v1/models/m/labels/stable:predict',
  );
  const hop = await predict(proxy.address, '/v1/models/m:predict', '{}', { te: 'trailers', 'x-request-id': 'r' });
  test.equal(hop.body.headers['x-request-id'], 'r');
  test.notOk(hop.body.headers['upgrade']);
});

t.test('weights hold for REST, and a sticky header keeps a caller on one version', async (test) => {
  const upstream = await restServer(test, echo);
  const document = {
    models: [
      {
        name: 'm',
        sticky: { header: 'x-user' },
        split: [
          { model: `m@1 via ${upstream}`, weight: '50%' },
          { model: `m@2 via ${upstream}`, weight: '50%' },
        ],
      },
    ],
  };
  const proxy = await ProxyProgram.start(test, { document });
  const versions = new Map<string, Set<string>>();
  for (let i = 0; i < 60; i++) {
    const user = `user-${i % 20}`;
    const answer = await predict(proxy.address, '/v1/models/m:predict', '{}', { 'x-user': user });
    versions.set(user, (versions.get(user) ?? new Set()).add(String(answer.headers['x-understudy-model-version'])));
  }
  test.ok([...versions.values()].every((seen) => seen.size === 1));
  test.equal(new Set([...versions.values()].flatMap((seen) => [...seen])).size, 2);
});

t.test('a failing primary is replaced in the same request, body and all', async (test) => {
  const failures: Record<string, Script> = {
    status: (_incoming, _body, response) => {
      response.writeHead(503, { 'content-type': 'application/json' });
      response.end('{"error":"down"}');
    },
    reset: (incoming) => incoming.socket.destroy(),
    'half an answer': (incoming, _body, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('half');
      setTimeout(() => incoming.socket.destroy(), 20);
    },
  };
  const fallback = await restServer(test, echo);
  for (const [name, script] of Object.entries(failures)) {
    const primary = await restServer(test, script);
    const proxy = await ProxyProgram.start(test, {
      document: {
        models: [
          { name: 'm', split: [{ model: `m@1 via ${primary}` }], fallback: [{ model: `lite via ${fallback}` }] },
        ],
      },
    });
    const body = JSON.stringify({ instances: Array.from({ length: 5000 }, (_, i) => [i]) });
    const answer = await predict(proxy.address, '/v1/models/m:predict', body);
    test.match(answer, { status: 200, body: { path: '/v1/models/lite:predict', bytes: body.length } }, name);
    test.equal(answer.headers['x-understudy-served-by'], 'lite', name);
  }
});

t.test("without a fallback, or when it fails too, the caller gets the primary's own answer", async (test) => {
  const primary = await restServer(test, (_incoming, _body, response) => {
    response.writeHead(503, { 'content-type': 'application/json' });
    response.end('{"error":"the primary is down"}');
  });
  const fallback = await restServer(test, (_incoming, _body, response) => {
    response.writeHead(500);
    response.end('{"error":"so is the fallback"}');
  });
  for (const models of [
    [{ name: 'm', split: [{ model: `m@1 via ${primary}` }] }],
    [{ name: 'm', split: [{ model: `m@1 via ${primary}` }], fallback: [{ model: `lite via ${fallback}` }] }],
  ]) {
    const proxy = await ProxyProgram.start(test, { document: { models } });
    const answer = await predict(proxy.address, '/v1/models/m:predict');
    test.match(answer, { status: 503, body: { error: 'the primary is down' } });
  }
});

t.test('other requests go to the configured upstream, and large bodies stream both ways', async (test) => {
  const other = await restServer(test, (incoming, body, response) => {
    response.setHeader('x-path', incoming.url ?? '');
    response.end(body);
  });
  const proxy = await ProxyProgram.start(test, { env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: other } });
  const body = Buffer.alloc(8 * 1024 * 1024, 'abcdefg');
  const answer = await request(`http://${proxy.address}/any/thing?x=1`, { method: 'PUT', body });
  test.equal(answer.headers['x-path'], '/any/thing?x=1');
  test.ok(Buffer.from(await answer.body.arrayBuffer()).equals(body));
});

t.test('a caller that goes away mid-answer cancels the upstream, and malformed requests harm nobody', async (test) => {
  let cancelled = 0;
  const slow = await restServer(test, (incoming, _body, response) => {
    response.write('x');
    incoming.socket.on('close', () => {
      cancelled++;
    });
  });
  const proxy = await ProxyProgram.start(test, { env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: slow } });
  const [host, port] = proxy.address.split(':');
  await new Promise<void>((resolve) => {
    const call = httpRequest({ host, port, path: '/slow' }, (response) => {
      response.once('data', () => {
        call.destroy();
        resolve();
      });
    });
    call.on('error', () => undefined);
    call.end();
  });
  for (let waited = 0; waited < 3000 && cancelled === 0; waited += 20) await new Promise((r) => setTimeout(r, 20));
  test.equal(cancelled, 1);
});
