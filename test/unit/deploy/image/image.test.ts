/** The Dockerfile and what it makes: pinned bases, a small tree with production code alone, entries that exist. */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { assemble } from '../../../../deploy/image/assemble.ts';
import { lastOf, parseDockerfile, stageOf } from '../../../../deploy/image/dockerfile.ts';

const ROOT = join(import.meta.dirname, '../../../..');
const text = readFileSync(join(ROOT, 'Dockerfile'), 'utf8');
const stages = parseDockerfile(text);
const platform = `${process.platform}-${process.arch}`;
const noPinnedNode = existsSync(join(ROOT, `node_modules/node-${platform}/bin/node`))
  ? false
  : `no pinned Node for ${platform}`;
const docker = spawnSync('docker', ['version', '--format', '{{.Server.Version}}'], { encoding: 'utf8' });
const noDocker = docker.status === 0 ? false : 'needs a Docker engine';

t.test('every base image is an argument with an argument for its digest, and none is made up', async (t) => {
  const own = new Set(stages.map(({ name }) => name));
  for (const { base } of stages.filter((stage) => !own.has(stage.base) && stage.base !== 'scratch')) {
    const match = /^\$\{(\w+)_IMAGE\}\$\{\1_DIGEST\}$/.exec(base);
    t.ok(match, `${base} is pinned by a digest argument`);
    t.match(text, new RegExp(`^ARG ${match?.[1]}_DIGEST=$`, 'm'));
  }
  t.notMatch(text, /sha256:[0-9a-f]{64}/);
});

t.test('the default target is production: unprivileged, started by the pinned Node, without npm', async (t) => {
  const production = stages.at(-1)!;
  t.equal(production.name, 'production');
  t.equal(lastOf(production, 'user'), '1717:1717');
  t.match(JSON.parse(lastOf(production, 'entrypoint')!), [
    '/understudy/bin/node',
    '/understudy/deploy/image/entry.mjs',
  ]);
  t.equal(lastOf(stageOf(stages, 'gpu'), 'user'), '1717:1717');
  t.same(
    stages.map(({ name }) => name).filter((name) => ['base', 'dev', 'gpu', 'production'].includes(name)),
    ['base', 'dev', 'gpu', 'production'],
  );
  t.match(text, /^RUN ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node$/m);
});

