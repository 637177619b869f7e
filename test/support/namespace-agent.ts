/**
 * Does in a namespace what it is told, one order after the other in one process, for the start of a program takes longer
 * than all that interception tests have it do. Run as a program; a line of JSON in, a line of JSON out.
 *
 *   {"dial":{"host","port","uid","gid","source"}}   the answer of the listener at the other end, or {"error":code}
 *   {"intercept":[...],"env":{...}}                 {"code","stdout","stderr"} of `understudy intercept`
 */
import net from 'node:net';
import { createInterface } from 'node:readline';
import { runInterceptCommand } from '../../proxy/cli/intercept-command.ts';
import type { InterceptionLab } from './interception-lab.ts';
import type { Namespace } from './netns.ts';

export interface DialOrder {
  readonly host: string;
  readonly port: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Local address to call from. */
  readonly source?: string;
}

interface Order {
  readonly dial?: DialOrder;
  readonly intercept?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** An agent in a namespace of a lab; it ends with the lab. */
export class NamespaceAgent {
  readonly #lines: AsyncIterator<string>;
  readonly #write: (line: string) => void;

  constructor(namespace: Namespace) {
    const child = namespace.spawn(process.execPath, [import.meta.filename]);
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    this.#write = (line) => void child.stdin!.write(`${line}\n`);
  }

  dial(dial: DialOrder): Promise<ReturnType<InterceptionLab['dial']>> {
    return this.#ask({ dial });
  }

  /** Runs `understudy intercept`, which has to succeed. */
  async mustIntercept(intercept: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
    const { code, stdout, stderr } = await this.#ask<{ code: number; stdout: string; stderr: string }>({
      intercept,
      env,
    });
    if (code !== 0) throw new Error(`intercept ${intercept.join(' ')}: ${code} ${stderr}`);
    return stdout;
  }

  async #ask<T>(order: Order): Promise<T> {
    this.#write(JSON.stringify(order));
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`the agent ended at ${JSON.stringify(order)}`);
    return JSON.parse(value) as T;
  }
}

async function intercept(argv: readonly string[], env: Readonly<Record<string, string>>): Promise<object> {
  const told = { stdout: '', stderr: '' };
  const code = await runInterceptCommand(argv, env, {
    stdout: (text) => {
      told.stdout += text;
    },
    stderr: (text) => {
      told.stderr += text;
    },
  });
  return { code, ...told };
}

/** A socket belongs to whom the process was when it was made, so who dials is changed until it is connected. */
async function dial({ host, port, uid = 0, gid = 0, source }: DialOrder): Promise<object> {
  process.setegid!(gid);
  process.seteuid!(uid);
  const socket = net.connect({ host, port, timeout: 10_000, ...(source !== undefined && { localAddress: source }) });
  const text = await new Promise<string>((resolve) => {
    let got = '';
    socket.on('data', (bytes) => {
      got += String(bytes);
      if (got.endsWith('\n')) socket.end();
    });
    socket.on('timeout', () => socket.destroy(Object.assign(new Error('no answer'), { code: 'TIMEOUT' })));
    socket.on('error', (error: NodeJS.ErrnoException) => {
      got = JSON.stringify({ error: error.code });
    });
    socket.on('close', () => resolve(got));
  });
  process.seteuid!(0);
  process.setegid!(0);
  return JSON.parse(text || '{"error":"EMPTY"}') as object;
}

if (process.argv[1] === import.meta.filename) {
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line) as Order;
    const answer = order.dial === undefined ? intercept(order.intercept!, order.env ?? {}) : dial(order.dial);
    console.log(JSON.stringify(await answer));
  }
}
