import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { SETTING_NAMES } from '../../../../deploy/injector/program-settings.ts';
import { FLAG_TABLE } from '../../../../inference-worker/worker-flags.ts';
import { environmentTwin, FLAGS, type FlagSpec } from '../../../../proxy/cli/intercept-flags.ts';
import { wholeReference } from '../../../../proxy/cli/reference.ts';
import { PROCESS_FIELDS } from '../../../../proxy/config/process-fields.ts';
import { referenceMarkdown } from '../../../../proxy/config/reference.ts';
import { schemaEntries } from '../../../../proxy/config/schema.ts';

const FILE = join(import.meta.dirname, '../../../../CONFIGURATION.md');

t.test('CONFIGURATION.md is what the schema and the tables of flags say', async (t) => {
  // Remedy: npm run --silent understudy -- config explain --markdown > CONFIGURATION.md
  t.equal(readFileSync(FILE, 'utf8'), wholeReference());
});

t.test('every setting has a row, and no cell breaks the table', async (t) => {
  const rows = referenceMarkdown()
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  t.equal(rows.length, schemaEntries().length);
  for (const row of rows) t.equal(row.replaceAll('\\|', '').split('|').length, 8, row);
});

t.test('every flag of interception stands in one table with its variable and its annotation', async (t) => {
  const section = wholeReference().split('## Interception')[1]!.split('\n## ')[0]!;
  const rows = section.split('\n').filter((line) => line.startsWith('| `'));
  t.equal(rows.length, FLAGS.length);
  for (const [i, spec] of (FLAGS as readonly FlagSpec[]).entries()) {
    const [flag, variable, annotation] = cellsOf(rows[i]!);
    t.equal(flag, `\`--${spec.flag}\``);
    t.equal(variable, `\`${environmentTwin(spec.flag)}\``);
    const settable = SETTING_NAMES.intercept.get(spec.flag) === environmentTwin(spec.flag) && spec.inPods === undefined;
    t.equal(annotation === `\`intercept.understudy.dev/${spec.flag}\``, settable, spec.flag);
  }
});

t.test('every variable that a program reads is in the reference', async (t) => {
  const text = wholeReference();
  for (const { environment } of Object.values(PROCESS_FIELDS))
    t.ok(text.includes(`| \`${environment}\` |`), environment);
  for (const { flag } of FLAGS) t.ok(text.includes(`| \`${environmentTwin(flag)}\` |`), flag);
  for (const { name } of FLAG_TABLE) {
    if (name === 'help' || name === 'version') continue;
    t.ok(text.includes(`| \`--${name}\` | \`UNDERSTUDY_WORKER_${name.toUpperCase()}\` |`), name);
  }
  for (const line of text.split('\n').filter((row) => row.startsWith('| `'))) t.equal(cellsOf(line).length, 6, line);
});

function cellsOf(row: string): string[] {
  return row.replaceAll('\\|', '').slice(2, -2).split(' | ');
}
