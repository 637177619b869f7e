/**
 * Changes the model and version that a scanned message names, and nothing else: signature, unknown fields and all other
 * bytes stay. The result is a list of segments, so that a caller can send new bytes and original ranges in turn without
 * copying; the gRPC length prefix is among the new bytes.
 *
 *     original   [prefix][other fields][spec][other fields][spec again][tail]
 *     rewritten  [PREFIX][other fields][SPEC][other fields]            [tail]
 */
import { assert } from '../../base/assert.ts';
import { PREFIX_BYTES, writeMessagePrefix } from '../grpc/message-framing.ts';
import { ModelSpecScanner, ScanKind, ScanResult } from './model-spec.ts';
import { VersionChoice } from './model-spec-view.ts';
import { modelSpecField, tensorKey } from './tensor-writer.ts';
import { putBytes, putVarint, varintBytes } from './wire-writer.ts';

const EMPTY = Buffer.alloc(0);
const TAG_1 = 0x0a;

/** What to write instead. Made once per cluster: the bytes are ready. */
export class SpecTarget {
  /** null: keep the request's. */
  readonly model: string | null;
  /** Decimal int64, '' for none (the upstream chooses), null: keep the request's version or label. */
  readonly version: string | null;
  /** Fields as they stand in a ModelSpec; empty where the request's are kept or none is wanted. */
  readonly nameField: Buffer;
  readonly versionField: Buffer;
  /** The version as the Open Inference Protocol carries it: a string in field 2. */
  readonly oipVersionField: Buffer;

  constructor(model: string | null, version: string | null) {
    this.model = model;
    this.version = version;
    this.nameField = model === null || model === '' ? EMPTY : tensorKey(model);
    this.versionField = version === null || version === '' ? EMPTY : specVersionField(BigInt(version));
    this.oipVersionField = version === null || version === '' ? EMPTY : retag(tensorKey(version), 0x12);
  }
}

export class SpecRewrite {
  /** New bytes that inserted segments point into. */
  bytes: Buffer = Buffer.allocUnsafe(512);
  segmentCount = 0;
  /** Segment `i` is `bytes[from, to)` where inserted, else the stream's bytes `[from, to)`. */
  readonly inserted: boolean[] = [];
  readonly from: number[] = [];
  readonly to: number[] = [];
  /** Stream offset behind the last change: from here on the original goes on unchanged. */
  tailStart = 0;
  /** Length of the message (without prefix) after the rewrite, and how much longer the stream has become. */
  messageBytes = 0;
  byteDelta = 0;
  private length = 0;

  /** Plans the rewrite of the message that `scanner` has scanned; its result must be `found` or `absent`. */
  plan(scanner: ModelSpecScanner, target: SpecTarget): void {
    assert(scanner.result === ScanResult.found || scanner.result === ScanResult.absent, 'the scan is not complete');
    this.segmentCount = 0;
    this.length = scanner.prefixBytes;
    this.reserve(scanner, target);
    if (scanner.prefixBytes > 0) this.addInserted(0, PREFIX_BYTES);
    const count = scanner.fields.count;
    let removed = 0;
    let cursor = scanner.prefixBytes;
    if (count === 0) this.insertSpec(scanner, target, 0);
    for (let i = 0; i < count; i++) {
      const start = scanner.specStarts[i];
      if (start > cursor) this.add(false, cursor, start);
      cursor = scanner.specEnds[i];
      removed += cursor - start;
      if (i === 0 || scanner.kind === ScanKind.tasks) this.insertSpec(scanner, target, i);
    }
    this.tailStart = cursor;
    if (scanner.messageEnd > cursor) this.add(false, cursor, scanner.messageEnd);
    this.byteDelta = this.length - scanner.prefixBytes - removed;
    this.messageBytes = scanner.messageBytes + this.byteDelta;
    if (scanner.prefixBytes > 0) writeMessagePrefix(this.bytes, 0, this.messageBytes, false);
  }

  /** Bytes of the rewritten stream up to `tailStart`. */
  get headBytes(): number {
    return this.tailStart + this.byteDelta;
  }

  /**
   * Writes the rewritten stream up to `tailStart` (`headBytes` bytes) to `out` and returns the offset behind it.
   * `source` must hold the stream's bytes `[0, tailStart)` from `sourceStart` on.
   */
  writeHead(source: Buffer, sourceStart: number, out: Buffer, offset: number): number {
    for (let i = 0; i < this.segmentCount; i++) {
      if (this.inserted[i]) offset = putBytes(out, offset, this.bytes, this.from[i], this.to[i]);
      else if (this.from[i] < this.tailStart) {
        offset = putBytes(out, offset, source, sourceStart + this.from[i], sourceStart + this.to[i]);
      }
    }
    return offset;
  }

  private add(inserted: boolean, from: number, to: number): void {
    const index = this.segmentCount++;
    this.inserted[index] = inserted;
    this.from[index] = from;
    this.to[index] = to;
  }

  /** Neighbouring new bytes (prefix and spec, in the common order) make one segment. */
  private addInserted(from: number, to: number): void {
    const last = this.segmentCount - 1;
    if (last >= 0 && this.inserted[last] && this.to[last] === from) this.to[last] = to;
    else if (to > from) this.add(true, from, to);
  }

