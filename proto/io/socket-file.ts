/**
 * Makes way for a Unix socket. A process that was killed leaves its socket file behind, and binding over it fails; but a
 * file that somebody listens on, or that is no socket, is not ours to remove.
 */
import { lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';

/** Longest path of a Unix socket (`sun_path` less its terminating zero). */
export const MAX_SOCKET_PATH_BYTES = 107;

/** Removes a stale socket file at `path`. Rejects with a message for people if the path cannot be used. */
export async function clearSocketPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw new Error(`${path} is longer than the ${MAX_SOCKET_PATH_BYTES} bytes a Unix socket path can have`);
  }
  try {
    const info = await lstat(path);
    if (!info.isSocket()) throw new Error(`${path} exists and is not a socket`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (await isListening(path)) throw new Error(`another process listens on ${path}`);
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}

function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
