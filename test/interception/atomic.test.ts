/** A change of rules happens whole or not at all: seen by callers who never stop dialling, and after a failure half way. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { InterceptionLab, PEER_V4, PEER_V6 } from '../support/interception-lab.ts';
import { namespacesUnavailable } from '../support/netns.ts';

const skip = namespacesUnavailable('iptables', 'ip6tables');
const noLegacy = spawnSync('iptables-legacy-save', ['-V']).error !== undefined;
const ANSWER_WITHIN_MS = 15_000;

/** Dials the two addresses in turn, hundreds of times a second, until its input ends; prints who answered, a line for each. */
const DIALLER = `const net = require('node:net');
  let going = true;
  process.stdin.resume().on('end', () => { going = false; });
  const dial = (host) => new Promise((resolve) => {
    let text = '';
    const socket = net.connect({ host, port: 8500, timeout: 10000 });
    socket.on('data', (bytes) => { text += bytes; if (text.endsWith('\\n')) socket.end(); });
    socket.on('timeout', () => socket.destroy(new Error('silence')));
    socket.on('error', (error) => { text = '{"server":' + JSON.stringify(error.message) + '}'; });
    socket.on('close', () => resolve(JSON.parse(text || '{"server":"nobody"}').server ?? 'proxy'));
  });
  (async () => {
    while (going) {
      for (const host of process.argv.slice(1)) console.log(await dial(host));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();`;

for (const backend of ['nft', 'legacy'] as const) {
  const missing = skip || (backend === 'legacy' && noLegacy ? 'needs iptables of the legacy kind' : false);
  t.test(`no connection slips past while ${backend} rules are changed under traffic`, { skip: missing }, async (t) => {
    const lab = await InterceptionLab.open();
    t.teardown(() => lab.close());
    lab.mustIntercept('install', '--backend', backend);
    const child = lab.pod.spawn(process.execPath, ['-e', DIALLER, PEER_V4, PEER_V6]);
    const answers = new Map<string, number>();
    let total = 0;
    createInterface({ input: child.stdout! }).on('line', (line) => {
      answers.set(line, (answers.get(line) ?? 0) + 1);
      total++;
    });
    const more = async (count: number) => {
      const end = performance.now() + ANSWER_WITHIN_MS;
      for (const goal = total + count; total < goal && performance.now() < end; await delay(5));
    };
    await more(10);
    for (const ports of ['8500,8600', '8400-8700', 'all', '8500']) {
      lab.mustIntercept('install', '--backend', backend, '--outbound-ports', ports);
      await more(10);
    }
    const closed = new Promise((resolve) => child.once('close', resolve));
    child.stdin!.end();
    await closed;
    t.same([...answers.keys()], ['proxy'], JSON.stringify([...answers]));
    t.ok(total >= 50, `${total} connections`);
  });
}

t.test('when the kernel takes the rules of one family and not of the other, neither stays', { skip }, async (t) => {
  const lab = new InterceptionLab();
  const folder = mkdtempSync(join(tmpdir(), 'understudy-half-'));
  t.teardown(async () => {
    await lab.close();
    rmSync(folder, { recursive: true, force: true });
  });
  // In front of the real one: says yes to a check and no to the change itself, as a kernel without a module does.
  const shim = join(folder, 'ip6tables-nft-restore');
  writeFileSync(shim, '#!/bin/sh\ncase "$*" in *--test*) exit 0;; esac\necho "RULE_APPEND failed" >&2\nexit 4\n');
  chmodSync(shim, 0o755);
  const broken = (...args: string[]) => {
    const path = process.env['PATH'];
    process.env['PATH'] = `${folder}:${path}`;
    try {
      return lab.intercept(...args);
    } finally {
      process.env['PATH'] = path;
    }
  };
  const bare = lab.savedBytes();
  const first = broken('install', '--backend', 'nft');
  t.equal(first.status, 1, first.stderr);
  t.match(first.stderr, 'RULE_APPEND failed; nothing was changed');
  t.match(first.stderr, 'explicit-port mode');
  t.same(lab.savedBytes(), bare, 'a table that was made for it is gone too');

  lab.mustIntercept('install', '--backend', 'nft', '--outbound-ports', '7000');
  const installed = lab.savedBytes();
  t.equal(broken('install', '--backend', 'nft', '--outbound-ports', '8500').status, 1);
  t.same(lab.savedBytes(), installed, 'the rules of before are in force again');
});
