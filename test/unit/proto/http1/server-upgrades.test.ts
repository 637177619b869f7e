// Connections of the server that stop being HTTP: upgrades and CONNECT, taken over or refused.
import t from 'tap';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { GET, ServerHarness } from './support.ts';

t.test('an upgrade hands over the socket and the bytes behind the request', async (t) => {
  const text = 'GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
  const now = new ServerHarness({
    onHead: (recorder) => {
      recorder.exchange!.sendHead(HeaderList.of([':status', '101'], ['upgrade', 'websocket'], ['x', 'y']), false);
      const taken = recorder.exchange!.takeOver();
      t.equal(taken.unread.toString(), 'frames');
      t.equal(taken.io, now.socket.io);
    },
  });
  now.socket.receive(`${text}frames`);
  t.equal(
    now.socket.text(),
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nx: y\r\nconnection: upgrade\r\n\r\n',
  );
  t.equal(now.closes, 1);
  t.equal(now.socket.destroyed, false);
  const later = new ServerHarness();
  later.socket.receive(`${text}fra`);
  later.socket.receive('mes');
  t.equal(later.requests[0]!.exchange!.head!.upgrade, true);
  later.requests[0]!.exchange!.sendHead(HeaderList.of([':status', '101'], ['upgrade', 'websocket']), false);
  t.equal(later.requests[0]!.exchange!.takeOver().unread.toString(), 'frames');
});

t.test('CONNECT is told apart and can become a tunnel or be refused', async (t) => {
  const text = 'CONNECT o:443 HTTP/1.1\r\nHost: o:443\r\n\r\n';
  const tunnel = new ServerHarness();
  tunnel.socket.receive(`${text}hello`);
  tunnel.requests[0]!.exchange!.sendHead(HeaderList.of([':status', '200'], ['content-length', '3']), false);
  t.equal(tunnel.socket.text(), 'HTTP/1.1 200 OK\r\n\r\n');
  t.equal(tunnel.requests[0]!.exchange!.takeOver().unread.toString(), 'hello');
  const refused = new ServerHarness();
  refused.socket.receive(text);
  refused.requests[0]!.exchange!.sendHead(HeaderList.of([':status', '405']), true);
  t.equal(refused.socket.text(), 'HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n');
  refused.socket.receive(GET);
  t.equal(refused.requests.length, 2);
});
