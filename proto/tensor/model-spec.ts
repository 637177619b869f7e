/**
 * Finds the model spec of a message while its bytes arrive, cut anywhere, without decoding anything else.
 *
 * Protobuf fixes no order and merges repeated messages, so the answer is certain only at the end of the message: every
 * other field is passed over by its length, and `found` or `absent` comes with the last byte. Most messages come whole in
 * one chunk, so this costs nothing. For a long message the caller may stop waiting (after `EARLY_SETTLE_BYTES`, say) with
 * `settleEarly`: what was found so far decides, and the scan goes on as a watch. Should a spec still follow, the result is
 * `conflict`, because the upstream would merge it into the one forwarded and serve another model than was decided on.
 *
 * Only specs that lie across chunks are copied; the memory held is bounded by `MAX_SPEC_BYTES` whatever a length claims.
 */
import { PREFIX_BYTES } from '../grpc/message-framing.ts';
import { MAX_SPECS, SpecFields } from './spec-fields.ts';
import { WireError } from './wire-error.ts';
import { putBytes } from './wire-writer.ts';

/** Where a message keeps what is looked for. */
export const ScanKind = {
  /** `model_spec = 1`: all TensorFlow Serving requests but MultiInference; GetModelMetadata's response. */
  specAt1: 0,
  /** `model_spec = 2`: responses of Predict, Classify and Regress. */
  specAt2: 1,
  /** `tasks = 1 { model_spec = 1 }` and `results = 1 { model_spec = 1 }`: MultiInference. */
  tasks: 2,
  /** Name and version as strings in fields 1 and 2: the Open Inference Protocol. */
  openInference: 3,
} as const;

export const ScanResult = {
  needMore: 0,
  /** The message has ended (or was settled early) and had a model spec; its name may still be empty. */
  found: 1,
  /** The message has ended without a model spec. */
  absent: 2,
  /** Not a protobuf message, or it ended early: see `problem`. */
  malformed: 3,
  /** A bound was exceeded: see `problem`. */
  tooLarge: 4,
  /** The message is compressed: inflate it and scan the result with `beginBare`. */
  compressed: 5,
  /** A model spec after an early settlement. */
  conflict: 6,
} as const;

/** After this many bytes a caller that already has a name may well settle. */
export const EARLY_SETTLE_BYTES = 65536;
/** One model spec or task; longer is `tooLarge`. */
export const MAX_SPEC_BYTES = 16384;
const MAX_GROUP_DEPTH = 100;

const State = { prefix: 0, tag: 1, length: 2, varint: 3, skip: 4, collect: 5, done: 6 } as const;

export class ModelSpecScanner {
  /** What the specs say. Complete once the result is `found`. */
  readonly fields = new SpecFields();
  /** One of `ScanResult`. */
  result = 0;
  /** Why the message was refused, '' otherwise. */
  problem = '';
  kind = 0;
  /** 5 where the stream is gRPC frames, 0 for a bare message. */
  prefixBytes = 0;
  /** Length of the message without prefix; -1 until the prefix is known. */
  messageBytes = -1;
  /** Bytes of the stream taken so far, the prefix included. */
  streamPos = 0;
  /** Stream offsets of the fields (tags included) that hold a spec: entry `i` of each, `fields.count` in all. */
  readonly specStarts: number[] = [];
  readonly specEnds: number[] = [];
  private maxMessageBytes = 0;
  private settled = false;
  private state = 0;
  private prefixLength = 0;
  private fieldStart = 0;
  private tag = 0;
  private varint = 0;
  private varintCount = 0;
  private remaining = 0;
  private groupDepth = 0;
  private readonly groups = new Uint32Array(MAX_GROUP_DEPTH);
  private scratch: Buffer = Buffer.allocUnsafe(256);
  private scratchLength = 0;

