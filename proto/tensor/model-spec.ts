/**
 * Finds the model spec of a message while its bytes arrive, cut anywhere, without decoding anything else.
 *
 * Protobuf fixes no order and merges repeated messages, so the answer is certain only at the end of the message: every
 * other field is passed over by its length, and `found` or `absent` comes with the last byte. Most messages come whole in
 * one chunk, so this costs nothing. For a long message the caller may stop waiting (after `EARLY_SETTLE_BYTES`, say) with
 * `settleEarly`: what was found so far decides, and the scan goes on as a watch. Should a spec still follow, the result is
 * `conflict`, because the upstream would merge it into the one forwarded and serve another model than was decided on.
 *
 * The walk over the fields is `field-walker.ts`, what the specs say together `spec-fields.ts`.
 */
import { FieldWalker } from './field-walker.ts';
import { SpecFields } from './spec-fields.ts';
import { WireError } from './wire-error.ts';

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

export class ModelSpecScanner extends FieldWalker {
  /** What the specs say. Complete once the result is `found`. */
  readonly fields = new SpecFields();
  /** One of `ScanResult`. */
  result = 0;
  /** Why the message was refused, '' otherwise. */
  problem = '';
  /** One of `ScanKind`. */
  kind = 0;
  /** Stream offsets of the fields (tags included) that hold a spec: entry `i` of each, `fields.count` in all. */
  readonly specStarts: number[] = [];
  readonly specEnds: number[] = [];
  private settled = false;

  /** Starts on a stream of gRPC frames; only its first message is scanned. Longer ones than the bound are `tooLarge`. */
  begin(kind: number, maxMessageBytes: number): void {
    this.reset(kind);
    this.startFramed(maxMessageBytes);
  }

  /** Starts on a message of known length without prefix. */
  beginBare(kind: number, messageBytes: number): void {
    this.reset(kind);
    this.startBare(messageBytes);
  }

  private reset(kind: number): void {
    this.fields.reset();
    this.result = ScanResult.needMore;
    this.problem = '';
    this.kind = kind;
    this.settled = false;
  }

  /** Takes the next bytes of the stream and says what is known now. After a final result nothing more is taken. */
  push(buf: Buffer, start: number, end: number): number {
    try {
      this.walk(buf, start, end);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.refuse(error.reason === 'too_large' ? ScanResult.tooLarge : ScanResult.malformed, error.message);
    }
    return this.result;
  }

  /** The stream has ended. A message that is not complete is malformed. */
  finish(): number {
    if (!this.isDone) this.refuse(ScanResult.malformed, 'the stream ends inside the message');
    return this.result;
  }

  /**
   * Decides by what was met so far: `found` if that is a spec with a name, `needMore` otherwise. Go on pushing to the end
   * afterwards: the result stays `found`, or becomes `conflict` (or `malformed`).
   */
  settleEarly(): number {
    if (this.result !== ScanResult.needMore || this.fields.modelName === '' || this.isCollecting) return this.result;
    this.settled = true;
    this.result = ScanResult.found;
    return this.result;
  }

  /** The message has come to its end, as far as its prefix said. */
  get isComplete(): boolean {
    return this.isDone;
  }

  protected override wantsField(): boolean {
    const { kind, tag } = this;
    const wanted =
      kind === ScanKind.specAt2 ? tag === 0x12 : tag === 0x0a || (tag === 0x12 && kind === ScanKind.openInference);
    if (wanted && this.settled) this.refuse(ScanResult.conflict, 'a model spec follows after the decision');
    return wanted;
  }

  protected override onField(buf: Buffer, start: number, end: number): void {
    if (this.settled) return;
    const { fields, kind } = this;
    const index = fields.count;
    if (kind === ScanKind.tasks) fields.mergeTask(buf, start, end);
    else if (kind !== ScanKind.openInference) fields.mergeSpec(buf, start, end);
    else if (this.tag === 0x0a) fields.mergeOipName(buf, start, end);
    else fields.mergeOipVersion(buf, start, end);
    this.specStarts[index] = this.fieldStart;
    this.specEnds[index] = this.streamPos;
  }

  protected override onEnd(): void {
    this.result = this.fields.present ? ScanResult.found : ScanResult.absent;
  }

  protected override onCompressed(): void {
    this.result = ScanResult.compressed;
  }

  private refuse(result: number, problem: string): void {
    this.problem = problem;
    this.result = result;
    this.stop();
  }
}
