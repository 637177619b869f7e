import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  scanModelDirectory,
  scanRepositoryDirectory,
} from '../../../../inference-worker/repository/model-directory.ts';
import { ModelDirectory } from './support.ts';

t.test('versions are the numeric children that hold a model file', async (t) => {
  const base = new ModelDirectory();
  t.teardown(() => base.remove());
  for (const name of ['1', '00000123', 'latest', '-4', '9223372036854775808']) base.put(`m/${name}`);
  mkdirSync(join(base.path, 'm/7'), { recursive: true });
  const scan = await scanModelDirectory(join(base.path, 'm'));
  if (scan.kind !== 'found') throw new Error(scan.reason);
  t.same([...scan.versions.keys()].sort(), [1n, 123n], 'a directory still without its file is no version yet');
  t.equal(scan.versions.get(123n)?.path, join(base.path, 'm/00000123/model.onnx'));
});

t.test('of two directories with one number the first by name is used and the other reported', async (t) => {
  const base = new ModelDirectory();
  t.teardown(() => base.remove());
  base.put('m/1');
  base.put('m/001');
  const scan = await scanModelDirectory(join(base.path, 'm'));
  if (scan.kind !== 'found') throw new Error(scan.reason);
  t.equal(scan.versions.get(1n)?.path, join(base.path, 'm/001/model.onnx'));
  t.equal(scan.warnings.length, 1);
});

t.test('a replaced file changes the fingerprint', async (t) => {
  const base = new ModelDirectory();
  t.teardown(() => base.remove());
  base.put('m/1', 'one');
  const first = await scanModelDirectory(join(base.path, 'm'));
  base.put('m/1', 'another length');
  const second = await scanModelDirectory(join(base.path, 'm'));
  if (first.kind !== 'found' || second.kind !== 'found') throw new Error('unreadable');
  t.not(first.versions.get(1n)?.fingerprint, second.versions.get(1n)?.fingerprint);
});

t.test('a missing base path is unreadable, which is not the same as empty', async (t) => {
  const scan = await scanModelDirectory('/nonexistent/model');
  t.equal(scan.kind, 'unreadable');
  t.type(await scanRepositoryDirectory('/nonexistent'), 'string');
});

t.test('hidden children of a repository directory are not models', async (t) => {
  const base = new ModelDirectory();
  t.teardown(() => base.remove());
  base.put('a/1');
  base.put('..data/1');
  t.same(await scanRepositoryDirectory(base.path), ['a']);
});
