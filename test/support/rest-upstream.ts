/** A model server that speaks REST, made of node:http, that does as it is told and remembers what it was asked. */
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Test } from 'tap';

export interface RestCallSeen {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly socket: Socket;
}

export type RestScript = (call: RestCallSeen, response: ServerResponse) => void;

export class RestUpstream {
  readonly calls: RestCallSeen[] = [];
  script: RestScript;
  private readonly server: Server;

  constructor(script: RestScript) {
    this.script = script;
    this.server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('error', () => response.destroy());
      request.on('end', () => {
        const { url, headers, socket } = request;
        const call = { path: url ?? '', headers, body: Buffer.concat(chunks), socket };
        this.calls.push(call);
        this.script(call, response);
      });
    });
  }

  static async start(test: Test, script: RestScript): Promise<RestUpstream> {
    const upstream = new RestUpstream(script);
    await new Promise<void>((resolve) => upstream.server.listen(0, '127.0.0.1', resolve));
    test.teardown(() => {
      upstream.server.closeAllConnections();
      upstream.server.close();
    });
    return upstream;
  }

  get address(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }
}

/** Answers predictions and inferences with these scores, and its name in a header. */
export function restAnswers(name: string, scores: readonly (number | string)[] = [0.25, 0.75]): RestScript {
  return (call, response) => {
    const list = `[${scores.join(',')}]`;
    const open = `{"model_name":"${name}","outputs":[{"name":"scores","datatype":"FP32","shape":[1,${scores.length}],"data":${list}}]}`;
    response.writeHead(200, { 'content-type': 'application/json', 'x-server': name });
    response.end(call.path.startsWith('/v2/') ? open : `{"predictions":[${list}]}`);
  };
}

export function restFails(status: number, error: string, headers: Readonly<Record<string, string>> = {}): RestScript {
  return (_call, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify({ error }));
  };
}
