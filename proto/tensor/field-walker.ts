/**
 * Walks over the fields of one protobuf message while its bytes arrive, cut anywhere: it collects the few length-delimited
 * fields that its subclass wants and passes over all others by their length.
 *
 * States: prefix ▸ tag ▸ (length ▸ skip or collect | varint | skip) ▸ tag ... ▸ done. Groups only change the depth at which
 * tags are read. Nothing runs past `messageEnd`: a length that would is malformed at once. Fields that lie whole in a chunk
 * are handed on where they lie; only others are gathered, up to `MAX_FIELD_BYTES`.
 */
import { PREFIX_BYTES } from '../grpc/message-framing.ts';
import { WireError } from './wire-error.ts';
import { putBytes } from './wire-writer.ts';

/** A wanted field that is longer is refused as `too_large`. */
export const MAX_FIELD_BYTES = 16384;
const MAX_GROUP_DEPTH = 100;

const State = { prefix: 0, tag: 1, length: 2, varint: 3, skip: 4, collect: 5, done: 6 } as const;

export abstract class FieldWalker {
  /** 5 where the stream is gRPC frames, 0 for a bare message. */
  prefixBytes = 0;
  /** Length of the message without prefix; -1 until the prefix is known. */
  messageBytes = -1;
  /** Bytes of the stream taken so far, the prefix included. */
  streamPos = 0;
  /** Tag of the field being read, and the stream offset of its first byte. */
  protected tag = 0;
  protected fieldStart = 0;
  private state: number = State.prefix;
  private limit = 0;
  private maxMessageBytes = 0;
  private prefixLength = 0;
  private varint = 0;
  private varintCount = 0;
  private remaining = 0;
  private groupDepth = 0;
  private readonly groups = new Uint32Array(MAX_GROUP_DEPTH);
  private scratch: Buffer = Buffer.allocUnsafe(256);
  private scratchLength = 0;

  /** Whether the field whose tag was read is wanted; may throw. Asked outside of groups only. */
  protected abstract wantsField(): boolean;
  /** A wanted field lies at `[start, end)`, good during the call; `fieldStart` and `streamPos` are its ends in the stream. */
  protected abstract onField(buf: Buffer, start: number, end: number): void;
  /** The message is complete. */
  protected abstract onEnd(): void;
  /** The prefix says that the message is compressed; the walk has ended. */
  protected abstract onCompressed(): void;

  /** Starts on a stream of gRPC frames, of which the first message is walked. */
  protected startFramed(maxMessageBytes: number): void {
    this.start();
    this.prefixBytes = PREFIX_BYTES;
    this.maxMessageBytes = maxMessageBytes;
    this.messageBytes = -1;
    this.limit = 0;
    this.prefixLength = 0;
    this.state = State.prefix;
  }

  /** Starts on a message of known length without prefix. */
  protected startBare(messageBytes: number): void {
    this.start();
    this.prefixBytes = 0;
    this.messageBytes = messageBytes;
    this.limit = messageBytes;
    this.state = State.tag;
    if (messageBytes === 0) this.finishMessage();
  }

  private start(): void {
    this.streamPos = 0;
    this.tag = 0;
    this.varint = 0;
    this.varintCount = 0;
    this.groupDepth = 0;
    this.scratchLength = 0;
  }

  /** Stream offset where the message ends; NaN until the prefix is known. */
  get messageEnd(): number {
    return this.messageBytes < 0 ? Number.NaN : this.limit;
  }

  protected get isDone(): boolean {
    return this.state === State.done;
  }

  protected get isCollecting(): boolean {
    return this.state === State.collect;
  }

  /** Ends the walk: nothing more is taken. */
  protected stop(): void {
    this.state = State.done;
  }

