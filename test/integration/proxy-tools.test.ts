/** Other people's HTTP/2 clients talk to the proxy: nghttp, h2load and curl. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { predictRequest } from '../support/grpc-caller.ts';
import { decodeMessage } from '../support/proto-codecs.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { predictResponse, ScriptedUpstream } from '../support/scripted-upstream.ts';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'understudy-tools-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const upstream = await ScriptedUpstream.start(t, 'upstream', { forget: true });
const proxy = await ProxyProgram.start(t, {
  env: { UNDERSTUDY_OUTBOUND_UPSTREAM_ADDRESS: upstream.address },
  document: {
    models: [
      {
        name: 'm',
        split: [{ model: `m@1 via ${upstream.address}` }],
        shadows: [{ model: `m@2 via ${upstream.address}` }],
      },
    ],
  },
});
const url = `http://${proxy.address}/tensorflow.serving.PredictionService/Predict`;
const small = join(folder, 'small.bin');
const large = join(folder, 'large.bin');
writeFileSync(small, predictRequest('m'));
writeFileSync(
  large,
  predictRequest(
    'm',
    Array.from({ length: 200_000 }, (_, i) => i),
  ),
);
const HEADERS = ['-H', 'content-type: application/grpc', '-H', 'te: trailers'];

/** Runs a test with a program, or skips it by name where it is missing. */
function withTool(tool: string, name: string, body: (test: Test) => Promise<void>): void {
  let skip: string | false = false;
  try {
    execFileSync('which', [tool], { stdio: 'ignore' });
  } catch {
    skip = `${tool} is not installed`;
  }
  t.test(name, { skip }, body);
}

withTool('curl', 'curl with prior knowledge is answered', async (test) => {
  const out = join(folder, 'answer.bin');
  const args = ['-s', '--http2-prior-knowledge', ...HEADERS, '--data-binary', `@${small}`, '-o', out, '-D', '-', url];
  const { stdout } = await run('curl', args);
  test.match(stdout, /HTTP\/2 200/);
  test.match(stdout, /x-understudy-served-by: m@1/);
  test.match(stdout, /grpc-status: 0/, 'the trailers come as trailers');
  const answer = decodeMessage('tensorflow.serving.PredictResponse', readFileSync(out).subarray(5));
  test.equal(String(answer.outputs.served_by.string_val[0]), 'upstream');
});

withTool('nghttp', 'nghttp is answered many times over one connection, with padding and CONTINUATION', async (test) => {
  const args = ['-v', '-m', '20', '-b', '200', '--continuation', ...HEADERS, '-d', large, url];
  const { stdout } = await run('nghttp', args, { maxBuffer: 64 * 1024 * 1024 });
  const status = stdout.match(/grpc-status: 0/g) ?? [];
  test.equal(status.length, 20);
  test.notMatch(stdout, /RST_STREAM frame <[^>]*>\n\s+\(error_code=(?!NO_ERROR)/);
  test.notMatch(stdout, /GOAWAY[^\n]*\n[^\n]*error_code=(?!NO_ERROR)/);
});

withTool('nghttp', 'nghttp with a small window gets a whole answer', async (test) => {
  const { stdout } = await run('nghttp', ['-v', '-w', '10', '-W', '10', ...HEADERS, '-d', small, url]);
  test.match(stdout, /grpc-status: 0/);
});

const loads: [string, string[], string][] = [
  ['many streams over few connections', ['-n', '4000', '-c', '4', '-m', '32'], small],
  ['one stream on each of many connections', ['-n', '2000', '-c', '64', '-m', '1'], small],
  ['large bodies', ['-n', '200', '-c', '4', '-m', '4'], large],
  ['small windows', ['-n', '150', '-c', '2', '-m', '8', '-w', '10', '-W', '12'], large],
];
const fixed = predictResponse('upstream', predictRequest('m'));
for (const [what, args, body] of loads) {
  withTool('h2load', `h2load is answered every time: ${what}`, async (test) => {
    upstream.script = (call) => void call.body.then(() => call.answer(fixed));
    const { stdout } = await run('h2load', [...args, '-d', body, ...HEADERS, url]);
    const total = args[1];
    test.match(
      stdout,
      new RegExp(`${total} total, ${total} started, ${total} done, ${total} succeeded, 0 failed, 0 errored`),
    );
    test.match(stdout, new RegExp(`status codes: ${total} 2xx`));
  });
}

t.test('every call was counted, and nothing is left', async (test) => {
  const metrics = await proxy.metricsOnce(
    (reading) =>
      reading.sum('understudy_cluster_in_flight_requests') === 0 &&
      reading.sum('understudy_mirror_held_bytes') === 0 &&
      reading.sum('understudy_downstream_open_connections') === 0,
  );
  test.equal(metrics.sum('understudy_cluster_in_flight_requests'), 0);
  test.equal(metrics.sum('understudy_downstream_open_streams'), 0);
  test.equal(metrics.sum('understudy_downstream_open_connections'), 0);
  test.equal(metrics.sum('understudy_replay_held_bytes'), 0);
  const streams = metrics.sum('understudy_downstream_streams_total');
  test.equal(metrics.sum('understudy_cluster_requests_total', { cluster: 'm@1', outcome: 'ok' }), streams);
  const shown = metrics.sum('understudy_mirror_requests_total', { model: 'm' });
  const refused = ['queue_full', 'bytes_full', 'too_large', 'unhealthy'];
  const dropped = refused.reduce((sum, reason) => sum + metrics.sum('understudy_mirror_drops_total', { reason }), 0);
  test.equal(shown + dropped, streams, 'each was shown or dropped');
});
