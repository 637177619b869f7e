/** Properties of the model spec scan and rewrite, against a plain model of protobuf's merge rules. */
import fc from 'fast-check';
import t from 'tap';
import { ModelSpecScanner, ScanKind, ScanResult } from '../../proto/tensor/model-spec.ts';
import { VersionChoice } from '../../proto/tensor/model-spec-view.ts';
import { PredictRequestView, parsePredictRequest } from '../../proto/tensor/predict-message.ts';
import { rewriteSpecIn, SpecTarget } from '../../proto/tensor/spec-rewrite.ts';
import { runs } from '../support/fuzz-runs.ts';
import { encodeMessage } from '../support/proto-codecs.ts';

const REQUEST = 'tensorflow.serving.PredictRequest';
const RUNS = { numRuns: runs(500), interruptAfterTimeLimit: 1500 };

interface Part {
  readonly spec?: { name?: string; signature_name?: string; version?: { value: string }; version_label?: string };
  readonly other?: object;
}

const spec = fc.record(
  {
    name: fc.string({ minLength: 1, maxLength: 12 }),
    signature_name: fc.string({ minLength: 1, maxLength: 200 }),
    version: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => ({ value: String(value) })),
  },
  { requiredKeys: [] },
);
const labelled = fc.record({ version_label: fc.string({ minLength: 1, maxLength: 12 }) });
const other = fc.constantFrom<object>(
  { output_filter: ['y', ''] },
  { client_id: Buffer.alloc(300, 0x0a) },
  { inputs: { x: { dtype: 1, float_val: [1, 2, 3] } } },
  { predict_streamed_options: { request_state: 2 } },
);
const parts: fc.Arbitrary<Part[]> = fc.array(
  fc.oneof(
    spec.map((value): Part => ({ spec: value })),
    labelled.map((value): Part => ({ spec: value })),
    other.map((value): Part => ({ other: value })),
  ),
  { maxLength: 8 },
);

function encode(list: Part[]): Buffer {
  return Buffer.concat(list.map((part) => encodeMessage(REQUEST, part.spec ? { model_spec: part.spec } : part.other!)));
}

/** What the parts say together. */
function merged(list: Part[]) {
  const result = { present: false, name: '', signature: '', choice: 0, version: '', label: '' };
  for (const { spec: said } of list) {
    if (said === undefined) continue;
    result.present = true;
    if (said.name !== undefined) result.name = said.name;
    if (said.signature_name !== undefined) result.signature = said.signature_name;
    if (said.version !== undefined)
      Object.assign(result, { choice: VersionChoice.version, version: said.version.value, label: '' });
    if (said.version_label !== undefined)
      Object.assign(result, { choice: VersionChoice.label, version: '', label: said.version_label });
  }
  return result;
}

function scanned(bytes: Buffer, cuts: number[]) {
  const scanner = new ModelSpecScanner();
  scanner.beginBare(ScanKind.specAt1, bytes.length);
  let from = 0;
  for (const cut of cuts.map((value) => value % (bytes.length + 1)).sort((a, b) => a - b)) {
    scanner.push(bytes, from, cut);
    from = cut;
  }
  scanner.push(bytes, from, bytes.length);
  return scanner;
}

function said(scanner: ModelSpecScanner) {
  const { fields } = scanner;
  return {
    present: fields.present,
    name: fields.modelName,
    signature: fields.signatureName,
    choice: fields.versionChoice,
    version: fields.versionText(),
    label: fields.versionLabel,
  };
}

function same(actual: object, expected: object): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) {
    throw new Error(`${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`);
  }
}

t.test('any parts in any order, cut anywhere, say what they say together', async () => {
  fc.assert(
    fc.property(parts, fc.array(fc.nat(), { maxLength: 6 }), (list, cuts) => {
      const bytes = encode(list);
      const scanner = scanned(bytes, cuts);
      const expected = merged(list);
      same([scanner.result], [expected.present ? ScanResult.found : ScanResult.absent]);
      same(said(scanner), expected);
    }),
    RUNS,
  );
});

t.test('the scan and the full parser agree on every message', async () => {
  const view = new PredictRequestView();
  fc.assert(
    fc.property(parts, (list) => {
      const bytes = encode(list);
      parsePredictRequest(view, bytes, 0, bytes.length);
      const { modelSpec } = view;
      const label = modelSpec.versionChoice === VersionChoice.label ? modelSpec.label(bytes) : '';
      const version = modelSpec.versionChoice === VersionChoice.version ? String(modelSpec.version()) : '';
      const full = {
        present: modelSpec.present,
        name: modelSpec.name(bytes),
        signature: modelSpec.signatureName(bytes),
        choice: modelSpec.versionChoice,
        version,
        label,
      };
      same(said(scanned(bytes, [])), full);
    }),
    RUNS,
  );
});

t.test('a rewritten message says the new model and version and keeps the rest byte by byte', async () => {
  const version = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }).map(String);
  fc.assert(
    fc.property(parts, fc.string({ minLength: 1, maxLength: 300 }), version, (list, name, wanted) => {
      const bytes = encode(list);
      const out = rewriteSpecIn(ScanKind.specAt1, bytes, 0, bytes.length, false, new SpecTarget(name, wanted), false)!;
      const scanner = scanned(out, []);
      const before = merged(list);
      same(said(scanner), {
        ...before,
        present: true,
        name,
        choice: VersionChoice.version,
        version: wanted,
        label: '',
      });
      const rest = Buffer.concat([out.subarray(0, scanner.specStarts[0]), out.subarray(scanner.specEnds[0])]);
      if (!rest.equals(encode(list.filter((part) => part.spec === undefined)))) throw new Error('the rest has changed');
    }),
    RUNS,
  );
});

t.test('random and damaged bytes give the same verdict however they are cut', async () => {
  const random = fc.uint8Array({ maxLength: 120 }).map((array) => Buffer.from(array));
  const damaged = fc
    .tuple(parts, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 2 }))
    .map(([list, changes]) => {
      const bytes = encode(list);
      if (bytes.length > 0) for (const [at, value] of changes) bytes[at % bytes.length] = value;
      return bytes;
    });
  const kind = fc.constantFrom(...Object.values(ScanKind));
  fc.assert(
    fc.property(fc.oneof(random, damaged), fc.array(fc.nat(), { maxLength: 6 }), kind, (bytes, cuts, scanKind) => {
      const whole = new ModelSpecScanner();
      whole.beginBare(scanKind, bytes.length);
      whole.push(bytes, 0, bytes.length);
      const pieces = new ModelSpecScanner();
      pieces.beginBare(scanKind, bytes.length);
      let from = 0;
      for (const cut of cuts.map((value) => value % (bytes.length + 1)).sort((a, b) => a - b)) {
        pieces.push(Buffer.from(bytes.subarray(from, cut)), 0, cut - from);
        from = cut;
      }
      pieces.push(Buffer.from(bytes.subarray(from)), 0, bytes.length - from);
      same([pieces.result, pieces.problem, said(pieces)], [whole.result, whole.problem, said(whole)]);
      if (whole.result === ScanResult.needMore) throw new Error('undecided at the end');
    }),
    { ...RUNS, numRuns: runs(3000) },
  );
});