  /** Takes `[start, end)` as the next bytes of the stream. @throws WireError (`malformed`, `too_large`) */
  protected walk(buf: Buffer, start: number, end: number): void {
    let pos = start;
    // Positions in `buf` and in the stream differ by a constant for the whole chunk.
    const shift = this.streamPos - start;
    while (!this.isDone && pos < end) {
      if (this.state === State.tag && this.varintCount === 0) {
        if (this.groupDepth === 0) pos = this.takeWholeFields(buf, pos, end, shift);
        if (this.isDone || pos === end) return;
        this.fieldStart = pos + shift;
      }
      if (this.state === State.skip) {
        pos = this.passOver(pos, end, shift);
      } else if (this.state === State.collect) {
        pos = this.collect(buf, pos, end, shift);
      } else {
        this.streamPos = pos + 1 + shift;
        if (this.state === State.prefix) this.takePrefixByte(buf[pos++]);
        else this.takeVarintByte(buf[pos++]);
      }
    }
  }

  /**
   * Takes length-delimited fields that lie whole in the chunk, with tags and lengths of usual size: nearly everything that
   * arrives. Stops in front of the first field that is anything else, which the careful way then takes.
   */
  private takeWholeFields(buf: Buffer, pos: number, end: number, shift: number): number {
    const limit = Math.min(end, this.limit - shift);
    while (limit - pos >= 2) {
      const tag = buf[pos];
      if (tag < 8 || tag >= 0x80 || (tag & 7) !== 2) return pos;
      let at = pos + 1;
      let length = buf[at++];
      if (length >= 0x80) {
        if (limit - at < 2) return pos;
        const second = buf[at++];
        const third = second >= 0x80 ? buf[at++] : 0;
        if (third >= 0x80) return pos;
        length = (length & 0x7f) | ((second & 0x7f) << 7) | (third << 14);
      }
      if (length > limit - at) return pos;
      this.tag = tag;
      this.fieldStart = pos + shift;
      const wanted = this.wantsField();
      if (wanted && length > MAX_FIELD_BYTES) return pos;
      pos = at + length;
      this.streamPos = pos + shift;
      if (wanted) this.onField(buf, at, pos);
      if (this.isDone) return pos;
      if (this.streamPos === this.limit) {
        this.finishMessage();
        return pos;
      }
    }
    return pos;
  }

  private takePrefixByte(byte: number): void {
    if (this.prefixLength++ === 0) {
      if (byte > 1) throw this.malformed(`flag byte ${byte} in the message prefix`);
      this.tag = byte;
      return;
    }
    this.varint = this.varint * 256 + byte;
    if (this.prefixLength < PREFIX_BYTES) return;
    this.messageBytes = this.varint;
    this.limit = PREFIX_BYTES + this.varint;
    this.varint = 0;
    if (this.messageBytes > this.maxMessageBytes) {
      throw this.tooLarge(`message of ${this.messageBytes} bytes, allowed are ${this.maxMessageBytes}`);
    }
    if (this.tag === 1) {
      this.stop();
      this.onCompressed();
    } else {
      this.afterValue();
    }
  }

  /** Tags, lengths and varint values, a byte at a time: there are only a few of these per field. */
  private takeVarintByte(byte: number): void {
    const count = this.varintCount;
    if (count < 4) this.varint |= (byte & 0x7f) << (count * 7);
    else if (this.state !== State.varint) this.takeFifthByte(byte, count);
    if (byte >= 0x80) {
      if (count === 9) throw this.malformed('varint over ten bytes');
      if (this.streamPos >= this.limit) throw this.malformed('message ends inside a varint');
      this.varintCount = count + 1;
      return;
    }
    const value = this.varint >>> 0;
    this.varint = 0;
    this.varintCount = 0;
    if (this.state === State.tag) this.takeTag(value);
    else if (this.state === State.length) this.takeLength(value);
    else this.afterValue();
  }

  private takeFifthByte(byte: number, count: number): void {
    // Bits beyond 32 may only be zeros: neither a field number nor a length has more.
    if ((count === 4 && (byte & 0x70) !== 0) || (count > 4 && (byte & 0x7f) !== 0)) {
      throw this.malformed(this.state === State.tag ? 'field number over 536870911' : 'length over 4 GiB');
    }
    if (count === 4) this.varint |= byte << 28;
  }