  /** Makes room for everything at once: kept bytes, and per spec the target's fields and a few tags and lengths. */
  private reserve(scanner: ModelSpecScanner, target: SpecTarget): void {
    const { fields } = scanner;
    const own = Math.max(keptNameBytes(scanner), target.nameField.length) + keptVersionBytes(scanner);
    const perSpec = own + Math.max(target.versionField.length, target.oipVersionField.length) + 24;
    const needed = PREFIX_BYTES + Math.max(1, fields.count) * perSpec + fields.keptSpec.length + fields.keptTask.length;
    if (needed > this.bytes.length) this.bytes = Buffer.allocUnsafe(Math.max(needed, this.bytes.length * 2));
  }

  private insertSpec(scanner: ModelSpecScanner, target: SpecTarget, index: number): void {
    const start = this.length;
    const name = nameFieldFor(scanner, target);
    const version = versionFieldFor(scanner, target);
    if (scanner.kind === ScanKind.openInference) {
      this.put(name, 0, name.length);
      this.put(version, 0, version.length);
    } else if (scanner.kind === ScanKind.tasks) {
      this.putTask(scanner, name, version, index);
    } else {
      // All specs of a message merge into one.
      const kept = scanner.fields.keptSpec;
      this.putHeader(scanner.kind === ScanKind.specAt2 ? 0x12 : TAG_1, name.length + version.length + kept.length);
      this.putSpec(name, version, kept.bytes, 0, kept.length);
    }
    this.addInserted(start, this.length);
  }

  private putTask(scanner: ModelSpecScanner, name: Buffer, version: Buffer, index: number): void {
    const { keptSpec, keptTask, count } = scanner.fields;
    const specFrom = count === 0 ? 0 : keptSpec.marks[index];
    const specTo = count === 0 ? 0 : keptSpec.endOf(index, count);
    const taskFrom = count === 0 ? 0 : keptTask.marks[index];
    const taskTo = count === 0 ? 0 : keptTask.endOf(index, count);
    const specBytes = name.length + version.length + specTo - specFrom;
    this.putHeader(TAG_1, 1 + varintBytes(specBytes) + specBytes + taskTo - taskFrom);
    this.putHeader(TAG_1, specBytes);
    this.putSpec(name, version, keptSpec.bytes, specFrom, specTo);
    this.put(keptTask.bytes, taskFrom, taskTo);
  }

  private putSpec(name: Buffer, version: Buffer, kept: Buffer, keptFrom: number, keptTo: number): void {
    this.put(name, 0, name.length);
    this.put(version, 0, version.length);
    this.put(kept, keptFrom, keptTo);
  }

  private putHeader(tag: number, length: number): void {
    this.bytes[this.length++] = tag;
    this.length = putVarint(this.bytes, this.length, length);
  }

  private put(source: Buffer, start: number, end: number): void {
    this.length = putBytes(this.bytes, this.length, source, start, end);
  }
}

function nameFieldFor(scanner: ModelSpecScanner, target: SpecTarget): Buffer {
  if (target.model !== null) return target.nameField;
  return scanner.fields.modelName === '' ? EMPTY : tensorKey(scanner.fields.modelName);
}

function versionFieldFor(scanner: ModelSpecScanner, target: SpecTarget): Buffer {
  const { fields } = scanner;
  if (scanner.kind === ScanKind.openInference) {
    if (target.version !== null) return target.oipVersionField;
    return fields.versionLabel === '' ? EMPTY : retag(tensorKey(fields.versionLabel), 0x12);
  }
  if (target.version !== null) return target.versionField;
  if (fields.versionChoice === VersionChoice.none) return EMPTY;
  return fields.versionChoice === VersionChoice.version
    ? specVersionField(fields.version())
    : retag(tensorKey(fields.versionLabel), 0x22);
}

function keptNameBytes(scanner: ModelSpecScanner): number {
  return scanner.fields.modelName.length * 3 + 8;
}

function keptVersionBytes(scanner: ModelSpecScanner): number {
  return scanner.fields.versionLabel.length * 3 + 16;
}

/** A version field as it stands in a ModelSpec: taken out of a spec that has nothing else. */
function specVersionField(version: bigint): Buffer {
  return modelSpecField(1, '', version, '').subarray(2);
}

function retag(field: Buffer, tag: number): Buffer {
  field[0] = tag;
  return field;
}

/**
 * Rewrites the model spec of one complete message that lies in memory, for rare paths such as the answer of a fallback.
 * `framed`: `[start, end)` begins with a gRPC prefix. Returns the whole new message (framed if the old one was), or null
 * where it is malformed, compressed, too large or (with `mustExist`) has no model spec.
 */
export function rewriteSpecIn(
  kind: number,
  buf: Buffer,
  start: number,
  end: number,
  framed: boolean,
  target: SpecTarget,
  mustExist = true,
): Buffer | null {
  const scanner = new ModelSpecScanner();
  if (framed) scanner.begin(kind, 0xffffffff);
  else scanner.beginBare(kind, end - start);
  if (scanner.result === ScanResult.needMore) scanner.push(buf, start, end);
  const found = scanner.result === ScanResult.found || (scanner.result === ScanResult.absent && !mustExist);
  if (!found || scanner.messageEnd !== end - start) return null;
  const rewrite = new SpecRewrite();
  rewrite.plan(scanner, target);
  const out = Buffer.allocUnsafe(end - start + rewrite.byteDelta);
  const headEnd = rewrite.writeHead(buf, start, out, 0);
  buf.copy(out, headEnd, start + rewrite.tailStart, end);
  return out;
}
