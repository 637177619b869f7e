/**
 * Process entry: the model server behind the proxy in `bench intercept`. Answers every call with the same small message.
 * Arguments: the ports to listen on. Says `ready` when it does.
 */
import { createServer, type ServerHttp2Stream } from 'node:http2';

const REPLY = Buffer.concat([Buffer.from([0, 0, 0, 0, 64]), Buffer.alloc(64, 0x0a)]);

let waiting = 0;
for (const port of process.argv.slice(2)) {
  waiting++;
  const server = createServer();
  server.on('session', (session) => session.on('error', () => {}));
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {});
    stream.resume();
    stream.on('end', () => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(REPLY);
    });
  });
  server.listen(Number(port), '::', () => {
    if (--waiting === 0) console.log('ready');
  });
}
