/**
 * Owns the text form of addresses that arrive as bytes in a socket address. The form is the one the C library's
 * `inet_ntop` gives, so that it compares equal, character for character, with `socket.localAddress`.
 */

/** Dotted text of the four bytes at `offset`. */
export function ipv4Text(bytes: Uint8Array, offset: number): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
}

/** Colon text of the sixteen bytes at `offset`: the first longest run of two or more zero groups is shortened. */
export function ipv6Text(bytes: Uint8Array, offset: number): string {
  const run = longestZeroRun(bytes, offset);
  if (run.start === 0 && endsInIpv4(bytes, offset, run.length)) {
    return `${run.length === 5 ? '::ffff:' : '::'}${ipv4Text(bytes, offset + 12)}`;
  }
  let text = '';
  for (let group = 0; group < 8; group++) {
    if (run.length > 1 && group === run.start) {
      text += group === 0 ? '::' : ':';
      group += run.length - 1;
      continue;
    }
    text += groupAt(bytes, offset, group).toString(16);
    if (group < 7) text += ':';
  }
  return text;
}

/** The dotted part of a v4-mapped address (`::ffff:10.0.0.1`), or the address itself. */
export function unmapped(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}

/** The address without its zone (`fe80::1%eth0` gives `fe80::1`). */
export function withoutZone(address: string): string {
  const zone = address.indexOf('%');
  return zone < 0 ? address : address.slice(0, zone);
}

function groupAt(bytes: Uint8Array, offset: number, group: number): number {
  return (bytes[offset + 2 * group]! << 8) | bytes[offset + 2 * group + 1]!;
}

function longestZeroRun(bytes: Uint8Array, offset: number): { start: number; length: number } {
  const best = { start: -1, length: 1 };
  let start = -1;
  for (let group = 0; group <= 8; group++) {
    const zero = group < 8 && groupAt(bytes, offset, group) === 0;
    if (zero && start < 0) start = group;
    if (!zero && start >= 0) {
      if (group - start > best.length) {
        best.start = start;
        best.length = group - start;
      }
      start = -1;
    }
  }
  return best;
}

/** Whether the tail is written as dotted: v4-compatible (but not `::1`) and v4-mapped addresses. */
function endsInIpv4(bytes: Uint8Array, offset: number, zeroGroups: number): boolean {
  if (zeroGroups === 6) return true;
  if (zeroGroups === 7) return groupAt(bytes, offset, 7) !== 1;
  return zeroGroups === 5 && groupAt(bytes, offset, 5) === 0xffff;
}
