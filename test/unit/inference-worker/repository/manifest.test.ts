import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { checkManifest, parseManifest } from '../../../../inference-worker/repository/manifest.ts';

const digest = (text: string) => createHash('sha256').update(text).digest('hex');

function version(t: Test, files: Readonly<Record<string, string>>, manifest: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-manifest-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(directory, path, '..'), { recursive: true });
    writeFileSync(join(directory, path), text);
  }
  if (manifest !== '') writeFileSync(join(directory, 'manifest.sha256'), manifest);
  return directory;
}

t.test('a version whose files are as listed holds, one without a manifest was not checked', async (t) => {
  const files = { 'model.onnx': 'm', 'assets.extra/x': 'x', '..data/hidden': 'volume machinery' };
  const manifest = `# made by the pipeline\n${digest('m')}  model.onnx\n${digest('x')} *./assets.extra/x\n`;
  t.equal(await checkManifest(version(t, files, manifest)), true);
  t.equal(await checkManifest(version(t, files, '')), false);
});

t.test('whatever differs from the manifest is named', async (t) => {
  const good = `${digest('m')}  model.onnx\n`;
  const cases: [string, Record<string, string>, string, RegExp][] = [
    ['a changed file', { 'model.onnx': 'changed' }, good, /model\.onnx has SHA-256 [0-9a-f]{64}, the manifest/],
    ['a file too many', { 'model.onnx': 'm', 'weights.bin': 'w' }, good, /weights\.bin is not listed/],
    ['a missing file', { 'model.onnx': 'm' }, `${good}${digest('x')}  gone.bin\n`, /gone\.bin cannot be read/],
    ['no word about the model', { 'model.onnx': 'm' }, `${digest('x')}  x\n`, /model\.onnx is not listed/],
    ['no manifest at all', { 'model.onnx': 'm' }, 'hello\n', /line 1: expected 64 hex digits/],
  ];
  for (const [name, files, manifest, message] of cases) {
    await t.rejects(checkManifest(version(t, files, manifest)), { message, code: 15 }, name);
  }
});

t.test('paths stay below the version', async (t) => {
  for (const path of ['/etc/passwd', '../2/model.onnx', 'a/../../b']) {
    t.match(parseManifest(`${digest('x')}  ${path}\n`), /is not below the version/, path);
  }
  t.match(parseManifest(`${digest('x')}  a\n${digest('y')}  ./a\n`), /listed twice/);
});