t.test('the assembled tree', { skip: noPinnedNode }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-tree-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const tree = join(folder, 'tree');
  assemble('production', tree);
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };

  t.test('holds every production dependency that is installed and no other', async (t) => {
    const wrong: string[] = [];
    for (const [path, { dev = false }] of Object.entries(lock.packages)) {
      if (path === '') continue;
      const wanted = !dev && existsSync(join(ROOT, path));
      if (existsSync(join(tree, path, 'package.json')) !== wanted) wrong.push(path);
    }
    t.same(wrong, []);
  });

  t.test('holds no tests, tools, demo, secrets or libraries for other platforms', async (t) => {
    for (const path of [
      'test',
      '.git',
      'package-lock.json',
      '.npmrc',
      'understudy.mjs',
      'deploy/demo',
      'node_modules/.bin',
      'node_modules/npm',
      'node_modules/typescript',
    ]) {
      t.notOk(existsSync(join(tree, path)), path);
    }
    t.same(globSync('{base,proto,proxy,inference-worker,deploy}/**/*.test.ts', { cwd: tree }), []);
    t.same(globSync('node_modules/onnxruntime-node/bin/napi-v6/*/*', { cwd: tree }), [
      `node_modules/onnxruntime-node/bin/napi-v6/${process.platform}/${process.arch}`,
    ]);
  });

  t.test('starts each program by the entry, whose table is that of understudy.mjs', async (t) => {
    const node = join(tree, 'bin/node');
    const entry = join(tree, 'deploy/image/entry.mjs');
    const run = (...args: string[]) =>
      spawnSync(node, [entry, ...args], { encoding: 'utf8', env: {}, cwd: '/', timeout: 20_000 });
    t.match(run('worker', '--version').stdout, /understudy inference worker \d/);
    t.match(run('config', 'explain').stdout, /UNDERSTUDY_OUTBOUND_LISTEN/);
    const both = run('intercept', 'print', '&&', 'worker', '--version');
    t.match(both.stdout, /UNDERSTUDY_OUTPUT[\s\S]*inference worker/, 'one after the other');
    const failing = run('intercept', 'print', '--no-such-flag', 'x', '&&', 'worker', '--version');
    t.equal(failing.status, 2, 'a failure ends the line');
    t.notMatch(failing.stdout, /inference worker/);
    t.equal(run('npm').status, 2);
    t.equal(run('injector').status, 1, 'without a certificate there is no injector');
    const { PROGRAMS } = (await import(join(ROOT, 'deploy/image/entry.mjs'))) as {
      PROGRAMS: Record<string, { file: string; first?: string }>;
    };
    const launcher = readFileSync(join(ROOT, 'understudy.mjs'), 'utf8');
    for (const [name, { file, first }] of Object.entries(PROGRAMS)) {
      if (name === 'injector') continue;
      const line = new RegExp(
        `^\\s*${name}: \\{ file: '${file}'.*${first === undefined ? '' : `first: '${first}'`}`,
        'm',
      );
      t.match(launcher, line, `${name} is the same in both`);
    }
  });

  t.test(
    'needs no system library beyond those its base stage installs',
    { skip: process.platform !== 'linux' && 'ldd is for Linux' },
    async (t) => {
      // libc, and libatomic1 and libstdc++6 with the libgcc they depend on.
      const known = /^(?:linux-vdso|\/lib.*\/ld-linux|lib(?:c|m|dl|rt|pthread|gcc_s|stdc\+\+|atomic|onnxruntime)\.)/;
      const files = ['bin/node', ...globSync('node_modules/**/*.{node,so,so.1}', { cwd: tree })];
      t.ok(files.length >= 3, 'the pinned Node, onnxruntime and koffi');
      for (const file of files.filter((path) => !path.includes('musl'))) {
        const needed = spawnSync('ldd', [join(tree, file)], { encoding: 'utf8' }).stdout.split('\n');
        const names = needed.map((line) => line.trim().split(' ')[0]!).filter((name) => name !== '');
        t.same(
          names.filter((name) => !known.test(name)),
          [],
          file,
        );
      }
    },
  );

  t.test('is small: what a node has to pull stays below 260 MB', async (t) => {
    let bytes = 0;
    for (const file of globSync('**/*', { cwd: tree }))
      bytes += statSync(join(tree, file)).isFile() ? statSync(join(tree, file)).size : 0;
    // The link bin/node counts once more here.
    const megabytes = (bytes - statSync(join(tree, 'bin/node')).size) / 1e6;
    t.ok(megabytes < 260, `${megabytes.toFixed(0)} MB`);
  });
});

t.test('what is not in the build context, or does what the assembly does not know, is refused', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'understudy-context-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const attempt = (lines: string, into: string) => {
    writeFileSync(join(root, 'Dockerfile'), `FROM scratch AS files\nWORKDIR /understudy\n${lines}\n`);
    assemble('files', join(root, into), root);
  };
  writeFileSync(join(root, '.dockerignore'), '# secrets\n**/*.key\n');
  writeFileSync(join(root, 'tls.key'), '');
  writeFileSync(join(root, 'plain.txt'), '');
  symlinkSync('plain.txt', join(root, 'link.txt'));
  attempt('COPY plain.txt link.txt some/', 'good');
  t.ok(existsSync(join(root, 'good/some/link.txt')));
  t.throws(() => attempt('COPY tls.key .', 'ignored'), /not in the build context/);
  t.throws(() => attempt('COPY nothing.txt .', 'absent'), /not in the build context/);
  t.throws(() => attempt('RUN curl https://example.com | sh', 'run'), /not known here/);
  t.throws(() => attempt('COPY --chmod=777 plain.txt .', 'option'), /not an option this reader knows/);
  t.throws(() => attempt('ADD plain.txt .', 'add'), /not an instruction this reader knows/);
});

/** The base images of CUDA are gigabytes, and so are its libraries. */
const noGpuBuild = process.env['UNDERSTUDY_TEST_GPU_IMAGE'] === '1' ? false : 'needs UNDERSTUDY_TEST_GPU_IMAGE=1';

for (const { name } of stages) {
  const skip = noDocker || (name.startsWith('gpu') ? noGpuBuild : false);
  t.test(`docker builds the ${name} stage`, { skip, timeout: 900_000 }, async (t) => {
    const { status, stderr } = spawnSync('docker', ['build', '--quiet', '--target', name, ROOT], { encoding: 'utf8' });
    t.equal(status, 0, stderr);
  });
}
