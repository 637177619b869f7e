/** The schema as Markdown: the proxy's part of `CONFIGURATION.md`. */
import { type SchemaEntry, schemaEntries } from './schema.ts';

const INTRODUCTION = `# Configuration reference

Made from the schema by \`understudy config explain --markdown\`; do not edit it by hand. Everything is parsed before
anything fails, so one start reports every mistake with its name, value and what was expected. Durations and sizes need
a unit, percentages a \`%\`.
`;

const HEADINGS: Readonly<Record<SchemaEntry['place'], string>> = {
  environment: '## Environment variables',
  document:
    '## Document fields\n\nYAML or JSON, from the file `UNDERSTUDY_CONFIG_FILE` names (watched) or inline in `UNDERSTUDY_CONFIG`.',
};

/** Every setting with type, unit, default, what it accepts, whether an edit takes effect without a restart, and why. */
export function referenceMarkdown(): string {
  const parts = [INTRODUCTION];
  for (const place of ['environment', 'document'] as const) {
    parts.push(HEADINGS[place], '');
    parts.push('| name | type | default | reloadable | accepts | why |', '|---|---|---|---|---|---|');
    for (const entry of schemaEntries()) if (entry.place === place) parts.push(row(entry));
    parts.push('');
  }
  return parts.join('\n');
}

function row(entry: SchemaEntry): string {
  const type = entry.unit === '' ? entry.type : `${entry.type} (${entry.unit})`;
  const cells = [`\`${entry.name}\``, type, defaultOf(entry), reloadableOf(entry), entry.accepts, entry.reason];
  return `| ${cells.map(escaped).join(' | ')} |`;
}

function defaultOf(entry: SchemaEntry): string {
  if (entry.type === 'mapping' || entry.type === 'list') return '';
  if (entry.required) return 'required';
  return entry.default === null ? `unset: ${entry.unset ?? 'nothing'}` : `\`${entry.default}\``;
}

function reloadableOf(entry: SchemaEntry): string {
  return entry.reloadable ? 'yes' : 'no';
}

function escaped(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ');
}
