// Requests on one connection of the server: read in order, bodies and trailers whole, and no more of them than are answered.
import t from 'tap';
import { answer, echoPath, GET, pairs, ServerHarness } from './support.ts';

t.test('pipelined requests are answered in order, one at a time', async (t) => {
  const server = new ServerHarness();
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`;
  server.socket.receive(get('/1') + get('/2') + get('/3').slice(0, 9));
  t.equal(server.requests.length, 1);
  server.socket.receive(get('/3').slice(9));
  answer(server.requests[0]!, 'one');
  t.equal(server.requests.length, 2);
  answer(server.requests[1]!, 'two');
  t.equal(server.requests.length, 3);
  answer(server.requests[2]!, 'three');
  t.match(server.socket.text(), /one.*two.*three/s);
  t.equal(server.socket.ended, false);
});

t.test('requests answered at once are all read in one go, bodies included', async (t) => {
  const server = new ServerHarness({ onEnded: (recorder) => answer(recorder, recorder.body) });
  const one = 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc';
  const two = 'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n';
  server.socket.receive((one + two).repeat(50));
  t.equal(server.requests.length, 100);
  t.match(server.socket.text(), /^(HTTP[^\n]*\n[^\n]*\n\r\nabcHTTP[^\n]*\n[^\n]*\n\r\ndef){50}$/);
});

t.test('trailers come in behind chunks, whole and byte by byte', async (t) => {
  const text =
    'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nY: z\r\n\r\n';
  for (const step of [1000, 1, 7]) {
    const server = new ServerHarness({ onEnded: (recorder) => answer(recorder, '') });
    const twice = text + text;
    for (let i = 0; i < twice.length; i += step) server.socket.receive(twice.slice(i, i + step));
    t.equal(server.requests.length, 2);
    for (const request of server.requests) {
      t.equal(request.body, 'abc');
      t.same(pairs(request.trailers!), [
        ['x-sum', '1'],
        ['y', 'z'],
      ]);
    }
  }
});

t.test('an empty line before a request is forgiven once', async (t) => {
  const server = new ServerHarness({ onEnded: echoPath });
  server.socket.receive(`\r\n${GET}`);
  server.socket.receive('\r');
  server.socket.receive('\n');
  server.socket.receive(GET);
  t.equal(server.requests.length, 2);
  t.equal(server.faults.length, 0);
});

t.test('a malformed pipelined request is answered behind the earlier ones', async (t) => {
  const server = new ServerHarness();
  server.socket.receive(`${GET}GET / HTTP/1.1\n\n`);
  t.equal(server.faults.length, 0);
  answer(server.requests[0]!, 'first');
  t.match(server.socket.text(), /first.*400 Bad Request/s);
});

t.test('pipelined bytes are kept up to their bound, then reading pauses until the answer', async (t) => {
  const server = new ServerHarness({ limits: { maxPipelinedBytes: 100 } });
  server.socket.receive(GET);
  server.socket.receive(GET.repeat(3));
  t.equal(server.socket.paused, false);
  server.socket.receive(GET.repeat(3));
  t.equal(server.socket.paused, true);
  while (server.requests.some((request) => !request.exchange!.localEnded)) answer(server.requests.at(-1)!, '');
  t.equal(server.requests.length, 7);
  t.equal(server.socket.paused, false);
});

t.test('a client that reads no answers gets no more requests read', async (t) => {
  const server = new ServerHarness({ onEnded: echoPath });
  server.socket.taking = 200;
  server.socket.receive(GET.repeat(50));
  const begun = server.requests.length;
  t.ok(begun < 10, `${begun}`);
  server.socket.drain(1e6);
  t.equal(server.requests.length, 50);
});
