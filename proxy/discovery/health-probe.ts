/** Asks one endpoint how it is, by gRPC, HTTP or a mere connection. Node's clients are loaded with the first check. */
import { connect, type Socket } from 'node:net';
import { PeerTimeout } from '../../base/peer-timeout.ts';
import { formatAddress } from '../config/address.ts';
import type { EndpointAddress, HealthCheckPolicy } from '../config/snapshot.ts';

/** Longest answer that is read, bytes. */
const MAX_ANSWER_BYTES = 10 * 1024;
/** `grpc.health.v1.HealthCheckResponse{status: SERVING}`: field 1, varint 1. */
const SERVING = Buffer.from([0, 0, 0, 0, 2, 0x08, 0x01]);

/** Resolves with '' when the endpoint is well, otherwise with what was wrong; within the policy's timeout. */
export function probeHealth(
  address: EndpointAddress,
  check: HealthCheckPolicy,
  open: OpenConnection = openPlain,
): Promise<string> {
  const authority = address.kind === 'unix' ? 'localhost' : formatAddress(address);
  return new Promise((resolve) => {
    let stop = (): void => {};
    const timer = new PeerTimeout(() => done('no answer in time'), check.timeoutMs);
    const done = (problem: string): void => {
      timer.clear();
      resolve(problem);
      stop();
    };
    if (check.kind === 'tcp') stop = probeTcp(() => open(address, ''), done);
    else if (check.kind === 'http') stop = probeHttp(() => open(address, 'http/1.1'), authority, check, done);
    else stop = probeGrpc(() => open(address, 'h2'), authority, check, done);
  });
}

/** A connection to an endpoint on which the protocol (of ALPN, '' for any) can be spoken at once. */
export type OpenConnection = (address: EndpointAddress, protocol: string) => Socket;

type Done = (problem: string) => void;

function probeTcp(open: () => Socket, done: Done): () => void {
  const socket = open();
  socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => done(''));
  socket.on('error', (error) => done(error.message));
  return () => socket.destroy();
}

function probeHttp(open: () => Socket, authority: string, check: HealthCheckPolicy, done: Done): () => void {
  const headers = { host: authority };
  const request = process
    .getBuiltinModule('node:http')
    .request({ path: check.path, headers, createConnection: open }, (response) => {
      const status = response.statusCode ?? 0;
      done(status >= 200 && status < 300 ? '' : `HTTP status ${status}`);
    });
  request.on('error', (error) => done(error.message));
  request.end();
  return () => request.destroy();
}

function probeGrpc(open: () => Socket, authority: string, check: HealthCheckPolicy, done: Done): () => void {
  const session = process.getBuiltinModule('node:http2').connect(`http://${authority}`, { createConnection: open });
  session.on('error', (error) => done(error.message));
  const stream = session.request({
    ':method': 'POST',
    ':path': '/grpc.health.v1.Health/Check',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  let answer = Buffer.alloc(0);
  let status: string | undefined;
  const take = (headers: Record<string, unknown>): void => {
    if (headers['grpc-status'] !== undefined) status = String(headers['grpc-status']);
  };
  stream.on('response', take);
  stream.on('trailers', take);
  stream.on('data', (chunk: Buffer) => {
    if (answer.length + chunk.length <= MAX_ANSWER_BYTES) answer = Buffer.concat([answer, chunk]);
  });
  stream.on('error', (error) => done(error.message));
  stream.on('end', () => {
    if (status !== '0') done(`gRPC status ${status ?? 'missing'}`);
    else done(answer.equals(SERVING) ? '' : 'not SERVING');
  });
  stream.end(healthRequest(check.service));
  return () => session.destroy();
}

/** `grpc.health.v1.HealthCheckRequest{service}` with its gRPC prefix. */
function healthRequest(service: string): Buffer {
  const name = Buffer.from(service);
  const field = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a]), varint(name.length), name]);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(field.length, 1);
  return Buffer.concat([prefix, field]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest >>>= 7) bytes.push((rest & 127) | 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

function openPlain(address: EndpointAddress): Socket {
  return address.kind === 'unix' ? connect(address.path) : connect({ host: address.host, port: address.port });
}
