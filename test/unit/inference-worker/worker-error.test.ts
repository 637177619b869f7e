/** The texts of TensorFlow Serving, letter by letter (WIRE.md section 1). Binding and batching texts are tested there. */
import t from 'tap';
import * as errors from '../../../inference-worker/worker-error.ts';

const TEXTS: [errors.WorkerError, number, string][] = [
  [errors.missingModelSpec(), 3, 'Missing ModelSpec'],
  [errors.emptyModelName(), 3, 'ModelSpec has no name specified.'],
  [errors.servableNotFound('m', null), 5, 'Servable not found for request: Latest(m)'],
  [errors.servableNotFound('m', 7n), 5, 'Servable not found for request: Specific(m, 7)'],
  [
    errors.servableNotFound('m', 9223372036854775807n),
    5,
    'Servable not found for request: Specific(m, 9223372036854775807)',
  ],
  [errors.unknownVersionLabel('L'), 3, 'Unrecognized servable version label: L'],
  [errors.statusNotFound('m', null), 5, 'Could not find any versions of model m'],
  [errors.statusNotFound('m', 7n), 5, 'Could not find version 7 of model m'],
  [errors.predictSignatureNotFound('s'), 9, 'Serving signature key "s" not found.'],
  [errors.exampleSignatureNotFound('s'), 3, 'No signature was found with the name: s'],
  [errors.multiInferenceSignatureNotFound('s'), 3, 'Requested signature not found in model graph: s'],
  [
    errors.inputCountMismatch(['a'], ['a', 'b']),
    3,
    'input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}.',
  ],
  [
    errors.inputNotFound('b', ['a']),
    3,
    'Signature input alias: b(feed name: b:0) not found in request and no default value provided. Inputs expected to be in the request {a}, or default input alias set: ',
  ],
  [errors.tensorParsingError('a'), 3, 'tensor parsing error: a'],
  [
    errors.outputNotFound('z', ['y']),
    3,
    'output tensor alias not found in signature: z Outputs expected to be in the set {y}.',
  ],
  [errors.duplicateOutput('y'), 3, 'duplicate output tensor alias: y'],
  [errors.metadataFieldMissing(), 3, 'GetModelMetadataRequest must specify at least one metadata_field'],
  [errors.metadataFieldUnsupported('x'), 3, 'Metadata field x is not supported'],
  [errors.emptyInput(), 3, 'Input is empty.'],
  [errors.batchQueueFull(), 14, 'The batch scheduling queue to which this task was submitted is full'],
  [errors.taskTooLarge(9, 8), 3, 'Task size 9 is larger than maximum input batch size 8'],
  [
    errors.labelForUnreadyVersion('m', 3n),
    9,
    'Request to assign label to version 3 of model m, which is not currently available for inference',
  ],
  [
    errors.reloadConfigUnsupported(),
    3,
    'ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported',
  ],
];
for (const [error, code, text] of TEXTS) {
  t.test(`${code} ${text.slice(0, 60)}`, async (t) => {
    t.equal(error.message, text);
    t.equal(error.code, code);
  });
}

t.test('tensors of different shapes and failed reloads begin with the known words', async (t) => {
  t.match(
    errors.mixedShapes('x').message,
    /^Tensors with name 'x' from different tasks have different shapes and padding is turned off\. /,
  );
  t.equal(errors.mixedShapes('x').code, 9);
  t.match(errors.reloadFailed(['a', 'b']).message, /^2 model\(s\) did not become available: \{/);
  t.equal(errors.reloadFailed(['a']).code, 2);
});

t.test('names in sets are ordered by their bytes, each once', async (t) => {
  t.match(errors.outputNotFound('z', ['b', 'B', 'é', 'a', 'b']).message, /\{B,a,b,é\}/);
});

t.test('long messages are cut after 1024 characters and say so', async (t) => {
  const { message } = errors.tensorParsingError('x'.repeat(2000));
  t.equal(message.length, 1024 + '...TRUNCATED'.length);
  t.ok(message.endsWith('xxx...TRUNCATED'));
  t.equal(errors.cutMessage('y'.repeat(1024)), 'y'.repeat(1024));
});

t.test('the reason of a full queue can be told from other refusals', async (t) => {
  t.equal(errors.batchQueueFull().reason, 'batch_queue_full');
  t.equal(errors.tensorParsingError('a').reason, undefined);
});
