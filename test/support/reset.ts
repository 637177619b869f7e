/** Ends a connection as a process that died does. */
import type { Socket } from 'node:net';

/**
 * Closes a socket with a TCP reset, or plainly while its shutdown is under way. The system refuses to reset such a socket,
 * and Node then forgets it without closing it: the descriptor stays open, and the process spins for ever when it ends.
 */
export function resetSocket(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}
