import t from 'tap';
import {
  decodeBinaryHeader,
  encodeBinaryHeader,
  isBinaryHeader,
  isGrpcContentType,
  parseGrpcStatus,
} from '../../../../proto/grpc/metadata.ts';

t.test('gRPC content types are told from others', async (t) => {
  for (const value of [
    'application/grpc',
    'application/grpc+proto',
    'application/grpc;charset=utf-8',
    'Application/GRPC',
  ]) {
    t.equal(isGrpcContentType(value), true, value);
  }
  for (const value of ['application/grpc-web', 'application/grpcx', 'application/json', '', 'application/grp']) {
    t.equal(isGrpcContentType(value), false, value);
  }
});

t.test('a status is a short number', async (t) => {
  t.equal(parseGrpcStatus('0'), 0);
  t.equal(parseGrpcStatus('14'), 14);
  for (const value of ['', '-1', '1a', '1234', ' 1']) t.equal(parseGrpcStatus(value), -1, value);
});

t.test('binary fields are base64 without padding and are read with and without', async (t) => {
  const bytes = Buffer.from([0, 255, 1, 254]);
  t.equal(encodeBinaryHeader(bytes), 'AP8B/g');
  t.strictSame(decodeBinaryHeader('AP8B/g'), bytes);
  t.strictSame(decodeBinaryHeader('AP8B/g=='), bytes);
  t.equal(isBinaryHeader('grpc-status-details-bin'), true);
  t.equal(isBinaryHeader('x-bin-x'), false);
});
