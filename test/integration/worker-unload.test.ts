/** Memory of unloaded models comes back: twenty cycles of a model of 100 MiB, in a process made as a group's is. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { CHILD_ENVIRONMENT } from '../../inference-worker/supervision/group-fork.ts';
import { large, TestModels } from '../support/test-models.ts';

const CYCLES = 20;
const MODEL_MIB = 100;

// A busy machine reads its two gigabytes slowly, and loading gives way to whatever else runs.
t.setTimeout(290_000);

t.test('after twenty cycles resident memory is within a tenth of before', async (t) => {
  const models = new TestModels();
  t.teardown(() => models.close());
  const path = models.write(large(MODEL_MIB));
  const program = join(import.meta.dirname, '..', 'support', 'unload-cycles.ts');
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', program, path, String(CYCLES)], {
    env: { ...process.env, ...CHILD_ENVIRONMENT },
  });
  const { rssMiBBefore, rssMiBLoaded, rssMiBAfter } = JSON.parse(stdout) as Record<string, number>;
  t.comment(stdout.trim());
  t.ok(rssMiBLoaded! > rssMiBBefore! + MODEL_MIB * 0.9, 'the model was there');
  t.ok(rssMiBAfter! < rssMiBBefore! * 1.1, `${rssMiBBefore} MiB before, ${rssMiBAfter} MiB after`);
});
