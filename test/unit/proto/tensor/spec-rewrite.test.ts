import t from 'tap';
import { PREFIX_BYTES, writeMessagePrefix } from '../../../../proto/grpc/message-framing.ts';
import { ModelSpecScanner, ScanKind } from '../../../../proto/tensor/model-spec.ts';
import { rewriteSpecIn, SpecRewrite, SpecTarget } from '../../../../proto/tensor/spec-rewrite.ts';
import { decodeMessage, encodeMessage } from '../../../support/proto-codecs.ts';

const REQUEST = 'tensorflow.serving.PredictRequest';
const TENSOR = { dtype: 1, tensor_shape: { dim: [{ size: 3 }] }, float_val: [1, 2, 3] };

function framed(body: Buffer): Buffer {
  const bytes = Buffer.alloc(PREFIX_BYTES + body.length);
  body.copy(bytes, writeMessagePrefix(bytes, 0, body.length, false));
  return bytes;
}

function request(...parts: object[]): Buffer {
  return framed(Buffer.concat(parts.map((part) => encodeMessage(REQUEST, part))));
}

/** Rewrites by segments, checks them against writeHead and rewriteSpecIn, and returns the decoded message. */
function rewritten(bytes: Buffer, target: SpecTarget, kind: number = ScanKind.specAt1, type = REQUEST) {
  const scanner = new ModelSpecScanner();
  scanner.begin(kind, 0xffffffff);
  scanner.push(bytes, 0, bytes.length);
  const rewrite = new SpecRewrite();
  rewrite.plan(scanner, target);
  const parts: Buffer[] = [];
  for (let i = 0; i < rewrite.segmentCount; i++) {
    parts.push((rewrite.inserted[i] ? rewrite.bytes : bytes).subarray(rewrite.from[i], rewrite.to[i]));
  }
  const whole = Buffer.concat(parts);
  t.equal(whole.length, bytes.length + rewrite.byteDelta);
  t.equal(whole.readUInt32BE(1), whole.length - PREFIX_BYTES, 'the length prefix fits');
  t.equal(rewrite.messageBytes, whole.length - PREFIX_BYTES);
  const head = Buffer.alloc(rewrite.headBytes + 2);
  t.equal(rewrite.writeHead(bytes, 0, head, 2), head.length);
  t.strictSame(Buffer.concat([head.subarray(2), bytes.subarray(rewrite.tailStart)]), whole);
  t.strictSame(rewriteSpecIn(kind, bytes, 0, bytes.length, true, target, false), whole);
  return decodeMessage(type, whole.subarray(PREFIX_BYTES));
}

t.test('name and version change and everything else stays', async (t) => {
  const bytes = request(
    { model_spec: { name: 'a', version_label: 'canary', signature_name: 'sig' } },
    { inputs: { x: TENSOR }, output_filter: ['y'], client_id: Buffer.from('me') },
  );
  const before = decodeMessage(REQUEST, bytes.subarray(PREFIX_BYTES));
  const after = rewritten(bytes, new SpecTarget('credit-risk-lite', '9223372036854775807'));
  t.equal(after.model_spec.name, 'credit-risk-lite');
  t.equal(after.model_spec.version.value, '9223372036854775807');
  t.equal(after.model_spec.version_choice, 'version');
  t.equal(after.model_spec.signature_name, 'sig');
  t.strictSame({ ...after, model_spec: null }, { ...before, model_spec: null });
});

t.test('with the spec in front the change is one segment and the tail is the original', async (t) => {
  const bytes = request({ model_spec: { name: 'a' } }, { inputs: { x: TENSOR } });
  const scanner = new ModelSpecScanner();
  scanner.begin(ScanKind.specAt1, 1000);
  scanner.push(bytes, 0, bytes.length);
  const rewrite = new SpecRewrite();
  rewrite.plan(scanner, new SpecTarget('b', ''));
  t.equal(rewrite.segmentCount, 2);
  t.strictSame(rewrite.inserted.slice(0, 2), [true, false]);
  t.equal(rewrite.tailStart, scanner.specEnds[0]);
});

t.test('null keeps what the request says and an empty version removes it', async (t) => {
  const versioned = request({ inputs: { x: TENSOR } }, { model_spec: { name: 'a', version: { value: 5 } } });
  t.equal(rewritten(versioned, new SpecTarget('b', null)).model_spec.version.value, '5');
  t.equal(rewritten(versioned, new SpecTarget('b', '')).model_spec.version_choice, undefined);
  t.equal(rewritten(versioned, new SpecTarget(null, '6')).model_spec.name, 'a');
  const labelled = request({ model_spec: { name: 'größer', version_label: 'läbel' } });
  const kept = rewritten(labelled, new SpecTarget(null, null));
  t.equal(kept.model_spec.version_label, 'läbel');
  t.equal(kept.model_spec.name, 'größer');
});

