/**
 * Reading and rewriting the model spec of a request for the data plane: which model, which version, and the bytes to
 * send instead when a cluster serves another one. One reader serves request after request; its results are good until
 * the next `read`. A request that needs more than one look gets a reader of its own and goes on with `readOn`, so that
 * no byte is scanned twice however many pieces a message comes in.
 *
 * Long messages are decided early: after `EARLY_SETTLE_BYTES` a spec that names a model is taken as it stands, and the
 * request's reader goes on watching (`watch`) for a second spec that would change the meaning.
 */
import type { Http1Exchange } from '../../proto/http1/exchange.ts';
import type { Http2Stream } from '../../proto/http2/stream.ts';
import { EARLY_SETTLE_BYTES, ModelSpecScanner, ScanKind, ScanResult } from '../../proto/tensor/model-spec.ts';
import { VersionChoice } from '../../proto/tensor/model-spec-view.ts';
import { SpecRewrite, type SpecTarget } from '../../proto/tensor/spec-rewrite.ts';
import { inflateFramed } from './inflate-framed.ts';

export const SpecVerdict = {
  FOUND: 0,
  NEED_MORE: 1,
  ABSENT: 2,
  MALFORMED: 3,
  TOO_LARGE: 4,
  UNKNOWN_ENCODING: 5,
} as const;

/** Any length a gRPC prefix can hold: what is kept of a message is bounded elsewhere. */
const ANY_LENGTH = 0xffffffff;

const DIGITS = /^[0-9]{1,19}$/;

export class SpecReader {
  /** Model the request names. */
  name = '';
  /** The caller chose a version or a label itself. */
  pinned = false;
  /** The version it chose as decimal digits; '' for none or a label. */
  version = '';
  /** Version or label as the Open Inference Protocol writes it, '' for none; of a TensorFlow Serving request its label. */
  label = '';
  /** Tasks of one request name different models; no policy of one model can apply. */
  mixed = false;
  /** The verdict was reached before the end of the message: feed the rest to `watch`. */
  early = false;
  /** After `rewrite`: the new beginning, and where the unchanged rest of the message lies. */
  private prefix: Buffer = Buffer.allocUnsafeSlow(1024);
  private prefixLength = 0;
  private tail: Buffer = this.prefix;
  private tailStart = 0;
  private tailEnd = 0;
  private readonly scanner = new ModelSpecScanner();
  private readonly plan = new SpecRewrite();
  private source: Buffer = this.prefix;
  private sourceEnd = 0;
  /** Bytes of the body that the scanner has seen. */
  private scanned = 0;
  /** `source` is the message inflated, and complete. */
  private inflated = false;

  /** Reads what has arrived of a request's first message, `body[0..length)`. */
  read(body: Buffer, length: number, ended: boolean, kind: number, encoding: string): number {
    this.early = false;
    this.inflated = false;
    this.scanned = 0;
    this.scanner.begin(kind, ANY_LENGTH);
    return this.readOn(body, length, ended, kind, encoding);
  }

  /** Reads on after NEED_MORE; `body` begins with the same bytes and has more. */
  readOn(body: Buffer, length: number, ended: boolean, kind: number, encoding: string): number {
    const { scanner } = this;
    this.source = body;
    this.sourceEnd = length;
    let result = scanner.push(body, this.scanned, length);
    this.scanned = length;
    if (result === ScanResult.compressed) {
      const verdict = this.readCompressed(body, length, ended, kind, encoding);
      if (verdict !== SpecVerdict.FOUND) return verdict;
      result = scanner.result;
    }
    if (result === ScanResult.needMore) {
      if (ended) return SpecVerdict.MALFORMED;
      if (length < EARLY_SETTLE_BYTES || scanner.settleEarly() !== ScanResult.found) return SpecVerdict.NEED_MORE;
      this.early = true;
      result = ScanResult.found;
    }
    if (result === ScanResult.found) return this.takeFields();
    if (result === ScanResult.absent) return SpecVerdict.ABSENT;
    return result === ScanResult.tooLarge ? SpecVerdict.TOO_LARGE : SpecVerdict.MALFORMED;
  }

  /** More of the body has been kept since: what `rewrite` takes as the rest of the message. */
  extend(body: Buffer, length: number): void {
    if (this.inflated) return;
    this.source = body;
    this.sourceEnd = length;
  }

  /** Takes more of a message that was decided early; false when what follows contradicts the decision. */
  watch(buffer: Buffer, start: number, end: number): boolean {
    const result = this.scanner.push(buffer, start, end);
    return result === ScanResult.found || result === ScanResult.needMore;
  }

  /** The message was decided early and has not come to its end: a caller that ends here has sent half of it. */
  get isCut(): boolean {
    return this.early && !this.scanner.isComplete;
  }

  /** Plans the message for another model or version; false when it already asks for just that. */
  rewrite(model: string, version: string, target: SpecTarget): boolean {
    const same = model === this.name && (version === '' ? !this.pinned : version === this.version);
    if (same || model === '') return false;
    const { plan } = this;
    plan.plan(this.scanner, target);
    if (plan.headBytes > this.prefix.length) this.prefix = Buffer.allocUnsafeSlow(plan.headBytes * 2);
    this.prefixLength = plan.writeHead(this.source, 0, this.prefix, 0);
    this.tail = this.source;
    this.tailStart = plan.tailStart;
    this.tailEnd = this.sourceEnd;
    return true;
  }

  /** Sends the message as `rewrite` planned it; `ended` when all of it is known and it is the last. */
  send(stream: Http2Stream | Http1Exchange, ended: boolean): void {
    stream.sendParts(this.prefix, this.prefixLength, this.tail, this.tailStart, this.tailEnd, ended);
  }

  /** A compressed message has to be whole before it can be read; it is scanned, and rewritten, as plain bytes. */
  private readCompressed(body: Buffer, length: number, ended: boolean, kind: number, encoding: string): number {
    const { scanner } = this;
    if (length < scanner.messageEnd) return ended ? SpecVerdict.MALFORMED : SpecVerdict.NEED_MORE;
    const plain = inflateFramed(body, scanner.messageEnd, encoding);
    if (typeof plain === 'number') return plain;
    this.source = plain;
    this.sourceEnd = plain.length;
    this.inflated = true;
    scanner.begin(kind, ANY_LENGTH);
    scanner.push(plain, 0, plain.length);
    return SpecVerdict.FOUND;
  }

  private takeFields(): number {
    const { fields } = this.scanner;
    if (fields.modelName === '') return SpecVerdict.ABSENT;
    this.name = fields.modelName;
    this.pinned = fields.versionChoice !== VersionChoice.none;
    this.version = fields.versionChoice === VersionChoice.version ? fields.versionText() : '';
    // The Open Inference Protocol has one string for both; digits are a version.
    if (this.scanner.kind === ScanKind.openInference && DIGITS.test(fields.versionLabel))
      this.version = fields.versionLabel;
    this.label = fields.versionLabel;
    this.mixed = fields.mixed;
    return SpecVerdict.FOUND;
  }
}
