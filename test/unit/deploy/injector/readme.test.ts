/** deploy/README.md: its table of annotations is the injector's, and its example pod is one the injector takes. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { ANNOTATIONS, type AnnotationSpec } from '../../../../deploy/injector/annotations.ts';
import { INJECTOR_FIELDS } from '../../../../deploy/injector/settings.ts';
import { runConfigCommand } from '../../../../proxy/cli/config-command.ts';
import type { Field } from '../../../../proxy/config/field.ts';
import { inject } from './reviews.ts';

const readme = readFileSync(join(import.meta.dirname, '../../../../deploy/README.md'), 'utf8');

t.test('every annotation stands in the table as it is', async (t) => {
  for (const [name, spec] of Object.entries(ANNOTATIONS) as [string, AnnotationSpec][]) {
    const standard = spec.default === '' ? '' : `\`${spec.default}\``;
    const row = `| \`${name}\` | ${standard} | ${spec.form} | ${spec.meaning} |`;
    t.ok(readme.includes(`\n${row}\n`), `${name}; the row is: ${row}`);
  }
});

t.test('the table has no annotation that is not there', async (t) => {
  const table = readme.slice(readme.indexOf('## Annotations'), readme.indexOf('Settings of our programs'));
  const named = [...table.matchAll(/^\| `([a-z-]+)` \|/gm)].map((match) => match[1]);
  t.same(named.sort(), Object.keys(ANNOTATIONS).sort());
});

t.test('the example pod is injected', async (t) => {
  const [, example = ''] = /```yaml\n(apiVersion[\s\S]*?)```/.exec(readme) ?? [];
  const injected = inject(parse(example));
  t.same(
    injected.spec.initContainers.map(({ name }: { name: string }) => name),
    ['understudy-worker', 'understudy-proxy', 'understudy-interception'],
  );
});

t.test('the example document is one that the proxy takes', async (t) => {
  const [, example = ''] = /```yaml\n(clusters[\s\S]*?)```/.exec(readme) ?? [];
  const folder = mkdtempSync(join(tmpdir(), 'understudy-readme-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'mesh.yaml'), example);
  let said = '';
  const io = { stdout: (text: string) => (said += text), stderr: (text: string) => (said += text), env: {} };
  t.equal(runConfigCommand(['check', join(folder, 'mesh.yaml')], io), 0, said);
});

t.test('every setting of the injector stands in its table, and no other', async (t) => {
  const rows = Object.entries(INJECTOR_FIELDS as Record<string, Field>).map(([name, field]) => {
    const value = field.default === null ? `unset: ${field.unset}` : `\`${field.default}\``;
    const cells = [`\`UNDERSTUDY_INJECTOR_${name}\``, typeOf(field), value, field.reloadable ? 'yes' : 'no'];
    return `| ${cells.join(' | ')} | ${field.reason} |`;
  });
  t.same(readme.match(/^\| `UNDERSTUDY_INJECTOR_.*$/gm), rows);
});

function typeOf(field: Field): string {
  if (field.kind === 'choice') return `one of ${field.choices!.join(', ')}`;
  if (field.kind === 'duration') return 'duration (ms, s, m, h or d)';
  return field.kind === 'listen' ? 'one IP:PORT' : field.kind;
}