  private takeTag(tag: number): void {
    this.tag = tag;
    if (tag < 8) throw this.malformed('field number 0');
    switch (tag & 7) {
      case 0:
        this.expect(State.varint);
        return;
      case 1:
        this.skipBytes(8);
        return;
      case 2:
        this.expect(State.length);
        return;
      case 3:
        if (this.groupDepth >= MAX_GROUP_DEPTH) throw this.malformed('groups nested too deep');
        this.groups[this.groupDepth++] = tag;
        this.afterValue();
        return;
      case 4:
        if (this.groupDepth === 0 || this.groups[this.groupDepth - 1] !== tag - 1) {
          throw this.malformed('group end without a start');
        }
        this.groupDepth--;
        this.afterValue();
        return;
      case 5:
        this.skipBytes(4);
        return;
      default:
        throw this.malformed(`wire type ${tag & 7}`);
    }
  }

  private expect(state: number): void {
    if (this.streamPos >= this.limit) throw this.malformed('message ends behind a tag');
    this.state = state;
  }

  private skipBytes(count: number): void {
    if (count > this.limit - this.streamPos) throw this.malformed(`field of ${count} bytes runs past the end`);
    this.remaining = count;
    this.state = State.skip;
    if (count === 0) this.afterValue();
  }

  private takeLength(length: number): void {
    if (this.groupDepth > 0 || !this.wantsField()) {
      this.skipBytes(length);
      return;
    }
    if (this.isDone) return;
    if (length > this.limit - this.streamPos) throw this.malformed(`field of ${length} bytes runs past the end`);
    if (length > MAX_FIELD_BYTES) throw this.tooLarge(`model spec of ${length} bytes, allowed are ${MAX_FIELD_BYTES}`);
    this.remaining = length;
    this.scratchLength = 0;
    this.state = State.collect;
    if (length === 0) this.takeField(this.scratch, 0, 0);
  }

  private passOver(pos: number, end: number, shift: number): number {
    const step = Math.min(this.remaining, end - pos);
    this.remaining -= step;
    this.streamPos = pos + step + shift;
    if (this.remaining === 0) this.afterValue();
    return pos + step;
  }

  private collect(buf: Buffer, pos: number, end: number, shift: number): number {
    const step = Math.min(this.remaining, end - pos);
    const whole = this.scratchLength === 0 && step === this.remaining;
    if (!whole) this.gather(buf, pos, step);
    this.remaining -= step;
    this.streamPos = pos + step + shift;
    if (this.remaining === 0) {
      if (whole) this.takeField(buf, pos, pos + step);
      else this.takeField(this.scratch, 0, this.scratchLength);
    }
    return pos + step;
  }

  private gather(buf: Buffer, pos: number, count: number): void {
    const needed = this.scratchLength + count;
    if (needed > this.scratch.length) {
      const larger = Buffer.allocUnsafe(Math.min(MAX_FIELD_BYTES, Math.max(needed, this.scratch.length * 2)));
      this.scratch.copy(larger, 0, 0, this.scratchLength);
      this.scratch = larger;
    }
    this.scratchLength = putBytes(this.scratch, this.scratchLength, buf, pos, pos + count);
  }

  private takeField(buf: Buffer, start: number, end: number): void {
    this.state = State.tag;
    this.onField(buf, start, end);
    if (!this.isDone) this.afterValue();
  }

  private afterValue(): void {
    this.state = State.tag;
    if (this.streamPos < this.limit) return;
    if (this.groupDepth > 0) throw this.malformed('group without an end');
    this.finishMessage();
  }

  private finishMessage(): void {
    this.stop();
    this.onEnd();
  }

  private malformed(problem: string): WireError {
    return new WireError('malformed', 'model spec scan', problem, Math.max(0, this.streamPos - this.prefixBytes));
  }

  private tooLarge(problem: string): WireError {
    return new WireError('too_large', 'model spec scan', problem);
  }
}
