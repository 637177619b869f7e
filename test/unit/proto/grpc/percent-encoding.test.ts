import t from 'tap';
import { decodeGrpcMessage, encodeGrpcMessage } from '../../../../proto/grpc/percent-encoding.ts';

t.test('printable ASCII goes as it is and the rest as %XX of its UTF-8', async (t) => {
  t.equal(encodeGrpcMessage('Servable not found for request: Latest(m)'), 'Servable not found for request: Latest(m)');
  t.equal(encodeGrpcMessage('100%\n'), '100%25%0A');
  t.equal(encodeGrpcMessage('ü~\x7f'), '%C3%BC~%7F');
});

t.test('every text survives', async (t) => {
  for (const text of ['', 'plain', '%', '%41', 'größer 🎭 \0\t\r\n', '%%%']) {
    t.equal(decodeGrpcMessage(encodeGrpcMessage(text)), text);
  }
});

t.test('a peer that encodes badly is read as well as can be', async (t) => {
  t.equal(decodeGrpcMessage('50% off'), '50% off');
  t.equal(decodeGrpcMessage('%'), '%');
  t.equal(decodeGrpcMessage('%4'), '%4');
  t.equal(decodeGrpcMessage('%zz%41'), '%zzA');
  t.equal(decodeGrpcMessage('%c3%bc'), 'ü', 'small hex digits');
  t.equal(decodeGrpcMessage('%ff'), '\ufffd');
  t.equal(decodeGrpcMessage('\xc3\xbc'), 'ü', 'raw UTF-8 bytes seen as latin1');
});
