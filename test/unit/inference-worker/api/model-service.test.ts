import { status } from '@grpc/grpc-js';
import t from 'tap';
import { decodeMessage } from '../../../support/proto-codecs.ts';
import { modelSpec } from '../../../support/tfs-client.ts';
import { openFront } from './support.ts';

t.test('GetModelMetadata shows the signature as a SignatureDefMap', async (t) => {
  const { client } = await openFront(t);
  const reply = await client.metadata({ model_spec: modelSpec('m', 1), metadata_field: ['signature_def'] });
  t.match(reply.model_spec, { name: 'm', version: { value: '1' }, signature_name: '' });
  const any = reply.metadata.signature_def;
  t.equal(any.type_url, 'type.googleapis.com/tensorflow.serving.SignatureDefMap');
  const map = decodeMessage('tensorflow.serving.SignatureDefMap', any.value);
  const { inputs, outputs, method_name } = map.signature_def.serving_default;
  t.equal(method_name, 'tensorflow/serving/predict');
  t.same(Object.keys(outputs), ['y', 'z']);
  t.match(inputs.x, { name: 'x:0', dtype: 1, tensor_shape: { dim: [{ size: '-1' }, { size: '2' }] } });
});

t.test('GetModelMetadata refuses with the texts of TensorFlow Serving', async (t) => {
  const { client } = await openFront(t);
  const invalid = status.INVALID_ARGUMENT;
  await t.rejects(client.metadata({}), { code: invalid, details: 'Missing ModelSpec' });
  await t.rejects(client.metadata({ model_spec: modelSpec('m') }), {
    code: invalid,
    details: 'GetModelMetadataRequest must specify at least one metadata_field',
  });
  await t.rejects(client.metadata({ model_spec: modelSpec('m'), metadata_field: ['x'] }), {
    code: invalid,
    details: 'Metadata field x is not supported',
  });
  await t.rejects(client.metadata({ model_spec: modelSpec('n'), metadata_field: ['signature_def'] }), {
    code: status.NOT_FOUND,
    details: 'Servable not found for request: Latest(n)',
  });
});

t.test('GetModelStatus lists every known version, or the one asked for', async (t) => {
  const { client, source } = await openFront(t);
  source.statuses = [
    { version: 9223372036854775807n, state: 'AVAILABLE', error: null },
    { version: 2n, state: 'END', error: { code: 3, message: 'Could not load /m/2/model.onnx' } },
  ];
  const { model_version_status: all } = await client.status({ model_spec: modelSpec('m') });
  t.match(all, [
    {
      version: '9223372036854775807',
      state: 30,
      status: { error_code: 0, error_message: '' },
      execution_provider: 'webgpu',
    },
    {
      version: '2',
      state: 50,
      execution_provider: '',
      status: { error_code: 3, error_message: 'Could not load /m/2/model.onnx' },
    },
  ]);
  const { model_version_status: one } = await client.status({ model_spec: modelSpec('m', 2) });
  t.match(one, [{ version: '2' }]);
  t.equal(one.length, 1);
});

t.test('GetModelStatus refuses with the texts of TensorFlow Serving', async (t) => {
  const { client } = await openFront(t);
  const code = status.NOT_FOUND;
  await t.rejects(client.status({}), { code: status.INVALID_ARGUMENT, details: 'Missing ModelSpec' });
  await t.rejects(client.status({ model_spec: modelSpec('n') }), {
    code,
    details: 'Could not find any versions of model n',
  });
  await t.rejects(client.status({ model_spec: modelSpec('m', 7) }), {
    code,
    details: 'Could not find version 7 of model m',
  });
});
