/**
 * The network that interception tests share: a pod with a stand-in for the proxy, and a peer with a model server, on one
 * link with an IPv4 and an IPv6 network.
 */
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { comparableSave } from '../../proxy/cli/intercept-tables.ts';
import { type Namespace, NetworkLab, type Output } from './netns.ts';

export const POD_V4 = '10.77.0.1';
export const POD_V6 = 'fd77::1';
export const PEER_V4 = '10.77.0.2';
export const PEER_V6 = 'fd77::2';
/** Ports on which the peer, and in the pod the application, answer with their name. */
export const SERVER_PORTS = '8500,8600,9000';
export const PROXY_ID = 1717;

const SAVE_COMMANDS = ['iptables-nft-save', 'ip6tables-nft-save', 'iptables-legacy-save', 'ip6tables-legacy-save'];

const ECHO = fileURLToPath(new URL('./destination-echo.ts', import.meta.url));
const COMMAND = new URL('../../proxy/cli/intercept-command.ts', import.meta.url).href;
const RUN_COMMAND = `import(${JSON.stringify(COMMAND)})
  .then((m) => m.runInterceptCommand(process.argv.slice(1), process.env, {
    stdout: (text) => process.stdout.write(text), stderr: (text) => process.stderr.write(text) }))
  .then((code) => { process.exitCode = code; });`;

/** What a dialled listener said: the stand-in proxy its reading, a server its name, or an error code. */
export interface Answer {
  readonly verdict?: string;
  readonly destination?: { readonly host: string; readonly port: number; readonly family: number } | null;
  readonly server?: string;
  readonly from?: string;
  readonly error?: string;
}

export interface Caller {
  readonly uid?: number;
  readonly gid?: number;
  /** Local address to call from. */
  readonly source?: string;
}

export class InterceptionLab {
  readonly lab = new NetworkLab();
  readonly pod: Namespace;
  readonly peer: Namespace;

  /** `6` gives a network without any IPv4 address but loopback's. */
  constructor(families: 'dual' | '6' = 'dual') {
    this.pod = this.lab.namespace('pod');
    this.peer = this.lab.namespace('peer');
    const wanted = (addresses: readonly string[]) => (families === '6' ? addresses.slice(1) : addresses);
    const [pod, peer] = [wanted([`${POD_V4}/24`, `${POD_V6}/64`]), wanted([`${PEER_V4}/24`, `${PEER_V6}/64`])];
    this.lab.link(this.pod, pod, this.peer, peer);
  }

  /** A lab with the stand-in proxy, the application's server and the peer's server listening. */
  static async open(): Promise<InterceptionLab> {
    const lab = new InterceptionLab();
    try {
      const proxy = callerEnvironment({ uid: PROXY_ID, gid: PROXY_ID });
      await Promise.all([
        lab.pod.spawnUntil(['ready'], process.execPath, [ECHO, 'listen', '::', '15001,15006'], proxy),
        lab.pod.spawnUntil(['ready'], process.execPath, [ECHO, 'serve', 'application', '::', SERVER_PORTS]),
        lab.peer.spawnUntil(['ready'], process.execPath, [ECHO, 'serve', 'peer', '::', SERVER_PORTS]),
      ]);
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** Runs `understudy intercept` in the pod. */
  intercept(...args: readonly string[]): Output {
    return this.pod.run(process.execPath, ['-e', RUN_COMMAND, '--', ...args]);
  }

  /** Like `intercept`, for a command that has to succeed; gives what it printed. */
  mustIntercept(...args: readonly string[]): string {
    const result = this.intercept(...args);
    if (result.status !== 0) throw new Error(`intercept ${args.join(' ')}: ${result.status} ${result.stderr}`);
    return result.stdout;
  }

  /** Dials from the pod and gives what the listener at the other end said. */
  dial(host: string, port: number, caller: Caller = {}): Answer {
    return dialFrom(this.pod, host, port, caller);
  }

  /** Opens a connection from the pod that stays open: what it is sent comes back, line by line. */
  talk(host: string, port: number): { child: ChildProcess; nextLine: () => Promise<string> } {
    const child = this.pod.spawn(process.execPath, [ECHO, 'talk', host, `${port}`]);
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    return { child, nextLine: async () => String((await lines.next()).value) };
  }

  /** All rules of the pod, both kinds and both families, without counters and comments. */
  savedRules(): Record<string, string> {
    return Object.fromEntries(
      SAVE_COMMANDS.map((command) => [command, comparableSave(this.pod.run(command, []).stdout)]),
    );
  }

  /** What the plain commands and those of both kinds save, byte for byte but for the time of day that each writes down. */
  savedBytes(): Record<string, string> {
    const commands = ['iptables-save', 'ip6tables-save', ...SAVE_COMMANDS];
    const timeless = (text: string) => text.replaceAll(/ on \w{3} \w{3} [ \d]{2} [\d:]{8} \d{4}$/gm, '');
    return Object.fromEntries(
      commands.map((command) => {
        const { stdout, stderr } = this.pod.run(command, []);
        return [command, timeless(`${stdout}${stderr}`)];
      }),
    );
  }

  close(): Promise<void> {
    return this.lab.close();
  }
}

function dialFrom(namespace: Namespace, host: string, port: number, caller: Caller): Answer {
  const args = [ECHO, 'dial', host, `${port}`, ...(caller.source === undefined ? [] : [caller.source])];
  const result = namespace.run(process.execPath, args, '', callerEnvironment(caller));
  if (result.status !== 0) throw new Error(`dial ${host} ${port}: ${result.stderr}`);
  return JSON.parse(result.stdout) as Answer;
}

function callerEnvironment(caller: Caller): NodeJS.ProcessEnv {
  const env = { ...process.env };
  if (caller.uid !== undefined) env['UNDERSTUDY_TEST_UID'] = `${caller.uid}`;
  if (caller.gid !== undefined) env['UNDERSTUDY_TEST_GID'] = `${caller.gid}`;
  return env;
}
