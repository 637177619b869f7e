/**
 * Process entry: the server of the opaque workload, which returns every byte on plain `node:net`. Argument: the size of
 * one message. Over IPC it announces `{ port }` once and answers every message with `{ good, bad }`: whole messages
 * echoed, and connections that ended inside one.
 */
import { type AddressInfo, createServer } from 'node:net';

const messageBytes = Number(process.argv[2]);
let good = 0;
let bad = 0;

const server = createServer({ noDelay: true }, (socket) => {
  let bytes = 0;
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    socket.write(chunk);
    bytes += chunk.length;
    while (bytes >= messageBytes) {
      bytes -= messageBytes;
      good++;
    }
  });
  socket.on('close', () => {
    if (bytes > 0) bad++;
  });
});
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on('message', () => process.send?.({ good, bad }));
process.on('disconnect', () => process.exit(0));