  /** Starts on a stream of gRPC frames; only its first message is scanned. Longer ones than the bound are `tooLarge`. */
  begin(kind: number, maxMessageBytes: number): void {
    this.start(kind);
    this.prefixBytes = PREFIX_BYTES;
    this.maxMessageBytes = maxMessageBytes;
    this.messageBytes = -1;
    this.prefixLength = 0;
    this.state = State.prefix;
  }

  /** Starts on a message of known length without prefix. */
  beginBare(kind: number, messageBytes: number): void {
    this.start(kind);
    this.prefixBytes = 0;
    this.messageBytes = messageBytes;
    this.state = State.tag;
    if (messageBytes === 0) this.end();
  }

  private start(kind: number): void {
    this.fields.reset();
    this.result = ScanResult.needMore;
    this.problem = '';
    this.kind = kind;
    this.streamPos = 0;
    this.settled = false;
    this.tag = 0;
    this.varint = 0;
    this.varintCount = 0;
    this.groupDepth = 0;
    this.scratchLength = 0;
  }

  /** Takes the next bytes of the stream and says what is known now. After a final result nothing more is taken. */
  push(buf: Buffer, start: number, end: number): number {
    if (this.state === State.done) return this.result;
    try {
      this.scan(buf, start, end);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.refuse(error.reason === 'too_large' ? ScanResult.tooLarge : ScanResult.malformed, error.message);
    }
    return this.result;
  }

  /** The stream has ended. A message that is not complete is malformed. */
  finish(): number {
    if (this.state !== State.done) this.refuse(ScanResult.malformed, 'the stream ends inside the message');
    return this.result;
  }

  /**
   * Decides by what was met so far: `found` if that is a spec with a name, `needMore` otherwise. Go on pushing to the end
   * afterwards: the result stays `found`, or becomes `conflict`.
   */
  settleEarly(): number {
    if (this.result !== ScanResult.needMore || this.fields.modelName === '') return this.result;
    if (this.state === State.collect) return this.result;
    this.settled = true;
    this.result = ScanResult.found;
    return this.result;
  }

  /** Stream offset where the scanned message ends; NaN until the prefix is known. */
  get messageEnd(): number {
    return this.messageBytes < 0 ? Number.NaN : this.prefixBytes + this.messageBytes;
  }

  private scan(buf: Buffer, pos: number, end: number): void {
    // Positions in `buf` and in the stream differ by a constant for the whole chunk.
    const shift = this.streamPos - pos;
    while (this.state !== State.done && pos < end) {
      switch (this.state) {
        case State.tag:
        case State.length:
        case State.varint:
          if (this.state === State.tag && this.varintCount === 0) this.fieldStart = pos + shift;
          this.streamPos = pos + 1 + shift;
          this.takeVarintByte(buf[pos++]);
          break;
        case State.skip:
          pos = this.passOver(pos, end, shift);
          break;
        case State.collect:
          pos = this.collect(buf, pos, end, shift);
          break;
        default:
          this.streamPos = pos + 1 + shift;
          this.takePrefixByte(buf[pos++]);
      }
    }
  }

