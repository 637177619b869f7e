/**
 * The probe that kubelet runs inside a container, for what listens where kubelet cannot reach: on loopback or on a Unix
 * socket. Exits 0 when every target is well, 1 when one is not, 2 for a mistake in the arguments.
 *
 *   probe.mjs http://127.0.0.1:15000/readyz      a 2xx answer
 *   probe.mjs grpc:unix:/run/understudy/worker.sock     grpc.health.v1 answers SERVING
 *
 * Only Node's own modules are loaded: a probe runs every few seconds and its start is most of its cost.
 */

/** Longest time one target may take, in milliseconds; kubelet's own limit should be above it. */
const TIMEOUT_MS = 3000;
/** An empty HealthCheckRequest as a gRPC message: not compressed, no bytes. */
const EMPTY_MESSAGE = Buffer.alloc(5);
/** HealthCheckResponse { status: SERVING } as a gRPC message. */
const SERVING = Buffer.from([0, 0, 0, 0, 2, 0x08, 1]);

/** Resolves when the target is well; rejects with what is wrong. */
export async function probe(target) {
  if (target.startsWith('http://')) return probeHttp(target);
  if (target.startsWith('grpc:')) return probeGrpc(target.slice('grpc:'.length));
  throw new TypeError(`${target}: expected http://HOST:PORT/PATH, grpc:unix:/PATH or grpc:HOST:PORT`);
}

async function probeHttp(url) {
  const { get } = await import('node:http');
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false, timeout: TIMEOUT_MS }, (response) => {
      response.resume();
      const { statusCode } = response;
      if (statusCode >= 200 && statusCode < 300) resolve();
      else reject(new Error(`${url}: ${statusCode}`));
      response.destroy();
    });
    request.on('timeout', () => request.destroy(new Error(`${url}: no answer within ${TIMEOUT_MS} ms`)));
    request.on('error', reject);
  });
}

async function probeGrpc(address) {
  const [{ connect: connectHttp2 }, { connect }] = await Promise.all([import('node:http2'), import('node:net')]);
  const authority = address.startsWith('unix:') ? 'http://localhost' : `http://${address}`;
  const options = address.startsWith('unix:') ? { createConnection: () => connect(address.slice(5)) } : {};
  return new Promise((resolve, reject) => {
    const session = connectHttp2(authority, options);
    const settle = (error) => {
      clearTimeout(timer);
      session.destroy();
      if (error === undefined) resolve();
      else reject(error);
    };
    const timer = setTimeout(() => settle(new Error(`${address}: no answer within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
    session.on('error', settle);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const chunks = [];
    stream.on('data', (chunk) => chunks.push(chunk));
    stream.on('error', settle);
    stream.on('end', () => {
      const isServing = Buffer.concat(chunks).equals(SERVING);
      settle(isServing ? undefined : new Error(`${address}: not serving`));
    });
    stream.end(EMPTY_MESSAGE);
  });
}

if (import.meta.main) {
  const targets = process.argv.slice(2);
  if (targets.length === 0) {
    process.stderr.write('usage: probe.mjs TARGET...\n');
    process.exit(2);
  }
  const results = await Promise.allSettled(targets.map(probe));
  const failures = results.filter(({ status }) => status === 'rejected').map(({ reason }) => reason);
  for (const failure of failures) process.stderr.write(`${failure.message}\n`);
  if (failures.length > 0) process.exit(failures.some((failure) => failure instanceof TypeError) ? 2 : 1);
}
