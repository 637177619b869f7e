/** What every server that reads its own sockets needs of net: how it accepts, where it listens, and how it empties. */
import { createServer, type Server } from 'node:net';
import type { ConnectAddress } from './adopt.ts';

/** How often a server that drains looks whether it is empty, milliseconds. */
const LOOK_MS = 5;

/** A server whose sockets can be taken over by `adoptAccepted`: nothing is read of them before. */
export function createListener(): Server {
  return createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true });
}

/**
 * Starts listening; resolves with the address in force (a port of 0 is replaced by the one chosen). Rejects when it cannot
 * be bound. At most `backlog` connections wait to be accepted; with `reusePort` other threads may listen there too.
 */
export function listenAt(
  server: Server,
  address: ConnectAddress,
  backlog = 1024,
  reusePort = false,
): Promise<ConnectAddress> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const target =
      address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port, backlog, reusePort };
    server.listen(target, () => {
      server.off('error', reject);
      const bound = server.address();
      if (address.kind === 'unix' || bound === null || typeof bound === 'string') resolve(address);
      else resolve({ kind: 'tcp', host: address.host, port: bound.port });
    });
  });
}

/** Resolves when no connection is left, or after `deadlineMs`. */
export async function untilEmpty(connections: ReadonlySet<unknown>, deadlineMs: number): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (connections.size > 0 && performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
