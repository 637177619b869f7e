import t from 'tap';
import { PREFIX_BYTES, writeMessagePrefix } from '../../../../proto/grpc/message-framing.ts';
import { MODEL_CALLS } from '../../../../proto/tensor/model-calls.ts';
import { ModelSpecScanner, ScanKind, ScanResult } from '../../../../proto/tensor/model-spec.ts';
import { VersionChoice } from '../../../../proto/tensor/model-spec-view.ts';
import { encodeMessage } from '../../../support/proto-codecs.ts';

const REQUEST = 'tensorflow.serving.PredictRequest';
const NO_BOUND = 0xffffffff;

function framed(body: Buffer, compressed = false): Buffer {
  const bytes = Buffer.alloc(PREFIX_BYTES + body.length);
  body.copy(bytes, writeMessagePrefix(bytes, 0, body.length, compressed));
  return bytes;
}

function request(...parts: object[]): Buffer {
  return framed(Buffer.concat(parts.map((part) => encodeMessage(REQUEST, part))));
}

function scan(bytes: Buffer, kind: number = ScanKind.specAt1): ModelSpecScanner {
  const scanner = new ModelSpecScanner();
  scanner.begin(kind, NO_BOUND);
  scanner.push(bytes, 0, bytes.length);
  return scanner;
}

function summary(scanner: ModelSpecScanner): unknown[] {
  const { fields } = scanner;
  return [
    scanner.result,
    fields.present,
    fields.modelName,
    fields.versionChoice,
    fields.versionText(),
    fields.versionLabel,
    fields.signatureName,
    fields.count,
    scanner.specStarts.slice(0, fields.count),
    scanner.specEnds.slice(0, fields.count),
  ];
}

const TENSOR = { dtype: 1, tensor_shape: { dim: [{ size: 40 }] }, float_val: Array.from({ length: 40 }, (_, i) => i) };
const UNKNOWN = Buffer.from([0x7d, 1, 2, 3, 4, 0x78, 0x96, 1, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7b, 0x0a, 1, 0x6d, 0x7c]);

const SHAPES: Record<string, Buffer> = {
  'the spec first': request({ model_spec: { name: 'credit-risk', version: { value: 7 } } }, { inputs: { x: TENSOR } }),
  'the spec last': request({ inputs: { x: TENSOR } }, { output_filter: ['y'] }, { model_spec: { name: 'modèle' } }),
  'the spec twice': request(
    { model_spec: { name: 'first', version: { value: 7 }, signature_name: 'sig' } },
    { inputs: { x: TENSOR } },
    { model_spec: { name: 'second', version_label: 'canary' } },
  ),
  'unknown fields of every wire type': framed(
    Buffer.concat([UNKNOWN, encodeMessage(REQUEST, { model_spec: { name: 'm' } }), UNKNOWN]),
  ),
  'an empty spec': request({ model_spec: {} }),
  'no spec': request({ inputs: { x: TENSOR } }),
  'an empty message': request(),
};

t.test('a spec is found wherever it is', async (t) => {
  const first = scan(SHAPES['the spec first']);
  t.equal(first.result, ScanResult.found);
  t.equal(first.fields.modelName, 'credit-risk');
  t.equal(first.fields.versionChoice, VersionChoice.version);
  t.equal(first.fields.versionText(), '7');
  t.strictSame([first.specStarts[0], first.specEnds[0]], [5, 5 + 2 + 13 + 4]);
  const last = scan(SHAPES['the spec last']);
  t.equal(last.fields.modelName, 'modèle');
  t.equal(last.specEnds[0], last.messageEnd);
  const twice = scan(SHAPES['the spec twice']);
  t.equal(twice.fields.modelName, 'second');
  t.equal(twice.fields.versionChoice, VersionChoice.label);
  t.equal(twice.fields.versionLabel, 'canary');
  t.equal(twice.fields.versionText(), '');
  t.equal(twice.fields.signatureName, 'sig');
  t.equal(twice.fields.count, 2);
  const empty = scan(SHAPES['an empty spec']);
  t.equal(empty.result, ScanResult.found);
  t.equal(empty.fields.modelName, '');
  t.equal(scan(SHAPES['no spec']).result, ScanResult.absent);
  t.equal(scan(SHAPES['an empty message']).result, ScanResult.absent);
});

