import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { connect } from 'node:tls';
import fc from 'fast-check';
import t from 'tap';
import { tlsServerName } from '../../../../proxy/listener/tls-server-name.ts';
import { runs } from '../../../support/fuzz-runs.ts';

/** The first bytes a real TLS client sends. */
function clientHello(servername: string): Promise<Buffer> {
  return new Promise((resolve) => {
    const server = createServer((socket) => {
      socket.once('data', (bytes) => {
        socket.destroy();
        server.close();
        resolve(bytes as Buffer);
      });
    });
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      connect({ port, host: '127.0.0.1', servername, ALPNProtocols: ['h2'] }).on('error', () => undefined);
    });
  });
}

t.test("a real client's server name is read", async (t) => {
  const hello = await clientHello('models.example.test');
  t.equal(tlsServerName(hello, hello.length), 'models.example.test');
});

t.test('a hello without a name, or cut anywhere before it, has none', async (t) => {
  const bare = await clientHello('');
  t.equal(tlsServerName(bare, bare.length), '');
  const hello = await clientHello('models.example.test');
  const nameEnd = hello.indexOf('models.example.test') + 'models.example.test'.length;
  for (let cut = 0; cut < nameEnd; cut++) t.equal(tlsServerName(hello, cut), '', `${cut} bytes`);
});

t.test('no bytes make it throw or read outside', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      bytes[0] = 22;
      if (bytes.length > 5) bytes[5] = 1;
      tlsServerName(bytes, bytes.length);
    }),
    { numRuns: runs(2000) },
  );
});