t.test('several specs become one, with unknown fields of all of them', async (t) => {
  const unknown = Buffer.from([0x0a, 5, 0x0a, 1, 0x63, 0x78, 7]);
  const bytes = framed(
    Buffer.concat([
      encodeMessage(REQUEST, { model_spec: { name: 'a', signature_name: 's1' } }),
      encodeMessage(REQUEST, { inputs: { x: TENSOR } }),
      unknown,
      encodeMessage(REQUEST, { model_spec: { version: { value: 2 }, signature_name: 's2' } }),
      encodeMessage(REQUEST, { output_filter: ['y'] }),
    ]),
  );
  const after = rewritten(bytes, new SpecTarget('b', '1'));
  t.equal(after.model_spec.name, 'b');
  t.equal(after.model_spec.version.value, '1');
  t.equal(after.model_spec.signature_name, 's2');
  t.strictSame(after.output_filter, ['y']);
  t.same(after.inputs.x.float_val, [1, 2, 3]);
  const whole = rewriteSpecIn(ScanKind.specAt1, bytes, 0, bytes.length, true, new SpecTarget('b', '1'));
  t.ok(whole?.includes(Buffer.from([0x78, 7])));
});

t.test('a message without a spec gets one', async (t) => {
  t.equal(rewritten(request({ inputs: { x: TENSOR } }), new SpecTarget('b', '1')).model_spec.name, 'b');
  const empty = request();
  t.equal(rewritten(empty, new SpecTarget('b', '1')).model_spec.name, 'b');
  t.equal(rewriteSpecIn(ScanKind.specAt1, empty, 0, empty.length, true, new SpecTarget('b', '1')), null);
});

t.test('each task of MultiInference keeps its signature and method', async (t) => {
  const type = 'tensorflow.serving.MultiInferenceRequest';
  const bytes = framed(
    encodeMessage(type, {
      tasks: [
        { model_spec: { name: 'a', signature_name: 's1' }, method_name: 'tensorflow/serving/classify' },
        {
          model_spec: { name: 'a', signature_name: 's2', version: { value: 3 } },
          method_name: 'tensorflow/serving/regress',
        },
        { method_name: 'no spec' },
      ],
      input: { example_list: { examples: [{}] } },
    }),
  );
  const after = rewritten(bytes, new SpecTarget('b', '4'), ScanKind.tasks, type);
  t.strictSame(
    after.tasks.map(
      (task: {
        model_spec: { name: string; signature_name: string; version: { value: string } };
        method_name: string;
      }) => [task.model_spec.name, task.model_spec.version.value, task.model_spec.signature_name, task.method_name],
    ),
    [
      ['b', '4', 's1', 'tensorflow/serving/classify'],
      ['b', '4', 's2', 'tensorflow/serving/regress'],
      ['b', '4', '', 'no spec'],
    ],
  );
  t.equal(after.input.example_list.examples.length, 1);
});

t.test('the spec of a response is rewritten where responses keep it', async (t) => {
  const type = 'tensorflow.serving.PredictResponse';
  const bytes = framed(
    encodeMessage(type, { outputs: { y: TENSOR }, model_spec: { name: 'lite', version: { value: 9 } } }),
  );
  const after = rewritten(bytes, new SpecTarget('credit-risk', '1'), ScanKind.specAt2, type);
  t.equal(after.model_spec.name, 'credit-risk');
  t.equal(after.model_spec.version.value, '1');
  t.same(after.outputs.y.float_val, [1, 2, 3]);
});

t.test('Open Inference messages are rewritten with their own fields', async (t) => {
  const type = 'inference.ModelInferRequest';
  const bytes = framed(
    encodeMessage(type, { model_name: 'a', model_version: '1', id: 'i', raw_input_contents: [Buffer.from('abc')] }),
  );
  const after = rewritten(bytes, new SpecTarget('b', '2'), ScanKind.openInference, type);
  t.equal(after.model_name, 'b');
  t.equal(after.model_version, '2');
  t.equal(after.id, 'i');
  t.equal(rewritten(bytes, new SpecTarget('b', ''), ScanKind.openInference, type).model_version, '');
  t.equal(rewritten(bytes, new SpecTarget(null, null), ScanKind.openInference, type).model_version, '1');
});

t.test('names of any length find room', async (t) => {
  const bytes = request({ model_spec: { name: 'a', signature_name: 's'.repeat(5000) } });
  const after = rewritten(bytes, new SpecTarget('n'.repeat(5000), '1'));
  t.equal(after.model_spec.name.length, 5000);
  t.equal(after.model_spec.signature_name.length, 5000);
});

t.test('what is malformed, compressed or followed by more is not rewritten in memory', async (t) => {
  const target = new SpecTarget('b', '1');
  const good = request({ model_spec: { name: 'a' } });
  t.equal(rewriteSpecIn(ScanKind.specAt1, good, 0, good.length - 1, true, target), null);
  const two = Buffer.concat([good, good]);
  t.equal(rewriteSpecIn(ScanKind.specAt1, two, 0, two.length, true, target), null);
  const compressed = Buffer.from(good);
  compressed[0] = 1;
  t.equal(rewriteSpecIn(ScanKind.specAt1, compressed, 0, compressed.length, true, target), null);
  t.ok(rewriteSpecIn(ScanKind.specAt1, good, PREFIX_BYTES, good.length, false, target), 'a bare one is');
});
