import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BoundedWriter } from '../../../base/bounded-writer.ts';

t.test('lines come out whole and in order, and end waits for them', async (t) => {
  const path = join(t.testdir({}), 'log');
  const writer = await BoundedWriter.onFile(path);
  for (let i = 0; i < 5000; i++) t.ok(writer.writeLine(`line ${i}\n`) || i < 0);
  await writer.end();
  t.equal(readFileSync(path, 'utf8'), Array.from({ length: 5000 }, (_, i) => `line ${i}\n`).join(''));
  t.notOk(writer.writeLine('too late\n'));
});

t.test('at the bound lines are dropped and counted, and nothing waits', async (t) => {
  const path = join(t.testdir({}), 'log');
  const writer = await BoundedWriter.onFile(path);
  const line = `${'x'.repeat(1023)}\n`;
  let taken = 0;
  for (let i = 0; i < 3000; i++) if (writer.writeLine(line)) taken++;
  t.equal(taken, 1024);
  t.equal(writer.dropped, 3000 - 1024);
  await writer.end();
  t.equal(readFileSync(path).length, 1024 * 1024);
});

t.test(
  'a full disk loses lines and harms nothing',
  { skip: process.platform !== 'linux' && '/dev/full' },
  async (t) => {
    const fd = openSync('/dev/full', 'w');
    t.teardown(() => closeSync(fd));
    const writer = BoundedWriter.onDescriptor(fd);
    t.ok(writer.writeLine('lost\n'));
    await writer.end();
    t.equal(writer.failures, 1);
  },
);