t.test('the answer is the same wherever the bytes are split', async (t) => {
  for (const [name, bytes] of Object.entries(SHAPES)) {
    const expected = summary(scan(bytes));
    const scanner = new ModelSpecScanner();
    for (let split = 0; split <= bytes.length; split++) {
      scanner.begin(ScanKind.specAt1, NO_BOUND);
      const before = scanner.push(bytes, 0, split);
      if (split < bytes.length && before !== ScanResult.needMore) t.fail(`${name}: decided at ${split}`);
      scanner.push(bytes, split, bytes.length);
      if (JSON.stringify(summary(scanner)) !== JSON.stringify(expected))
        t.strictSame(summary(scanner), expected, `${name} at ${split}`);
    }
    scanner.begin(ScanKind.specAt1, NO_BOUND);
    // A fresh buffer per byte, spoiled afterwards, as a connection's read buffer would be.
    for (const byte of bytes) {
      const chunk = Buffer.from([byte]);
      scanner.push(chunk, 0, 1);
      chunk[0] = 0xff;
    }
    t.strictSame(summary(scanner), expected, name);
  }
});

t.test('every prefix of a message that ends early is malformed', async (t) => {
  for (const [name, bytes] of Object.entries(SHAPES)) {
    for (let length = 0; length < bytes.length; length++) {
      const scanner = scan(bytes.subarray(0, length));
      if (scanner.finish() !== ScanResult.malformed) t.fail(`${name} cut at ${length}`);
    }
  }
  t.match(scan(Buffer.alloc(3)).finish(), ScanResult.malformed);
});

t.test('a body cut short under a prefix that agrees is malformed or a shorter message, never a crash', async (t) => {
  for (const bytes of Object.values(SHAPES)) {
    for (let length = 0; length < bytes.length - PREFIX_BYTES; length++) {
      const { result } = scan(framed(bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + length)));
      if (result === ScanResult.needMore) t.fail(`undecided at ${length}`);
    }
  }
});

t.test('versions of every size keep their digits', async (t) => {
  for (const value of ['0', '1', '4294967295', '4294967296', '9223372036854775807', '-1']) {
    const scanner = scan(request({ model_spec: { name: 'm', version: { value } } }));
    t.equal(scanner.fields.versionText(), value);
    t.equal(scanner.fields.version(), BigInt(value));
  }
});

t.test('a version after a label starts anew, and merges with one before it', async (t) => {
  const anew = scan(
    request(
      { model_spec: { version: { value: 5 } } },
      { model_spec: { version_label: 'x' } },
      { model_spec: { version: {} } },
    ),
  );
  t.equal(anew.fields.versionText(), '0');
  t.equal(anew.fields.versionLabel, '');
  const merged = scan(request({ model_spec: { version: { value: 5 } } }, { model_spec: { version: {} } }));
  t.equal(merged.fields.versionText(), '5');
});

t.test('MultiInference answers with its first task and says when tasks disagree', async (t) => {
  const type = 'tensorflow.serving.MultiInferenceRequest';
  const task = (name: string, signature_name: string) => ({ model_spec: { name, signature_name }, method_name: 'm' });
  const agree = scan(
    framed(encodeMessage(type, { tasks: [task('a', 's1'), task('a', 's2')], input: {} })),
    ScanKind.tasks,
  );
  t.equal(agree.fields.modelName, 'a');
  t.equal(agree.fields.signatureName, 's1');
  t.equal(agree.fields.mixed, false);
  t.equal(agree.fields.count, 2);
  const disagree = scan(framed(encodeMessage(type, { tasks: [task('a', ''), task('b', '')] })), ScanKind.tasks);
  t.equal(disagree.fields.modelName, 'a');
  t.equal(disagree.fields.mixed, true);
});

t.test('Open Inference names and versions are read as strings', async (t) => {
  const bytes = framed(
    encodeMessage('inference.ModelInferRequest', {
      model_name: 'm',
      model_version: '3',
      id: 'x',
      inputs: [{ name: 'a' }],
    }),
  );
  const scanner = scan(bytes, ScanKind.openInference);
  t.equal(scanner.result, ScanResult.found);
  t.equal(scanner.fields.modelName, 'm');
  t.equal(scanner.fields.versionLabel, '3');
  t.equal(scanner.fields.versionChoice, VersionChoice.label);
  const plain = scan(framed(encodeMessage('inference.ModelReadyRequest', { name: 'm' })), ScanKind.openInference);
  t.equal(plain.fields.versionChoice, VersionChoice.none);
});

t.test('responses keep their spec in field 2', async (t) => {
  const bytes = framed(
    encodeMessage('tensorflow.serving.PredictResponse', { model_spec: { name: 'm' }, outputs: { y: TENSOR } }),
  );
  t.equal(scan(bytes, ScanKind.specAt2).fields.modelName, 'm');
});

