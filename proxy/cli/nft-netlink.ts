/**
 * Owns the one thing that iptables cannot do: take away the empty built-in chains and the empty table that its nft kind
 * creates on first use and then keeps. Without this, a namespace that had no nat table before install would show an empty
 * one after remove. One netlink transaction per deletion, each with "not if something is inside", so that a rule written
 * by somebody else in the meantime is never lost. Which built-in chains exist cannot be seen from `iptables-save`, which
 * shows all four whenever the table is there; so a chain that is not there is no failure.
 *
 * ```
 * message   = length:u32 type:u16 flags:u16 sequence:u32 port:u32 │ family:u8 version:u8 resource:u16be │ attributes
 * attribute = length:u16 type:u16 value, zero-terminated text, padded to 4
 * batch     = BATCH_BEGIN, DELCHAIN or DELTABLE, BATCH_END; the kernel acknowledges the middle one
 * ```
 */
import { createRequire } from 'node:module';

const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NETLINK_NETFILTER = 12;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;

const BATCH_BEGIN = 0x10;
const BATCH_END = 0x11;
const NFTABLES = 10;
const DELETE_TABLE = (NFTABLES << 8) | 2;
const DELETE_CHAIN = (NFTABLES << 8) | 5;
const NLMSG_ERROR = 2;

const REQUEST = 0x1;
const ACKNOWLEDGE = 0x4;
const ONLY_IF_EMPTY = 0x100;

const TABLE_NAME = 1;
const CHAIN_TABLE = 1;
const CHAIN_NAME = 3;

const HEADER_BYTES = 20;
/** An acknowledgement repeats the message it answers, below 100 bytes. */
const REPLY_BYTES = 4096;
const REPLY_TIMEOUT_SECONDS = 2;
const ENOENT = 2;
const EBUSY = 16;
const NO_ANSWER = -1;

/**
 * Deletes built-in chains of the nat table that are empty, and the table itself when asked. Returns null when done, or a
 * sentence saying what stayed and why.
 */
export function deleteEmptyNat(family: 4 | 6, chains: readonly string[], withTable: boolean): string | null {
  let libc: Libc;
  try {
    libc = loadLibc();
  } catch (error) {
    return `koffi did not load (${error instanceof Error ? error.message.split('\n', 1)[0] : String(error)})`;
  }
  const fd = libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_NETFILTER);
  if (fd < 0) return 'the kernel gave no netlink socket';
  try {
    libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeval(REPLY_TIMEOUT_SECONDS), 16);
    for (const chain of chains) {
      const errno = transact(libc, fd, deletionOf(family, chain));
      if (errno !== 0 && errno !== ENOENT) return `the kernel kept ${chain}: ${describe(errno)}`;
    }
    const errno = withTable ? transact(libc, fd, deletionOf(family, null)) : 0;
    return errno === 0 || errno === ENOENT ? null : `the kernel kept it: ${describe(errno)}`;
  } finally {
    libc.close(fd);
  }
}

/** The transaction that deletes a chain of the nat table, or with null the table. Exported for its test. */
export function deletionOf(family: 4 | 6, chain: string | null): Buffer {
  const socketFamily = family === 4 ? AF_INET : AF_INET6;
  const attributes =
    chain === null ? [attribute(TABLE_NAME, 'nat')] : [attribute(CHAIN_TABLE, 'nat'), attribute(CHAIN_NAME, chain)];
  const type = chain === null ? DELETE_TABLE : DELETE_CHAIN;
  return Buffer.concat([
    message(BATCH_BEGIN, REQUEST, 1, 0, NFTABLES, []),
    message(type, REQUEST | ACKNOWLEDGE | ONLY_IF_EMPTY, 2, socketFamily, 0, attributes),
    message(BATCH_END, REQUEST, 3, 0, NFTABLES, []),
  ]);
}

function message(
  type: number,
  flags: number,
  sequence: number,
  family: number,
  resource: number,
  attributes: Buffer[],
): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(HEADER_BYTES + attributes.reduce((sum, part) => sum + part.length, 0), 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(flags, 6);
  header.writeUInt32LE(sequence, 8);
  header[16] = family;
  header.writeUInt16BE(resource, 18);
  return Buffer.concat([header, ...attributes]);
}

function attribute(type: number, text: string): Buffer {
  const length = 4 + Buffer.byteLength(text) + 1;
  const bytes = Buffer.alloc((length + 3) & ~3);
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.write(text, 4);
  return bytes;
}

function timeval(seconds: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigInt64LE(BigInt(seconds), 0);
  return bytes;
}

/** Sends one transaction and returns the errno of its acknowledgement, 0 when it was carried out. */
function transact(libc: Libc, fd: number, batch: Buffer): number {
  if (Number(libc.send(fd, batch, batch.length, 0)) !== batch.length) return NO_ANSWER;
  const reply = Buffer.alloc(REPLY_BYTES);
  const bytes = Number(libc.recv(fd, reply, reply.length, 0));
  if (bytes < 20 || reply.readUInt16LE(4) !== NLMSG_ERROR) return NO_ANSWER;
  return -reply.readInt32LE(16);
}

function describe(errno: number): string {
  if (errno === NO_ANSWER) return 'it did not answer';
  return errno === EBUSY ? 'it is in use' : `errno ${errno}`;
}

interface Libc {
  socket(domain: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, option: number, value: Buffer, length: number): number;
  send(fd: number, bytes: Buffer, length: number, flags: number): number;
  recv(fd: number, bytes: Buffer, length: number, flags: number): number;
  close(fd: number): number;
}

function loadLibc(): Libc {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const library = koffi.load(null);
  return {
    socket: library.func('int socket(int, int, int)'),
    setsockopt: library.func('int setsockopt(int, int, int, void *, uint32_t)'),
    send: library.func('intptr_t send(int, void *, size_t, int)'),
    recv: library.func('intptr_t recv(int, _Out_ void *, size_t, int)'),
    close: library.func('int close(int)'),
  } as unknown as Libc;
}
