/**
 * A route of plain HTTP with a fallback: an OCR service whose small stand-in has other field names and no confidence, and a
 * constant for when both are gone.
 */
import { type ClientHttp2Stream, connect } from 'node:http2';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { request } from 'undici';
import { ProxyProgram } from '../support/proxy-program.ts';
import { type RestScript, RestUpstream, restFails } from '../support/rest-upstream.ts';
import { ScriptedUpstream } from '../support/scripted-upstream.ts';

const MAIN = { results: [{ text: 'TOTAL', bbox: [1, 2, 30, 40], confidence: 0.98 }] };
const LIGHT = {
  results: [
    { label: 'TOTAL', box: [1, 2, 30, 40], debug: 'x' },
    { label: 42, box: [5, 6, 7, 8], debug: 'y' },
  ],
};
const ADAPTED = {
  results: [
    { text: 'TOTAL', bbox: [1, 2, 30, 40], confidence: 0.5 },
    { text: '42', bbox: [5, 6, 7, 8], confidence: 0.5 },
  ],
  model_version: 'ocr-light',
};
const saysMain: RestScript = (_call, response) => response.end(JSON.stringify(MAIN));
const saysLight: RestScript = (_call, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip', etag: '"light"' });
  response.end(gzipSync(JSON.stringify(LIGHT)));
};

const main = await RestUpstream.start(t, saysMain);
const light = await RestUpstream.start(t, saysLight);
const overHttp2 = await ScriptedUpstream.start(t, 'light', {
  script: async (call) => {
    await call.body;
    call.stream.respond({ ':status': 200, 'content-type': 'application/json' });
    call.stream.end(JSON.stringify(LIGHT));
  },
});

const ADAPT = [
  { path: 'results[].text', from: 'label', cast: 'string' },
  { path: 'results[].bbox', from: 'box' },
  { path: 'results[].confidence', fill: '0.5' },
  { path: 'results[].debug', drop: true },
];
const route = (name: string, cluster: string, fallback: readonly object[], more: object = {}) => ({
  name,
  path: `/${name}`,
  cluster,
  fallback,
  ...more,
});
const proxy = await ProxyProgram.start(t, {
  ready: false,
  document: {
    defaults: { breaker: { enabled: false } },
    clusters: [
      { name: 'ocr-main', endpoints: [main.address] },
      { name: 'ocr-light', endpoints: [light.address] },
      { name: 'ocr-h2', endpoints: [overHttp2.address] },
      { name: 'gone', endpoints: ['127.0.0.1:1'] },
    ],
    routes: [
      route('ocr', 'ocr-main', [{ cluster: 'ocr-light', adapt: ADAPT }], { modelVersionField: 'model_version' }),
      route('gone', 'gone', [
        { cluster: 'ocr-light', adapt: [{ path: 'pages[].text', cast: 'string' }] },
        { static: { json: '{"results":[],"manual":true}' } },
      ]),
      route('h2', 'gone', [{ cluster: 'ocr-h2', adapt: ADAPT }]),
      route('small', 'ocr-main', [{ cluster: 'ocr-light' }], { maxReplaySize: '1KiB' }),
    ],
  },
});

async function post(path: string, body: string | Buffer = '{"image":"..."}') {
  const answer = await request(`http://${proxy.address}${path}`, { method: 'POST', body });
  const text = await answer.body.text();
  return {
    status: answer.statusCode,
    headers: answer.headers,
    text,
    json: text.startsWith('{') ? JSON.parse(text) : null,
  };
}

t.test('the service answers for itself, and says so', async (test) => {
  const { json, headers } = await post('/ocr');
  test.strictSame(json, { ...MAIN, model_version: 'ocr-main' });
  test.equal(headers['x-understudy-served-by'], 'ocr-main');
});

t.test('its stand-in answers with the same fields when it fails', async (test) => {
  main.script = restFails(503, 'overloaded');
  const { status, json, headers, text } = await post('/ocr');
  test.equal(status, 200);
  test.strictSame(json, ADAPTED);
  test.match(headers, {
    'x-understudy-served-by': 'ocr-light',
    'x-understudy-reason': 'status',
    'content-length': String(text.length),
  });
  test.notOk(headers['content-encoding'] ?? headers.etag, 'they described other bytes');
  test.equal(light.calls.at(-1)!.body.toString(), '{"image":"..."}', 'the same request');
});

t.test('what blames the caller is passed on as it is, from either side', async (test) => {
  main.script = restFails(422, 'no image');
  test.match(await post('/ocr'), { status: 422, json: { error: 'no image' } });
  main.script = restFails(500, 'bug');
  light.script = restFails(404, 'no such page');
  const answer = await post('/ocr');
  test.match(answer, { status: 404, json: { error: 'no such page' } });
  light.script = restFails(500, 'another bug');
  test.match(await post('/ocr'), { status: 500, json: { error: 'bug' } }, "two failures are the first one's");
  light.script = saysLight;
  main.script = saysMain;
});

t.test('an answer that does not fit its paths is none: the constant answers', async (test) => {
  const { status, json, headers } = await post('/gone');
  test.equal(status, 200);
  test.strictSame(json, { results: [], manual: true });
  test.match(headers, { 'x-understudy-served-by': '@static/route:gone/1', 'x-understudy-reason': 'connect_failed' });
  const metrics = await proxy.metricsOnce(
    (now) => now.sum('understudy_answer_adaptations_total', { result: 'misfit' }) === 1,
  );
  test.equal(metrics.sum('understudy_answer_adaptations_total', { cluster: 'ocr-light', result: 'misfit' }), 1);
  test.equal(metrics.sum('understudy_local_answers_total', { cluster: '@static/route:gone/1', result: 'answered' }), 1);
  test.equal(metrics.sum('understudy_answer_adaptations_total', { cluster: 'ocr-light', result: 'adapted' }), 1);
});

t.test('so it does for an answer too large to be adapted', async (test) => {
  light.script = (_call, response) => response.end(JSON.stringify({ pages: [{ text: 'x'.repeat(2_200_000) }] }));
  test.match(await post('/gone'), { status: 200, json: { manual: true } });
  light.script = saysLight;
  const metrics = await proxy.metricsOnce(
    (now) => now.sum('understudy_answer_adaptations_total', { result: 'too_large' }) === 1,
  );
  test.equal(metrics.sum('understudy_answer_adaptations_total', { cluster: 'ocr-light', result: 'too_large' }), 1);
});

t.test('over HTTP/2 alike', async (test) => {
  const session = connect(`http://${proxy.address}`);
  const stream: ClientHttp2Stream = session.request({
    ':method': 'POST',
    ':path': '/h2',
    'content-type': 'application/json',
  });
  stream.end('{}');
  let text = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const head = await new Promise<Record<string, unknown>>((resolve) => stream.on('response', resolve));
  await new Promise((resolve) => stream.on('close', resolve));
  session.close();
  test.equal(head['x-understudy-served-by'], 'ocr-h2');
  test.strictSame(JSON.parse(text).results, ADAPTED.results);
});

t.test('a request too large to keep has its own service only', async (test) => {
  main.script = restFails(503, 'overloaded');
  test.equal((await post('/small', 'x'.repeat(100))).status, 200);
  test.match(await post('/small', Buffer.alloc(100_000)), { status: 503, json: { error: 'overloaded' } });
});