  private takePrefixByte(byte: number): void {
    if (this.prefixLength++ === 0) {
      if (byte > 1) this.refuse(ScanResult.malformed, `flag byte ${byte} in the message prefix`);
      else this.tag = byte;
      return;
    }
    this.varint = this.varint * 256 + byte;
    if (this.prefixLength < PREFIX_BYTES) return;
    this.messageBytes = this.varint;
    this.varint = 0;
    if (this.messageBytes > this.maxMessageBytes) {
      this.refuse(ScanResult.tooLarge, `message of ${this.messageBytes} bytes, allowed are ${this.maxMessageBytes}`);
    } else if (this.tag === 1) {
      this.conclude(ScanResult.compressed);
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
      if (this.streamPos >= this.messageEnd) throw this.malformed('message ends inside a varint');
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
    if (this.streamPos >= this.messageEnd) throw this.malformed('message ends behind a tag');
    this.state = state;
  }

  private skipBytes(count: number): void {
    if (count > this.messageEnd - this.streamPos) throw this.malformed(`field of ${count} bytes runs past the end`);
    this.remaining = count;
    this.state = State.skip;
    if (count === 0) this.afterValue();
  }

  private takeLength(length: number): void {
    if (!this.isSpecTag()) {
      this.skipBytes(length);
      return;
    }
    if (this.settled) {
      this.refuse(ScanResult.conflict, 'a model spec follows after the decision');
      return;
    }
    if (length > this.messageEnd - this.streamPos)
      throw this.malformed(`model spec of ${length} bytes runs past the end`);
    if (length > MAX_SPEC_BYTES) {
      throw new WireError('too_large', 'model spec', `${length} bytes, allowed are ${MAX_SPEC_BYTES}`);
    }
    if (this.fields.count >= MAX_SPECS) throw new WireError('too_large', 'model spec', `more than ${MAX_SPECS}`);
    this.remaining = length;
    this.scratchLength = 0;
    this.state = State.collect;
    if (length === 0) this.takeSpec(this.scratch, 0, 0);
  }

  private isSpecTag(): boolean {
    if (this.groupDepth > 0) return false;
    switch (this.kind) {
      case ScanKind.specAt2:
        return this.tag === 0x12;
      case ScanKind.openInference:
        return this.tag === 0x0a || this.tag === 0x12;
      default:
        return this.tag === 0x0a;
    }
  }

  private passOver(pos: number, end: number, shift: number): number {
    const step = Math.min(this.remaining, end - pos);
    this.remaining -= step;
    this.streamPos = pos + step + shift;
    if (this.remaining === 0) this.afterValue();
    return pos + step;
  }

  /** A spec that lies whole in the chunk is read where it lies, another is gathered first. */
  private collect(buf: Buffer, pos: number, end: number, shift: number): number {
    const step = Math.min(this.remaining, end - pos);
    const whole = this.scratchLength === 0 && step === this.remaining;
    if (!whole) this.gather(buf, pos, step);
    this.remaining -= step;
    this.streamPos = pos + step + shift;
    if (this.remaining === 0) {
      if (whole) this.takeSpec(buf, pos, pos + step);
      else this.takeSpec(this.scratch, 0, this.scratchLength);
    }
    return pos + step;
  }

  private gather(buf: Buffer, pos: number, count: number): void {
    const needed = this.scratchLength + count;
    if (needed > this.scratch.length) {
      const larger = Buffer.allocUnsafe(Math.min(MAX_SPEC_BYTES, Math.max(needed, this.scratch.length * 2)));
      this.scratch.copy(larger, 0, 0, this.scratchLength);
      this.scratch = larger;
    }
    this.scratchLength = putBytes(this.scratch, this.scratchLength, buf, pos, pos + count);
  }

  private takeSpec(buf: Buffer, start: number, end: number): void {
    const index = this.fields.count;
    this.specStarts[index] = this.fieldStart;
    this.specEnds[index] = this.streamPos;
    if (this.kind === ScanKind.tasks) this.fields.mergeTask(buf, start, end);
    else if (this.kind !== ScanKind.openInference) this.fields.mergeSpec(buf, start, end);
    else if (this.tag === 0x0a) this.fields.mergeOipName(buf, start, end);
    else this.fields.mergeOipVersion(buf, start, end);
    this.afterValue();
  }

  private afterValue(): void {
    this.state = State.tag;
    if (this.streamPos < this.messageEnd) return;
    if (this.groupDepth > 0) throw this.malformed('group without an end');
    this.end();
  }

  private end(): void {
    this.conclude(this.fields.present ? ScanResult.found : ScanResult.absent);
  }

  private conclude(result: number): void {
    this.state = State.done;
    this.result = result;
  }

  private refuse(result: number, problem: string): void {
    this.problem = problem;
    this.conclude(result);
  }

  private malformed(problem: string): WireError {
    return new WireError('malformed', 'model spec scan', problem, this.streamPos - this.prefixBytes);
  }
}
