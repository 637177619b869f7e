/** The admin server over real sockets, asked by node:http. */
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import t from 'tap';
import { AdminServer, jsonAnswer, textAnswer } from '../../../../proxy/admin/admin-server.ts';

const server = new AdminServer([
  { method: 'GET', path: '/plain', help: 'some text', handle: () => textAnswer('grün\n') },
  { method: 'GET', path: '/long', help: '', handle: () => textAnswer('x'.repeat(3_000_000)) },
  {
    method: 'POST',
    path: '/act',
    help: 'does it',
    handle: async (query: URLSearchParams) => jsonAnswer({ did: query.get('what') }),
  },
  {
    method: 'GET',
    path: '/broken',
    help: '',
    handle: () => {
      throw new Error('out of order');
    },
  },
]);
const first = await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
const second = await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
t.teardown(() => {
  agent.destroy();
  server.close();
});

function portOf(address: typeof first): number {
  return address.kind === 'tcp' ? address.port : 0;
}

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

function ask(method: string, path: string, body = '', address = first): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port: portOf(address), method, path, agent }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() }),
      );
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

t.test('a route answers with its type and length, and HEAD with no body', async (test) => {
  const answer = await ask('GET', '/plain?any=1');
  test.match(answer, { status: 200, body: 'grün\n', headers: { 'cache-control': 'no-store', 'content-length': '6' } });
  test.match(answer.headers['content-type'], 'text/plain');
  test.match(await ask('HEAD', '/plain'), { status: 200, body: '', headers: { 'content-length': '6' } });
  test.match(await ask('GET', '/'), { status: 200, body: /GET {2}\/plain +some text\nGET/ });
});

t.test('a POST whose body nobody wants is answered, and the connection is good for the next', async (test) => {
  test.match(await ask('POST', '/act?what=this', 'x'.repeat(10_000)), { status: 200, body: /"did": "this"/ });
  test.match(await ask('GET', '/plain'), { status: 200 });
});

t.test('an answer larger than the socket takes at once comes whole', async (test) => {
  const answer = await ask('GET', '/long');
  test.equal(answer.body.length, 3_000_000);
});

t.test('wrong paths, methods and handlers are told as such', async (test) => {
  test.match(await ask('GET', '/nowhere'), { status: 404, body: /no \/nowhere here/ });
  test.match(await ask('POST', '/plain'), { status: 405 });
  test.match(await ask('GET', '/act'), { status: 405, body: /takes POST/ });
  test.match(await ask('GET', '/broken'), { status: 500, body: /out of order/ });
});

t.test('a target that is no path is refused, and ends nothing but itself', async (test) => {
  const text = await new Promise<string>((resolve, reject) => {
    const socket = connect(portOf(first), '127.0.0.1');
    let got = '';
    socket.on('data', (chunk) => (got += chunk));
    socket.on('end', () => resolve(got));
    socket.on('error', reject);
    socket.end('GET http://[ HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n');
  });
  test.match(text, /^HTTP\/1\.1 40[04] /);
  test.match(await ask('GET', '/plain'), { status: 200 });
});

t.test('every address serves the same', async (test) => {
  test.match(await ask('GET', '/plain', '', second), { status: 200 });
});
