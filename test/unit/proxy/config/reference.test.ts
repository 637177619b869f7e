import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { referenceMarkdown } from '../../../../proxy/config/reference.ts';
import { schemaEntries } from '../../../../proxy/config/schema.ts';

const FILE = join(import.meta.dirname, '../../../../CONFIGURATION.md');

t.test('CONFIGURATION.md is what the schema says', async (t) => {
  // Remedy: npm run --silent understudy -- config explain --markdown > CONFIGURATION.md
  t.equal(readFileSync(FILE, 'utf8'), referenceMarkdown());
});

t.test('every setting has a row, and no cell breaks the table', async (t) => {
  const rows = referenceMarkdown()
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  t.equal(rows.length, schemaEntries().length);
  for (const row of rows) t.equal(row.replaceAll('\\|', '').split('|').length, 8, row);
});
