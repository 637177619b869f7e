/**
 * What the model specs met in one message say together, and what a rewrite must keep of them.
 *
 * The bytes parsed are gone afterwards, so texts are made at once and fields that a rewrite keeps (the signature,
 * anything unknown) are copied aside. Everything kept is bounded by `MAX_KEPT_BYTES`.
 */
import { VersionChoice } from './model-spec-view.ts';
import { readText } from './text.ts';
import { int64BigInt, WireReader } from './wire.ts';
import { WireError } from './wire-error.ts';
import { putBytes } from './wire-writer.ts';

/** Model specs (or tasks that hold one) in a message; more is `too_large`. */
export const MAX_SPECS = 64;
/** All bytes that a rewrite must keep; more is `too_large`. */
export const MAX_KEPT_BYTES = 16384;

const TAG_NAME = 0x0a;
const TAG_VERSION = 0x12;
const TAG_SIGNATURE = 0x1a;
const TAG_LABEL = 0x22;
const TAG_INT64_VALUE = 0x08;
const TAG_TASK_SPEC = 0x0a;
const FIRST_KEPT_BYTES = 256;

const reader = new WireReader();

/** Bytes copied aside, with marks between what belongs to one occurrence and the next. */
export class KeptBytes {
  bytes: Buffer = Buffer.allocUnsafe(FIRST_KEPT_BYTES);
  length = 0;
  /** `marks[i]` is where occurrence `i` begins; it ends where the next one begins, or at `length`. */
  readonly marks: number[] = [];

  append(buf: Buffer, start: number, end: number): void {
    const needed = this.length + end - start;
    if (needed > MAX_KEPT_BYTES) throw new WireError('too_large', 'ModelSpec', `over ${MAX_KEPT_BYTES} bytes`);
    if (needed > this.bytes.length) {
      const larger = Buffer.allocUnsafe(Math.min(MAX_KEPT_BYTES, Math.max(needed, this.bytes.length * 2)));
      this.bytes.copy(larger, 0, 0, this.length);
      this.bytes = larger;
    }
    this.length = putBytes(this.bytes, this.length, buf, start, end);
  }

  /** Where occurrence `index` of `count` ends. */
  endOf(index: number, count: number): number {
    return index + 1 < count ? this.marks[index + 1] : this.length;
  }
}

export class SpecFields {
  /** Whether any model spec was met, empty or not. */
  present = false;
  modelName = '';
  /** One of `VersionChoice`. In the Open Inference Protocol a version that is not empty counts as a label. */
  versionChoice = 0;
  versionLo = 0;
  versionHi = 0;
  versionLabel = '';
  signatureName = '';
  /** Tasks of one request name different models or versions; the fields above are the first task's. */
  mixed = false;
  /** Specs (tasks: tasks) merged so far. */
  count = 0;
  /** Fields of each spec other than name and version; and of each task other than its spec. */
  readonly keptSpec = new KeptBytes();
  readonly keptTask = new KeptBytes();

  reset(): void {
    this.present = false;
    this.modelName = '';
    this.versionChoice = VersionChoice.none;
    this.versionLo = 0;
    this.versionHi = 0;
    this.versionLabel = '';
    this.signatureName = '';
    this.mixed = false;
    this.count = 0;
    this.keptSpec.length = 0;
    this.keptTask.length = 0;
  }

  /** The version asked for, exact; 0 unless `versionChoice` is `version`. */
  version(): bigint {
    return int64BigInt(this.versionLo, this.versionHi);
  }

  /** The version asked for as decimal digits; '' unless `versionChoice` is `version`. */
  versionText(): string {
    if (this.versionChoice !== VersionChoice.version) return '';
    return this.versionHi === 0 ? String(this.versionLo >>> 0) : this.version().toString();
  }

  /** Merges a ModelSpec at `[start, end)`. */
  mergeSpec(buf: Buffer, start: number, end: number): void {
    this.beginOccurrence();
    this.readSpec(buf, start, end);
  }

  /** Takes an Open Inference `model_name`. */
  mergeOipName(buf: Buffer, start: number, end: number): void {
    this.beginOccurrence();
    this.modelName = readText(buf, start, end, 'model_name');
  }

