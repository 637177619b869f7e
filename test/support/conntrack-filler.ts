/**
 * Fills the kernel's table of connections in the network namespace that it runs in, through the kernel's own interface for
 * that (ctnetlink), with entries that the kernel may not give up for others. Run as a program, as root; prints JSON.
 *
 *   node conntrack-filler.ts fill      {"made":n} when the kernel says that it is full; keeps it so until it is ended
 *   node conntrack-filler.ts empty     takes exactly those entries out again: {}
 *
 * ```
 * message   = length:u32 type:u16 flags:u16 sequence:u32 port:u32 │ family:u8 version:u8 resource:u16be │ attributes
 * attribute = length:u16 type:u16 value, padded to 4; nested ones are values
 * ```
 */
import { createRequire } from 'node:module';

const AF_INET = 2;
const CT_NEW = 1 << 8;
const CT_DELETE = (1 << 8) | 2;
const [REQUEST, ACKNOWLEDGE, CREATE] = [0x1, 0x4, 0x400];
const NESTED = 0x8000;
const [TUPLE_ORIG, TUPLE_REPLY, STATUS, TIMEOUT, MARK, MARK_MASK] = [1, 2, 3, 7, 8, 21];
const [TUPLE_IP, TUPLE_PROTO] = [1, 2];
/** Answered, assured and in the table: what keeps an entry from being dropped early. */
const ASSURED_STATUS = 0b1110;
const TIMEOUT_SECONDS = 120;
const OUR_MARK = 0x0c0ffee0;
const UDP = 17;
/** Few enough that the answers of a table that has become full fit the socket's buffer. */
const MESSAGES_PER_SEND = 100;
const ENOMEM = 12;
/** No machine that tests run on has a larger table; a run that gets here is not filling one. */
const MAX_ENTRIES = 1 << 21;
/** Addresses reserved for tests of networks (198.18.0.0/15, RFC 2544). */
const CALLER = 0xc612_0000;
const CALLER_PORT = 0xabcd;

const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
const library = koffi.load(null);
const socket = library.func('int socket(int, int, int)') as (...args: number[]) => number;
const send = library.func('intptr_t send(int, void *, size_t, int)') as (...args: unknown[]) => number;
const recv = library.func('intptr_t recv(int, _Out_ void *, size_t, int)') as (...args: unknown[]) => number;
/** AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER. */
const fd = socket(16, 3, 12);

function attribute(type: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc((4 + value.length + 3) & ~3);
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  value.copy(bytes, 4);
  return bytes;
}

const be16 = (value: number) => Buffer.of(value >> 8, value & 255);
const be32 = (value: number) => Buffer.of(value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255);
const nested = (type: number, ...parts: Buffer[]) => attribute(type | NESTED, Buffer.concat(parts));

function message(type: number, flags: number, attributes: readonly Buffer[]): Buffer {
  const body = Buffer.concat(attributes);
  const header = Buffer.alloc(20);
  header.writeUInt32LE(20 + body.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(flags, 6);
  header[16] = AF_INET;
  return Buffer.concat([header, body]);
}

function tuple(type: number, [fromIp, fromPort]: readonly [number, number], [toIp, toPort]: readonly [number, number]) {
  const ip = nested(TUPLE_IP, attribute(1, be32(fromIp)), attribute(2, be32(toIp)));
  const ports = [attribute(1, Buffer.of(UDP)), attribute(2, be16(fromPort)), attribute(3, be16(toPort))];
  return nested(type, ip, nested(TUPLE_PROTO, ...ports));
}

/** An entry of the caller below, to be overwritten where it stands. */
function entry(flags: number): Buffer {
  const server = [0xc613_0001, 9] as const;
  return message(CT_NEW, REQUEST | CREATE | flags, [
    tuple(TUPLE_ORIG, [CALLER, CALLER_PORT], server),
    tuple(TUPLE_REPLY, server, [CALLER, CALLER_PORT]),
    attribute(STATUS, be32(ASSURED_STATUS)),
    attribute(TIMEOUT, be32(TIMEOUT_SECONDS)),
    attribute(MARK, be32(OUR_MARK)),
  ]);
}

function placesOf(bytes: Buffer, sought: Buffer): number[] {
  const places: number[] = [];
  for (let at = bytes.indexOf(sought); at >= 0; at = bytes.indexOf(sought, at + 1)) places.push(at);
  return places;
}

/** Sends messages of which the last asks to be acknowledged; the first errno among the answers, 0 when all went well. */
function transact(bytes: Buffer): number {
  if (Number(send(fd, bytes, bytes.length, 0)) !== bytes.length) throw new Error('the kernel took no message');
  const reply = Buffer.alloc(4096);
  for (let failure = 0; ; ) {
    if (Number(recv(fd, reply, reply.length, 0)) < 36) throw new Error('the kernel did not answer');
    failure ||= -reply.readInt32LE(16);
    // An answer repeats the head of the message that it is for.
    if ((reply.readUInt16LE(26) & ACKNOWLEDGE) !== 0) return failure;
  }
}

/** Makes entries, each with a caller of its own, until the kernel has no room; more when called again. */
class Filler {
  made = 0;
  private readonly size = entry(0).length;
  private readonly ipAt = placesOf(entry(0), be32(CALLER));
  private readonly portAt = placesOf(entry(0), be16(CALLER_PORT));
  private readonly batch = Buffer.concat(
    Array.from({ length: MESSAGES_PER_SEND }, (_, i) => entry(i === MESSAGES_PER_SEND - 1 ? ACKNOWLEDGE : 0)),
  );

  fill(): void {
    for (; this.made < MAX_ENTRIES; this.made += MESSAGES_PER_SEND) {
      for (let i = 0; i < MESSAGES_PER_SEND; i++) {
        const number = this.made + i;
        for (const at of this.ipAt) this.batch.writeUInt32BE(CALLER + (number >> 16), i * this.size + at);
        for (const at of this.portAt) this.batch.writeUInt16BE(number & 0xffff, i * this.size + at);
      }
      const errno = transact(this.batch);
      if (errno === ENOMEM) return;
      if (errno !== 0) throw new Error(`the kernel refused an entry: errno ${errno}`);
    }
    throw new Error('the table does not become full');
  }
}

function empty(): void {
  const mark = [attribute(MARK, be32(OUR_MARK)), attribute(MARK_MASK, be32(0xffff_ffff))];
  const errno = transact(message(CT_DELETE, REQUEST | ACKNOWLEDGE, mark));
  if (errno !== 0) throw new Error(`the kernel kept the entries: errno ${errno}`);
}

if (process.argv[2] === 'fill') {
  const filler = new Filler();
  filler.fill();
  console.log(JSON.stringify({ made: filler.made }));
  // Entries of others come to their end meanwhile.
  setInterval(() => filler.fill(), 10);
} else {
  empty();
  console.log('{}');
}
