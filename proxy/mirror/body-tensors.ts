/**
 * One captured body as named tensors, whichever API and encoding it came in: opened, inflated where it says so, and read
 * by the codec its protocol and method ask for. Used again for every body; what it shows is good until the next `open`.
 */
import { JsonError } from '../../proto/tensor/json-error.ts';
import { JsonScanner } from '../../proto/tensor/json-scanner.ts';
import { OipBinder } from '../../proto/tensor/oip-binding.ts';
import { OipError } from '../../proto/tensor/oip-error.ts';
import { OipInferRequest, parseInferRequest, parseInferResponse } from '../../proto/tensor/oip-infer-request.ts';
import { OipJsonReader } from '../../proto/tensor/oip-json-request.ts';
import {
  PredictRequestView,
  PredictResponseView,
  parsePredictRequest,
  parsePredictResponse,
  TensorList,
  type TensorView,
} from '../../proto/tensor/tensor-view.ts';
import { ExampleBodyReader } from './example-body.ts';
import { Fault } from './fault-kinds.ts';
import { JsonBodyReader } from './json-body.ts';
import { faultOf, MessageBytes } from './message-bytes.ts';
import { EXAMPLE_METHODS } from './pair-protocol.ts';
import { PairProtocol } from './pair-record.ts';
import { TensorAssembly } from './tensor-assembly.ts';

const EMPTY = Buffer.alloc(0);
const NONE = new TensorList();

/** How a body is written. */
export interface BodyForm {
  /** One of `PairProtocol`. */
  readonly protocol: number;
  /** `Predict`, `Classify` ...: the gRPC method, or its equal in REST. */
  readonly method: string;
}

export class BodyTensors {
  /** What the tensors' ranges refer to. */
  buffer: Buffer = EMPTY;
  list: TensorList = NONE;
  private readonly bytes = new MessageBytes();
  private readonly request = new PredictRequestView();
  private readonly response = new PredictResponseView();
  private readonly assembly = new TensorAssembly();
  private readonly examples = new ExampleBodyReader();
  private readonly json = new JsonBodyReader();
  private readonly infer = new OipInferRequest();
  private readonly inferJson = new OipJsonReader();
  private readonly binder = new OipBinder();
  private readonly scanner = new JsonScanner();

  /** Reads an answer. Returns `Fault.NONE`, or why it cannot be read; then there are no tensors. */
  openAnswer(body: Uint8Array, form: BodyForm): number {
    return this.open(body, form, true);
  }

  /** As `openAnswer`, of a message without prefix that is not compressed, at `[start, end)`. */
  readAnswer(buffer: Buffer, start: number, end: number, form: BodyForm): number {
    this.release();
    this.bytes.point(buffer, start, end);
    return this.readOpened(form, true);
  }

  /** As `openAnswer`, for a request. */
  openRequest(body: Uint8Array, form: BodyForm): number {
    return this.open(body, form, false);
  }

  /** Lets go of the bytes. */
  release(): void {
    this.bytes.release();
    this.buffer = EMPTY;
    this.list = NONE;
  }

  /** Makes doubles of whole numbers that came as text; does nothing to other tensors. */
  widen(tensor: TensorView): void {
    if (this.list === this.assembly.list) this.assembly.widen(tensor);
  }

  private open(body: Uint8Array, form: BodyForm, answers: boolean): number {
    this.release();
    const { bytes } = this;
    const isGrpc = form.protocol === PairProtocol.TFS_GRPC || form.protocol === PairProtocol.OIP_GRPC;
    const fault = isGrpc ? bytes.open(body) : bytes.openPlain(body);
    return fault === Fault.NONE ? this.readOpened(form, answers) : fault;
  }

  private readOpened(form: BodyForm, answers: boolean): number {
    try {
      this.read(form, answers);
      return Fault.NONE;
    } catch (error) {
      this.list = NONE;
      if (error instanceof OipError || error instanceof JsonError) return Fault.MALFORMED;
      return faultOf(error);
    }
  }

  private read({ protocol, method }: BodyForm, answers: boolean): void {
    const { buffer, start, end } = this.bytes;
    switch (protocol) {
      case PairProtocol.TFS_GRPC:
        if (EXAMPLE_METHODS.has(method)) {
          if (answers) this.examples.readAnswer(this.assembly, method, buffer, start, end);
          else this.examples.readRequest(this.assembly, buffer, start, end);
          this.show(this.assembly.buffer, this.assembly.list);
        } else if (answers) {
          parsePredictResponse(this.response, buffer, start, end);
          this.show(buffer, this.response.outputs);
        } else {
          parsePredictRequest(this.request, buffer, start, end);
          this.show(buffer, this.request.inputs);
        }
        return;
      case PairProtocol.OIP_GRPC:
        if (answers) parseInferResponse(this.infer, buffer, start, end);
        else parseInferRequest(this.infer, buffer, start, end);
        this.bind(buffer);
        return;
      case PairProtocol.OIP_REST:
        this.infer.reset();
        this.inferJson.parse(this.infer, buffer, start, this.jsonEnd(), end, answers ? 'outputs' : 'inputs');
        this.bind(buffer);
        return;
      default:
        this.json.read(this.assembly, buffer, start, end);
        this.show(this.assembly.buffer, this.assembly.list);
    }
  }

  private bind(buffer: Buffer): void {
    const bound = this.binder.bind(this.infer, buffer, this.request);
    this.show(bound, this.request.inputs);
  }

  private show(buffer: Buffer, list: TensorList): void {
    this.buffer = buffer;
    this.list = list;
  }

  /** Where the JSON of a body ends that may have binary tensors behind it: the document says so itself. */
  private jsonEnd(): number {
    const { buffer, start, end } = this.bytes;
    this.scanner.reset(buffer, start, end);
    this.scanner.passValue();
    const { pos } = this.scanner;
    // White space belongs to the document where nothing follows it.
    const atEnd = this.scanner.peek() === -1;
    this.scanner.release();
    return atEnd ? end : pos;
  }
}