t.test('a compressed message is left to be inflated, and scanned bare', async (t) => {
  const scanner = scan(framed(Buffer.from('anything'), true));
  t.equal(scanner.result, ScanResult.compressed);
  const body = SHAPES['the spec last'].subarray(PREFIX_BYTES);
  scanner.beginBare(ScanKind.specAt1, body.length);
  t.equal(scanner.push(body, 0, body.length), ScanResult.found);
  t.equal(scanner.specEnds[0], body.length);
  scanner.beginBare(ScanKind.specAt1, 0);
  t.equal(scanner.result, ScanResult.absent);
});

t.test('a long message may be settled early, and a later spec is a conflict', async (t) => {
  const spec = encodeMessage(REQUEST, { model_spec: { name: 'm' } });
  const filler = encodeMessage(REQUEST, { inputs: { x: { dtype: 4, tensor_content: Buffer.alloc(100000) } } });
  const quiet = framed(Buffer.concat([spec, filler]));
  const scanner = new ModelSpecScanner();
  scanner.begin(ScanKind.specAt1, NO_BOUND);
  t.equal(scanner.settleEarly(), ScanResult.needMore, 'nothing is known yet');
  t.equal(scanner.push(quiet, 0, 65536), ScanResult.needMore);
  t.equal(scanner.settleEarly(), ScanResult.found);
  t.equal(scanner.push(quiet, 65536, quiet.length), ScanResult.found);
  t.equal(scanner.finish(), ScanResult.found);

  const sly = framed(Buffer.concat([spec, filler, spec]));
  scanner.begin(ScanKind.specAt1, NO_BOUND);
  scanner.push(sly, 0, 65536);
  scanner.settleEarly();
  t.equal(scanner.push(sly, 65536, sly.length), ScanResult.conflict);
  t.match(scanner.problem, /follows after/);

  scanner.begin(ScanKind.specAt1, NO_BOUND);
  scanner.push(quiet, 0, 65536);
  scanner.settleEarly();
  t.equal(scanner.finish(), ScanResult.malformed, 'settled, but the stream ended early');
});

t.test('bounds are kept before anything is allocated', async (t) => {
  const scanner = new ModelSpecScanner();
  scanner.begin(ScanKind.specAt1, 1000);
  t.equal(scanner.push(Buffer.from([0, 0, 0, 0x10, 0]), 0, 5), ScanResult.tooLarge);
  t.match(scanner.problem, /4096 bytes, allowed are 1000/);
  const long = scan(request({ model_spec: { name: 'x'.repeat(20000) } }));
  t.equal(long.result, ScanResult.tooLarge);
  const many = scan(request(...Array.from({ length: 65 }, () => ({ model_spec: { name: 'm' } }))));
  t.equal(many.result, ScanResult.tooLarge);
  t.match(many.problem, /more than 64/);
  const kept = scan(
    request(...Array.from({ length: 3 }, () => ({ model_spec: { signature_name: 'x'.repeat(9000) } }))),
  );
  t.equal(kept.result, ScanResult.tooLarge);
});

t.test('malformed messages say what and where', async (t) => {
  const cases: [number[], RegExp][] = [
    [[0x00], /field number 0/],
    [[0x0a, 5, 1], /field of 5 bytes runs past the end/],
    [[0x12, 5, 1], /field of 5 bytes runs past the end/],
    [[0x12], /ends behind a tag/],
    [[0x08], /ends behind a tag/],
    [[0x08, 0x80], /inside a varint/],
    [[0x08, ...new Array(10).fill(0x80), 1], /varint over ten bytes/],
    [[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f], /length over 4 GiB/],
    [[0xff, 0xff, 0xff, 0xff, 0x7f], /field number over/],
    [[0x0e], /wire type 6/],
    [[0x0b], /group without an end/],
    [[0x0c], /group end without a start/],
    [[0x0b, 0x14], /group end without a start/],
    [new Array(101).fill(0x0b), /nested too deep/],
    [[0x0d, 1], /field of 4 bytes/],
    [[0x09, 1], /field of 8 bytes/],
    [[0x0a, 3, 0x0a, 1, 0xff], /ModelSpec.name: text is not UTF-8/],
    [[0x0a, 2, 0x12, 9], /ModelSpec: length 9 runs past the end/],
  ];
  for (const [body, problem] of cases) {
    const scanner = scan(framed(Buffer.from(body)));
    t.equal(scanner.result, ScanResult.malformed, String(problem));
    t.match(scanner.problem, problem);
  }
  t.match(scan(Buffer.from([7])).problem, /flag byte 7/);
});

t.test('every method of the model services is known by its path', async (t) => {
  t.equal(MODEL_CALLS.size, 10);
  t.equal(MODEL_CALLS.get('/tensorflow.serving.PredictionService/Predict')?.responseKind, ScanKind.specAt2);
  t.equal(MODEL_CALLS.get('/tensorflow.serving.ModelService/GetModelStatus')?.isInference, false);
});