  /** Takes an Open Inference `model_version`. */
  mergeOipVersion(buf: Buffer, start: number, end: number): void {
    this.beginOccurrence();
    this.versionLabel = readText(buf, start, end, 'model_version');
    this.versionChoice = this.versionLabel === '' ? VersionChoice.none : VersionChoice.label;
  }

  /** Takes an InferenceTask or InferenceResult: the first one's spec is what the request asks for. */
  mergeTask(buf: Buffer, start: number, end: number): void {
    this.beginOccurrence();
    if (this.count === 1) {
      this.readTask(buf, start, end);
      return;
    }
    const { modelName, versionChoice, versionLo, versionHi, versionLabel, signatureName } = this;
    this.modelName = '';
    this.versionChoice = VersionChoice.none;
    this.versionLo = 0;
    this.versionHi = 0;
    this.versionLabel = '';
    this.readTask(buf, start, end);
    if (
      this.modelName !== modelName ||
      this.versionChoice !== versionChoice ||
      this.versionLo !== versionLo ||
      this.versionHi !== versionHi ||
      this.versionLabel !== versionLabel
    ) {
      this.mixed = true;
    }
    this.modelName = modelName;
    this.versionChoice = versionChoice;
    this.versionLo = versionLo;
    this.versionHi = versionHi;
    this.versionLabel = versionLabel;
    this.signatureName = signatureName;
  }

  private beginOccurrence(): void {
    if (this.count >= MAX_SPECS) throw new WireError('too_large', 'ModelSpec', `more than ${MAX_SPECS} model specs`);
    this.keptSpec.marks[this.count] = this.keptSpec.length;
    this.keptTask.marks[this.count] = this.keptTask.length;
    this.count++;
    this.present = true;
  }

  private readTask(buf: Buffer, start: number, end: number): void {
    let pos = start;
    while (pos < end) {
      reader.reset(buf, pos, end, 'InferenceTask');
      const tag = reader.readTag();
      if (tag === TAG_TASK_SPEC) {
        const specEnd = reader.readPayloadEnd();
        this.readSpec(buf, reader.pos, specEnd);
        pos = specEnd;
      } else {
        reader.skip(tag);
        this.keptTask.append(buf, pos, reader.pos);
        pos = reader.pos;
      }
    }
    reader.release();
  }

  private readSpec(buf: Buffer, start: number, end: number): void {
    reader.reset(buf, start, end, 'ModelSpec');
    while (reader.pos < end) {
      const fieldStart = reader.pos;
      const tag = reader.readTag();
      if (tag === TAG_VERSION) {
        this.readVersion(end);
      } else if (tag === TAG_NAME || tag === TAG_LABEL || tag === TAG_SIGNATURE) {
        const textEnd = reader.readPayloadEnd();
        this.takeText(buf, tag, reader.pos, textEnd);
        reader.pos = textEnd;
        if (tag === TAG_SIGNATURE) this.keptSpec.append(buf, fieldStart, textEnd);
      } else {
        reader.skip(tag);
        this.keptSpec.append(buf, fieldStart, reader.pos);
      }
    }
    reader.release();
  }

  private takeText(buf: Buffer, tag: number, start: number, end: number): void {
    if (tag === TAG_NAME) {
      this.modelName = readText(buf, start, end, 'ModelSpec.name');
    } else if (tag === TAG_SIGNATURE) {
      this.signatureName = readText(buf, start, end, 'ModelSpec.signature_name');
    } else {
      this.versionLabel = readText(buf, start, end, 'ModelSpec.version_label');
      this.versionChoice = VersionChoice.label;
      this.versionLo = 0;
      this.versionHi = 0;
    }
  }

  /** Int64Values one after another merge, so an empty second one keeps the number; one after a label starts at 0. */
  private readVersion(specEnd: number): void {
    this.versionChoice = VersionChoice.version;
    this.versionLabel = '';
    reader.end = reader.readPayloadEnd();
    while (reader.pos < reader.end) {
      const tag = reader.readTag();
      if (tag !== TAG_INT64_VALUE) {
        reader.skip(tag);
        continue;
      }
      reader.readVarint();
      this.versionLo = reader.lo;
      this.versionHi = reader.hi;
    }
    reader.end = specEnd;
  }
}
