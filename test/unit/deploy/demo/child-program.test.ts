/** Child programs of the demo: what they say is heard, how they end is told, and nothing is left running. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ChildProgram, type ProgramEvent } from '../../../../deploy/demo/child-program.ts';

interface Started {
  readonly child: ChildProgram;
  readonly events: ProgramEvent[];
  readonly deaths: { description: string; last: readonly string[] }[];
  readonly logPath: string;
  /** Resolves at the first event, and at the death. */
  readonly heard: Promise<void>;
  readonly died: Promise<void>;
}

function start(t: Test, source: string, env: Record<string, string> = {}): Started {
  const folder = mkdtempSync(join(tmpdir(), 'child-program-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const program = join(folder, 'program.mjs');
  writeFileSync(program, source);
  const heard = Promise.withResolvers<void>();
  const died = Promise.withResolvers<void>();
  const events: ProgramEvent[] = [];
  const deaths: Started['deaths'] = [];
  const logPath = join(folder, 'log');
  const child = new ChildProgram({
    name: 'worker',
    program,
    args: ['one'],
    env,
    logPath,
    onEvent: (event) => {
      events.push(event);
      heard.resolve();
    },
    onDeath: (description, last) => {
      deaths.push({ description, last });
      died.resolve();
    },
  });
  t.teardown(() => child.kill());
  return { child, events, deaths, logPath, heard: heard.promise, died: died.promise };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

t.test('lines that are JSON objects are events, on either stream, and settings of the shell stay out', async (t) => {
  process.env['UNDERSTUDY_LOG_LEVEL'] = 'from-the-shell';
  const { child, events, heard } = start(
    t,
    `console.error('plain words');
     console.error('{broken');
     console.log(JSON.stringify({ args: process.argv.slice(2), level: process.env.UNDERSTUDY_LOG_LEVEL ?? 'none', own: process.env.UNDERSTUDY_X }));
     setInterval(() => {}, 1000);`,
    { UNDERSTUDY_X: 'given' },
  );
  delete process.env['UNDERSTUDY_LOG_LEVEL'];
  await heard;
  t.same(events, [{ args: ['one'], level: 'none', own: 'given' }]);
  await child.stop();
});

t.test('a program that was stopped drains, ends and is no death', async (t) => {
  const { child, deaths, events, heard, logPath } = start(
    t,
    `process.on('SIGTERM', () => { console.log('drained'); process.exit(0); });
     console.log(JSON.stringify({ pid: process.pid }));
     setInterval(() => {}, 1000);`,
  );
  await heard;
  await child.stop();
  t.same(deaths, []);
  t.notOk(isAlive(events[0]!['pid'] as number));
  t.match(readFileSync(logPath, 'utf8'), /drained/);
});

t.test('a program that ends by itself is a death, told once with its last lines', async (t) => {
  const { child, deaths, died } = start(t, `console.error('cannot go on'); process.exit(3);`);
  await died;
  await child.stop();
  t.same(deaths, [{ description: 'the worker ended: exit code 3', last: ['cannot go on'] }]);
});

t.test('a kill takes the children of the program along', async (t) => {
  const { child, events, heard, died } = start(
    t,
    `import { spawn } from 'node:child_process';
     const grandchild = spawn('sleep', ['60'], { stdio: 'inherit' });
     console.log(JSON.stringify({ pid: grandchild.pid }));`,
  );
  await heard;
  t.ok(isAlive(events[0]!['pid'] as number));
  child.kill();
  await died; // Its streams close only when the grandchild, which shares them, is gone too.
  t.pass('nobody is left');
});
