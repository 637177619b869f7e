/**
 * A stand-in for the proxy: tells each caller, as one line of JSON, where the caller meant to go, then sends back what it
 * is sent. Also the plain server behind it, which answers with its own name. Run as a program inside a network namespace:
 *
 *   node destination-echo.ts listen <host> <port>[,<port>...]     answers {"verdict":...,"destination":...}
 *   node destination-echo.ts serve <name> <host> <port>[,...]     answers {"server":name,"from":address}
 *   node destination-echo.ts dial <host> <port> [source]          prints the answer, or {"error":code}, and hangs up
 *   node destination-echo.ts talk <host> <port>                   prints the answer, then talks from standard input
 *
 * UNDERSTUDY_TEST_UID and UNDERSTUDY_TEST_GID set who it runs as, after the start.
 */
import net from 'node:net';
import { readDestination } from '../../proxy/listener/original-destination.ts';

const [mode, ...rest] = process.argv.slice(2);
becomeOther();
if (mode === 'listen') {
  listen(rest[0]!, rest[1]!, (socket) => {
    const reading = readDestination(socket);
    return { ...reading, from: socket.remoteAddress };
  });
} else if (mode === 'serve') {
  listen(rest[1]!, rest[2]!, (socket) => ({ server: rest[0], from: socket.remoteAddress }));
} else if (mode === 'dial') {
  dial(rest[0]!, Number(rest[1]), rest[2]);
} else {
  talk(rest[0]!, Number(rest[1]));
}

function becomeOther(): void {
  const gid = process.env['UNDERSTUDY_TEST_GID'];
  const uid = process.env['UNDERSTUDY_TEST_UID'];
  if (gid !== undefined) {
    process.setgroups!([]);
    process.setgid!(Number(gid));
  }
  if (uid !== undefined) process.setuid!(Number(uid));
}

function listen(host: string, ports: string, answer: (socket: net.Socket) => object): void {
  let pending = 0;
  for (const port of ports.split(',')) {
    pending++;
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.write(`${JSON.stringify(answer(socket))}\n`);
      socket.pipe(socket);
    });
    server.listen({ host, port: Number(port) }, () => {
      if (--pending === 0) console.log('ready');
    });
  }
}

function dial(host: string, port: number, source: string | undefined): void {
  const socket = net.connect({ host, port, localAddress: source, timeout: 5000 });
  let text = '';
  socket.on('data', (chunk) => {
    text += String(chunk);
    if (text.endsWith('\n')) socket.end();
  });
  socket.on('timeout', () => socket.destroy(Object.assign(new Error('no answer'), { code: 'TIMEOUT' })));
  socket.on('error', (error: NodeJS.ErrnoException) => console.log(JSON.stringify({ error: error.code })));
  socket.on('end', () => console.log(text.trim() || JSON.stringify({ error: 'EMPTY' })));
}

function talk(host: string, port: number): void {
  const socket = net.connect({ host, port });
  socket.on('error', (error: NodeJS.ErrnoException) => console.log(JSON.stringify({ error: error.code })));
  socket.pipe(process.stdout);
  process.stdin.pipe(socket);
}
