/**
 * A pod with the real proxy as its own user, outbound and inbound, and the rules that lead to it. Builder for tests of
 * interception's edges; what else runs in the pod and beyond it is the test's.
 */
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type InterceptionLab, PROXY_ID } from './interception-lab.ts';

const program = (path: string) => fileURLToPath(new URL(path, import.meta.url));
export const MODEL_SERVER = program('./model-server.ts');
export const APPLICATION = program('./application.ts');
export const CALLING_APPLICATION = program('./calling-application.ts');
export const EDGE_CLIENT = program('./edge-client.ts');
const PROXY = program('../../proxy/main.ts');

const ENVIRONMENT = {
  UNDERSTUDY_OUTBOUND_LISTEN: '127.0.0.1:15001,[::1]:15001',
  UNDERSTUDY_INBOUND_LISTEN: '[::]:15006',
  UNDERSTUDY_ADMIN_LISTEN: '127.0.0.1:15000',
  UNDERSTUDY_OUTBOUND_OTHER_MODELS: 'upstream',
  UNDERSTUDY_OUTBOUND_DETECT_TIMEOUT: '200ms',
};
const LISTENING = ['127.0.0.1:15001', '[::1]:15001', ':15006', '127.0.0.1:15000'];

/** Starts the proxy in the pod as its own user and group; resolves once it listens everywhere. */
export function startProxy(lab: InterceptionLab, env: Readonly<Record<string, string>> = {}): Promise<ChildProcess> {
  const as = [`--reuid=${PROXY_ID}`, `--regid=${PROXY_ID}`, '--clear-groups', process.execPath, PROXY];
  return lab.pod.spawnUntil(LISTENING, 'setpriv', as, { PATH: process.env['PATH'], ...ENVIRONMENT, ...env });
}

/** Sum of a metric's samples, as the proxy in the pod tells it; of those with these labels when they are given. */
export function metric(lab: InterceptionLab, name: string, labels = ''): number {
  const text = lab.pod.must('curl', '-s', 'http://127.0.0.1:15000/metrics');
  return text
    .split('\n')
    .filter((line) => line.startsWith(name) && /[ {]/.test(line[name.length]!) && line.includes(labels))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** What a program printed as one line of JSON, run in the pod or beyond it. */
export function inPod(lab: InterceptionLab, file: string, ...args: readonly string[]) {
  return JSON.parse(lab.pod.must(process.execPath, file, ...args));
}

export function inPeer(lab: InterceptionLab, file: string, ...args: readonly string[]) {
  return JSON.parse(lab.peer.must(process.execPath, file, ...args));
}
