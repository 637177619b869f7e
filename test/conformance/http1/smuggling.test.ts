// The ways two HTTP/1.1 readers can be made to disagree about where a request ends or whom it is for, and other
// malformed requests: each is refused with its status, the connection is closed, and nothing behind it is read.
// Sections are RFC 9112's unless they say otherwise.

import t from 'tap';
import { ClientHarness, type Recorder, ServerHarness } from '../../unit/proto/http1/support.ts';

const H = 'Host: h\r\n';
const START = `POST / HTTP/1.1\r\n${H}`;
/** What a smuggler wants read as a request of its own. */
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n';

/** Section, request, status, reason. */
const HEADS: readonly [string, string, number, string][] = [
  // 2.2: line ends and characters
  ['2.2', `GET / HTTP/1.1\n${H}\r\n`, 400, 'bare_lf'],
  ['2.2', 'GET / HTTP/1.1\r\nHost: h\n\r\n', 400, 'bare_lf'],
  ['2.2', 'GET / HTTP/1.1\r\nHost: h\r\n\n', 400, 'bare_lf'],
  ['2.2', 'GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n', 400, 'bare_cr'],
  ['2.2', 'GET / HTTP/1.1\r\rHost: h\r\n\r\n', 400, 'bare_cr'],
  ['2.2', 'GET / HTTP/1.1\r\nHost: h\r\nX: a\r\r\n\r\n', 400, 'bare_cr'],
  ['2.2', `\n${START}\r\n`, 400, 'bare_lf'],
  ['2.2', `\r\n\r\n${START}\r\n`, 400, 'bad_request_line'],
  ['2.2', `GET / HTTP/1.1\r\n Host: h\r\n\r\n`, 400, 'obsolete_fold'],
  ['2.2', ` GET / HTTP/1.1\r\n${H}\r\n`, 400, 'bad_request_line'],
  // 3: request line
  ['3', `GET  / HTTP/1.1\r\n${H}\r\n`, 400, 'bad_request_line'],
  ['3', `GET /  HTTP/1.1\r\n${H}\r\n`, 400, 'bad_version'],
  ['3', `GET / HTTP/1.1 \r\n${H}\r\n`, 400, 'bad_version'],
  ['3', `GET\t/ HTTP/1.1\r\n${H}\r\n`, 400, 'bad_method'],
  ['3', `GET / x HTTP/1.1\r\n${H}\r\n`, 400, 'bad_version'],
  ['3', `GET /\r\n${H}\r\n`, 400, 'bad_request_line'],
  ['3', `GET\r\n${H}\r\n`, 400, 'bad_request_line'],
  ['3', `G(T / HTTP/1.1\r\n${H}\r\n`, 400, 'bad_method'],
  ['3', `G\xc9T / HTTP/1.1\r\n${H}\r\n`, 400, 'bad_method'],
  ['3', `${'M'.repeat(40)} / HTTP/1.1\r\n${H}\r\n`, 501, 'method_too_long'],
  ['2.3', `GET / http/1.1\r\n${H}\r\n`, 400, 'bad_version'],
  ['2.3', `GET / HTTP/1.10\r\n${H}\r\n`, 400, 'bad_version'],
  ['2.3', `GET / HTTP/1,1\r\n${H}\r\n`, 400, 'bad_version'],
  ['2.3', `GET / HTTP/0.9\r\n${H}\r\n`, 505, 'unsupported_version'],
  ['2.3', `GET / HTTP/2.0\r\n${H}\r\n`, 505, 'unsupported_version'],
  ['2.3', `GET / HTTP/1.2\r\n${H}\r\n`, 505, 'unsupported_version'],
  ['2.3', 'PRI * HTTP/2.0\r\n\r\n', 505, 'unsupported_version'],
  // 3.2: targets
  ['3.2', `GET a HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `GET * HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `GET /a#b HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `GET /\xe9 HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `GET /\x7f HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `GET ftp://h/ HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `GET http:///a HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `GET http://u@h/ HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `GET http://a,b/ HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `GET h:80 HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `CONNECT / HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `CONNECT h HTTP/1.1\r\n${H}\r\n`, 400, 'bad_target'],
  ['3.2', `CONNECT h:80 HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\n`, 400, 'body_not_allowed'],
  ['3.2', 'GET / HTTP/1.1\r\n\r\n', 400, 'missing_host'],
  ['3.2', 'GET / HTTP/1.1\r\nX: y\r\n\r\n', 400, 'missing_host'],
  ['3.2', 'GET http://h/ HTTP/1.1\r\nX: y\r\n\r\n', 400, 'missing_host'],
  ['3.2', `GET / HTTP/1.1\r\n${H}Host: h\r\n\r\n`, 400, 'duplicate_host'],
  ['3.2', `GET / HTTP/1.0\r\n${H}Host: i\r\n\r\n`, 400, 'duplicate_host'],
  ['3.2', 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 400, 'bad_host'],
  ['3.2', 'GET / HTTP/1.1\r\nHost: a,b\r\n\r\n', 400, 'bad_host'],
  ['3.2', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400, 'bad_host'],
  ['3.2', 'GET / HTTP/1.1\r\nHost: u@h\r\n\r\n', 400, 'bad_host'],
  ['3.2', 'GET / HTTP/1.1\r\nHost: h:8x\r\n\r\n', 400, 'bad_host'],
  ['3.2', 'GET / HTTP/1.1\r\nHost: h:1:2\r\n\r\n', 400, 'bad_host'],
  ['3.2', 'GET / HTTP/1.1\r\nHost: [::1\r\n\r\n', 400, 'bad_host'],
  ['3.2', 'GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n', 400, 'bad_host'],
  // 5: fields
  ['5.1', `GET / HTTP/1.1\r\n${H}X : y\r\n\r\n`, 400, 'bad_field_name'],
  ['5.1', `GET / HTTP/1.1\r\nHost : h\r\n\r\n`, 400, 'bad_field_name'],
  ['5.1', `${START}Transfer-Encoding : chunked\r\n\r\n`, 400, 'bad_field_name'],
  ['5.1', `${START}Content-Length\t: 5\r\n\r\n`, 400, 'bad_field_name'],
  ['5.1', `GET / HTTP/1.1\r\n${H}: y\r\n\r\n`, 400, 'bad_field_name'],
  ['5.1', `GET / HTTP/1.1\r\n${H}X y\r\n\r\n`, 400, 'bad_field_name'],
  ['5.1', `GET / HTTP/1.1\r\n${H}X[]: y\r\n\r\n`, 400, 'bad_field_name'],
  ['5.1', `GET / HTTP/1.1\r\n${H}:path: /x\r\n\r\n`, 400, 'bad_field_name'],
  ['5.1', `${START}Content\xadLength: 5\r\n\r\n`, 400, 'bad_field_name'],
  ['5.2', `GET / HTTP/1.1\r\n${H}X: a\r\n b\r\n\r\n`, 400, 'obsolete_fold'],
  ['5.2', `GET / HTTP/1.1\r\n${H}X: a\r\n\tb\r\n\r\n`, 400, 'obsolete_fold'],
  ['5.2', `${START}Transfer-Encoding:\r\n chunked\r\n\r\n`, 400, 'obsolete_fold'],
  ['5.5', `GET / HTTP/1.1\r\n${H}X: a\0b\r\n\r\n`, 400, 'control_character'],
  ['5.5', `GET / HTTP/1.1\r\n${H}X: a\x0bb\r\n\r\n`, 400, 'control_character'],
  ['5.5', `GET / HTTP/1.1\r\n${H}X: a\x7fb\r\n\r\n`, 400, 'bad_field_value'],
  ['5.5', `${START}Transfer-Encoding: \x0bchunked\r\n\r\n`, 400, 'control_character'],
  // 6: framing
  ['6.2', `${START}Content-Length: 5\r\nContent-Length: 6\r\n\r\n`, 400, 'duplicate_content_length'],
  ['6.2', `${START}Content-Length: 5\r\nContent-Length: 5\r\n\r\n`, 400, 'duplicate_content_length'],
  ['6.2', `${START}Content-Length: 5, 5\r\n\r\n`, 400, 'bad_content_length'],
  ['6.2', `${START}Content-Length: +5\r\n\r\n`, 400, 'bad_content_length'],
  ['6.2', `${START}Content-Length: -5\r\n\r\n`, 400, 'bad_content_length'],
  ['6.2', `${START}Content-Length: 0x5\r\n\r\n`, 400, 'bad_content_length'],
  ['6.2', `${START}Content-Length: 5 5\r\n\r\n`, 400, 'bad_content_length'],
  ['6.2', `${START}Content-Length: 5.0\r\n\r\n`, 400, 'bad_content_length'],
  ['6.2', `${START}Content-Length:\r\n\r\n`, 400, 'bad_content_length'],
  ['6.2', `${START}Content-Length: 1e3\r\n\r\n`, 400, 'bad_content_length'],
  ['6.2', `${START}Content-Length: 99999999999999999999\r\n\r\n`, 413, 'body_too_large'],
  ['6.3', `${START}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`, 400, 'length_and_coding'],
  ['6.3', `${START}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n`, 400, 'length_and_coding'],
  ['6.3', `${START}Transfer-Encoding: chunked\r\nContent-Length:\r\n\r\n`, 400, 'length_and_coding'],
  ['6.1', `${START}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`, 400, 'duplicate_coding'],
  ['6.1', `${START}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n`, 400, 'duplicate_coding'],
  ['6.1', `${START}Transfer-Encoding: chunked, chunked\r\n\r\n`, 400, 'bad_coding'],
  ['6.1', `${START}Transfer-Encoding: chunked, identity\r\n\r\n`, 400, 'bad_coding'],
  ['6.1', `${START}Transfer-Encoding: identity\r\n\r\n`, 400, 'bad_coding'],
  ['6.1', `${START}Transfer-Encoding: xchunked\r\n\r\n`, 400, 'bad_coding'],
  ['6.1', `${START}Transfer-Encoding: chunked;q=1\r\n\r\n`, 400, 'bad_coding'],
  ['6.1', `${START}Transfer-Encoding: "chunked"\r\n\r\n`, 400, 'bad_coding'],
  ['6.1', `${START}Transfer-Encoding: ,chunked\r\n\r\n`, 400, 'bad_coding'],
  ['6.1', `${START}Transfer-Encoding:\r\n\r\n`, 400, 'bad_coding'],
  ['6.1', `${START}Transfer-Encoding: gzip, chunked\r\n\r\n`, 501, 'unsupported_coding'],
  ['6.1', `${START}Transfer-Encoding: gzip\r\n\r\n`, 501, 'unsupported_coding'],
  ['6.1', `POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n`, 400, 'coding_in_1_0'],
  ['RFC 9110 10.1.1', `${START}Expect: 200-maybe\r\nContent-Length: 1\r\n\r\n`, 417, 'unknown_expectation'],
];

for (const [section, head, status, reason] of HEADS) {
  t.test(`${section}: ${JSON.stringify(head)} is refused with ${status}`, async (t) => {
    for (const step of [head.length + SMUGGLED.length, 1]) {
      const server = new ServerHarness();
      const text = head + SMUGGLED;
      for (let i = 0; i < text.length; i += step) server.socket.receive(text.slice(i, i + step));
      t.equal(server.faults[0]?.reason, reason);
      t.equal(server.faults[0]?.status, status);
      t.equal(server.requests.length, 0);
      t.match(server.socket.text(), new RegExp(`^HTTP/1\\.1 ${status} .*connection: close\\r\\n\\r\\n`, 's'));
      t.equal(server.socket.ended, true);
    }
  });
}

/** Bodies of a chunked request and what they are refused for. */
const CHUNKS: readonly [string, string][] = [
  ['\r\n', 'bad_chunk_size'],
  ['g\r\n', 'bad_chunk_size'],
  ['-1\r\n', 'bad_chunk_size'],
  ['+5\r\nhello\r\n', 'bad_chunk_size'],
  ['0x5\r\nhello\r\n', 'bad_chunk_size'],
  [' 5\r\nhello\r\n', 'bad_chunk_size'],
  ['5 \r\nhello\r\n', 'bad_chunk_size'],
  ['5\t\r\nhello\r\n', 'bad_chunk_size'],
  ['5\nhello\r\n', 'bad_chunk_size'],
  ['5\rhello\r\n', 'bare_cr'],
  ['5\r\nhello\n0\r\n\r\n', 'bad_chunk_end'],
  ['5\r\nhello\r0\r\n\r\n', 'bad_chunk_end'],
  ['5\r\nhelloworld\r\n', 'bad_chunk_end'],
  ['5\r\nhel\r\n0\r\n\r\n', 'bad_chunk_end'],
  ['20000000000000\r\n', 'bad_chunk_size'],
  ['ffffffffffffffff\r\n', 'bad_chunk_size'],
  ['00000000000000005\r\nhello\r\n', 'bad_chunk_size'],
  ['5;\r\nhello\r\n', 'bad_chunk_extension'],
  ['5; a\r\nhello\r\n', 'bad_chunk_extension'],
  ['5;a=\r\nhello\r\n', 'bad_chunk_extension'],
  ['5;a b\r\nhello\r\n', 'bad_chunk_extension'],
  ['5;a\nhello\r\n', 'bad_chunk_extension'],
  ['5;a="b\r\n"\r\nhello\r\n', 'bad_chunk_extension'],
  ['5;a="b\n"\r\nhello\r\n', 'bad_chunk_extension'],
  ['5;a="b"c\r\nhello\r\n', 'bad_chunk_extension'],
  ['5;a\rb\r\nhello\r\n', 'bare_cr'],
  [`5;a=${'b'.repeat(5000)}\r\nhello\r\n`, 'chunk_extensions_too_large'],
  ['0\r\nContent-Length: 5\r\n\r\n', 'bad_trailer'],
  ['0\r\nTransfer-Encoding: chunked\r\n\r\n', 'bad_trailer'],
  ['0\r\nHost: other\r\n\r\n', 'bad_trailer'],
  ['0\r\nX : y\r\n\r\n', 'bad_field_name'],
  ['0\r\nX: y\n\r\n', 'bare_lf'],
  ['0\r\n\n', 'bare_lf'],
  ['0\r\n\rX: y\r\n\r\n', 'bare_cr'],
];

for (const [body, reason] of CHUNKS) {
  t.test(`7.1: the chunked body ${JSON.stringify(body.slice(0, 40))} is refused`, async (t) => {
    for (const step of [1e6, 1]) {
      const server = new ServerHarness();
      const text = `${START}Transfer-Encoding: chunked\r\n\r\n${body}${SMUGGLED}`;
      for (let i = 0; i < text.length; i += step) server.socket.receive(text.slice(i, i + step));
      t.equal(server.faults[0]?.reason, reason);
      t.equal(server.requests.length, 1);
      t.same(server.requests[0]!.resets, [1]);
      t.equal(server.requests[0]!.ended, false);
      t.match(server.socket.text(), /^HTTP\/1\.1 400 /);
    }
  });
}

t.test('7.1.1: extensions within their bound are taken and dropped', async (t) => {
  const server = new ServerHarness();
  server.socket.receive(`${START}Transfer-Encoding: Chunked\r\n\r\n`);
  server.socket.receive('5;a;b=c;d="e \\" f";g=h\r\nhello\r\n1\r\n!\r\n000;z\r\n\r\n');
  t.equal(server.requests[0]?.body, 'hello!');
  t.equal(server.requests[0]?.ended, true);
});

t.test('7.1.1: extensions are bounded over the message, not over the chunk', async (t) => {
  const server = new ServerHarness({ limits: { maxChunkExtensionBytes: 100 } });
  server.socket.receive(`${START}Transfer-Encoding: chunked\r\n\r\n`);
  for (let i = 0; i < 20 && !server.connection.dead; i++) server.socket.receive('1;abcdefgh\r\nx\r\n');
  t.equal(server.faults[0]?.reason, 'chunk_extensions_too_large');
});

t.test('a body beyond the limit is refused with 413, declared or chunked', async (t) => {
  const limits = { maxBodyBytes: 10 };
  const declared = new ServerHarness({ limits });
  declared.socket.receive(`${START}Content-Length: 11\r\n\r\n`);
  t.equal(declared.faults[0]?.status, 413);
  const chunked = new ServerHarness({ limits });
  chunked.socket.receive(`${START}Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n3\r\n`);
  t.equal(chunked.faults[0]?.status, 413);
  t.match(chunked.socket.text(), /^HTTP\/1\.1 413 Payload Too Large|^HTTP\/1\.1 413 Content Too Large/);
});

/** Answers a client refuses. */
const ANSWERS: readonly [string, string][] = [
  ['HTTP/1.1 200 OK\nA: b\r\n\r\n', 'bare_lf'],
  ['HTTP/2 200 OK\r\n\r\n', 'bad_status_line'],
  ['HTTP/2.0 200 OK\r\n\r\n', 'unsupported_version'],
  ['HTTP/1.1 20 OK\r\n\r\n', 'bad_status_line'],
  ['HTTP/1.1 2000 OK\r\n\r\n', 'bad_status_line'],
  ['HTTP/1.1 099 OK\r\n\r\n', 'bad_status_line'],
  ['HTTP/1.1  200 OK\r\n\r\n', 'bad_status_line'],
  ['HTTP/1.1 200OK\r\n\r\n', 'bad_status_line'],
  ['ICY 200 OK\r\n\r\n', 'bad_status_line'],
  ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n', 'duplicate_content_length'],
  ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', 'length_and_coding'],
  ['HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n', 'unsupported_coding'],
  ['HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', 'coding_in_1_0'],
  ['HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n', 'body_not_allowed'],
  ['HTTP/1.1 200 OK\r\nA : b\r\n\r\n', 'bad_field_name'],
  ['HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n', 'obsolete_fold'],
  ['HTTP/1.1 101 Switching\r\n\r\n', 'unexpected_switch'],
];

for (const [text, reason] of ANSWERS) {
  t.test(`the answer ${JSON.stringify(text)} ends the exchange and the connection`, async (t) => {
    const client = new ClientHarness();
    const recorder: Recorder = client.get();
    client.socket.receive(text);
    t.equal(recorder.exchange?.fault?.reason, reason);
    t.equal(recorder.resets.length, 1);
    t.equal(recorder.exchange?.canRetry, false);
    t.equal(client.closes, 1);
  });
}
