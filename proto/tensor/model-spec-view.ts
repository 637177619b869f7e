/** A ModelSpec parsed in place: which model, which version or label, which signature. */
import { readText } from './text.ts';
import { int64BigInt, type WireReader } from './wire.ts';

/** What a request says about the version. The two sayings are one `oneof`: the last on the wire wins. */
export const VersionChoice = { none: 0, version: 1, label: 2 } as const;

const TAG_NAME = 0x0a;
const TAG_VERSION = 0x12;
const TAG_SIGNATURE = 0x1a;
const TAG_LABEL = 0x22;
const TAG_INT64_VALUE = 0x08;

/** Reusable. Ranges are offsets in the buffer it was parsed from. */
export class ModelSpecView {
  /** Whether the message had a model_spec at all, empty or not. */
  present = false;
  nameStart = 0;
  nameEnd = 0;
  /** One of `VersionChoice`. */
  versionChoice = 0;
  /** Halves of the int64 version. */
  versionLo = 0;
  versionHi = 0;
  labelStart = 0;
  labelEnd = 0;
  signatureStart = 0;
  signatureEnd = 0;

  reset(): void {
    this.present = false;
    this.nameStart = 0;
    this.nameEnd = 0;
    this.versionChoice = VersionChoice.none;
    this.versionLo = 0;
    this.versionHi = 0;
    this.labelStart = 0;
    this.labelEnd = 0;
    this.signatureStart = 0;
    this.signatureEnd = 0;
  }

  /** Model name, '' where there is none. @throws WireError where it is not UTF-8. */
  name(buf: Buffer): string {
    return readText(buf, this.nameStart, this.nameEnd, 'ModelSpec.name');
  }

  /** The version asked for; 0 unless `versionChoice` is `version`. */
  version(): bigint {
    return int64BigInt(this.versionLo, this.versionHi);
  }

  label(buf: Buffer): string {
    return readText(buf, this.labelStart, this.labelEnd, 'ModelSpec.version_label');
  }

  /** Signature asked for, '' where the default is meant. */
  signatureName(buf: Buffer): string {
    return readText(buf, this.signatureStart, this.signatureEnd, 'ModelSpec.signature_name');
  }
}

/** Merges a ModelSpec that fills the reader's range into `view`: later fields replace earlier ones. */
export function parseModelSpec(reader: WireReader, view: ModelSpecView): void {
  view.present = true;
  while (reader.pos < reader.end) {
    const tag = reader.readTag();
    switch (tag) {
      case TAG_NAME:
        view.nameEnd = reader.readPayloadEnd();
        view.nameStart = reader.pos;
        reader.pos = view.nameEnd;
        break;
      case TAG_SIGNATURE:
        view.signatureEnd = reader.readPayloadEnd();
        view.signatureStart = reader.pos;
        reader.pos = view.signatureEnd;
        break;
      case TAG_LABEL:
        view.labelEnd = reader.readPayloadEnd();
        view.labelStart = reader.pos;
        reader.pos = view.labelEnd;
        view.versionChoice = VersionChoice.label;
        break;
      case TAG_VERSION:
        parseVersion(reader, view);
        break;
      default:
        reader.skip(tag);
    }
  }
}

/** An Int64Value. One after another merge, so an empty second one keeps the number; one after a label starts at 0. */
function parseVersion(reader: WireReader, view: ModelSpecView): void {
  if (view.versionChoice !== VersionChoice.version) {
    view.versionChoice = VersionChoice.version;
    view.versionLo = 0;
    view.versionHi = 0;
  }
  const outerEnd = reader.end;
  reader.end = reader.readPayloadEnd();
  while (reader.pos < reader.end) {
    const tag = reader.readTag();
    if (tag === TAG_INT64_VALUE) {
      reader.readVarint();
      view.versionLo = reader.lo;
      view.versionHi = reader.hi;
    } else {
      reader.skip(tag);
    }
  }
  reader.end = outerEnd;
}
