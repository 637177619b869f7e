// Owns Huffman strings (RFC 7541 section 5.2). Decoding is a state machine fed one octet at a time: a state is an inner
// node of the code's tree, and a step knows the symbols completed on the way (two at most, as codes have five bits or
// more). The table has 256 states x 256 octets in 256 KiB, shared by all connections; ordinary text visits little of it.

import { HpackError } from './hpack-error.ts';
import { CODE_LENGTHS, CODES, EOS } from './huffman-code.ts';
import { readLatin1 } from './latin1.ts';

const STATES = 256; // a full binary tree with 257 leaves
const SCRATCH_BYTES = 8192;

// Layout of a step: next state (8 bits), first symbol (8), second symbol (8), how many symbols (2), EOS reached (1).
const FIRST_SHIFT = 8;
const SECOND_SHIFT = 16;
const COUNT_SHIFT = 24;
const EOS_BIT = 1 << 26;

const ACCEPTING = new Uint8Array(STATES);
const STEPS: Int32Array = buildSteps();

const scratch: Buffer = Buffer.allocUnsafeSlow(SCRATCH_BYTES);

/**
 * Decodes the Huffman string in bytes[start, end) to a latin1 string of at most 8/5 of its length.
 * Throws HpackError if it contains EOS or its padding is not fewer than eight one bits.
 */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string {
  const bound = (end - start) * 2;
  const out = bound <= scratch.length ? scratch : Buffer.allocUnsafeSlow(bound);
  let length = 0;
  let state = 0;
  for (let i = start; i < end; i++) {
    const step = STEPS[(state << 8) | bytes[i]!]!;
    if (step >= 1 << COUNT_SHIFT) {
      if (step >= EOS_BIT) throw new HpackError('hpack_huffman_eos');
      out[length++] = step >> FIRST_SHIFT;
      if (step >= 2 << COUNT_SHIFT) out[length++] = step >> SECOND_SHIFT;
    }
    state = step & 0xff;
  }
  if (ACCEPTING[state] === 0) throw new HpackError('hpack_huffman_padding');
  return readLatin1(out, 0, length);
}

/** Octets that encodeHuffman would write for `text`, or -1 if it holds anything beyond latin1. */
export function huffmanBytes(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i);
    if (symbol > 0xff) return -1;
    bits += CODE_LENGTHS[symbol]!;
  }
  return (bits + 7) >>> 3;
}

/** Writes the Huffman form of `text` (latin1) at `offset` and returns the offset after it. */
export function encodeHuffman(text: string, out: Buffer, offset: number): number {
  // Bits not yet written are the low `count` (fewer than 16 between symbols) of `pending`; what stands above them has
  // been written already and falls away in the stores below.
  let pending = 0;
  let count = 0;
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i);
    let length = CODE_LENGTHS[symbol]!;
    let code = CODES[symbol]!;
    if (length > 16) {
      // In two steps, so that no more than 31 bits are ever pending.
      length -= 16;
      pending = (pending << length) | (code >>> 16);
      count += length;
      if (count >= 16) {
        count -= 16;
        out[offset] = pending >>> (count + 8);
        out[offset + 1] = pending >>> count;
        offset += 2;
      }
      code &= 0xffff;
      length = 16;
    }
    pending = (pending << length) | code;
    count += length;
    if (count >= 16) {
      count -= 16;
      out[offset] = pending >>> (count + 8);
      out[offset + 1] = pending >>> count;
      offset += 2;
    }
  }
  if (count >= 8) {
    count -= 8;
    out[offset++] = pending >>> count;
  }
  if (count > 0) out[offset++] = (pending << (8 - count)) | (0xff >>> count);
  return offset;
}

/** Children of the tree's inner nodes: node * 2 + bit -> inner node, or ~symbol for a leaf. */
function buildTree(): Int16Array {
  const children = new Int16Array(STATES * 2);
  let nodes = 1;
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = 0;
    for (let bit = CODE_LENGTHS[symbol]! - 1; bit > 0; bit--) {
      const edge = node * 2 + ((CODES[symbol]! >>> bit) & 1);
      if (children[edge] === 0) children[edge] = nodes++;
      node = children[edge]!;
    }
    children[node * 2 + (CODES[symbol]! & 1)] = ~symbol;
  }
  return children;
}

function buildSteps(): Int32Array {
  const children = buildTree();
  const steps = new Int32Array(STATES * 256);
  for (let state = 0; state < STATES; state++) {
    for (let octet = 0; octet < 256; octet++) steps[(state << 8) | octet] = takeStep(children, state, octet);
  }
  // A string may end where only one bits, and fewer than eight, have been read since the last symbol.
  for (let node = 0, depth = 0; depth < 8; depth++, node = children[node * 2 + 1]!) ACCEPTING[node] = 1;
  return steps;
}

function takeStep(children: Int16Array, state: number, octet: number): number {
  let step = 0;
  let count = 0;
  for (let bit = 7; bit >= 0; bit--) {
    const child = children[state * 2 + ((octet >>> bit) & 1)]!;
    if (child >= 0) {
      state = child;
      continue;
    }
    if (~child === EOS) return EOS_BIT;
    step |= ~child << (count === 0 ? FIRST_SHIFT : SECOND_SHIFT);
    count++;
    state = 0;
  }
  return step | (count << COUNT_SHIFT) | state;
}
