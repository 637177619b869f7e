/** The schema in words, for `understudy config explain` and `--help`. */

import { type SchemaEntry, schemaEntries } from './schema.ts';

const WIDTH = 100;

const HEADINGS: Readonly<Record<SchemaEntry['place'], string>> = {
  environment: 'Environment variables',
  document: 'Document fields (YAML or JSON, from UNDERSTUDY_CONFIG_FILE or UNDERSTUDY_CONFIG)',
};

/** Every setting with type, default, bounds and reason, at most 100 columns wide. */
export function explainText(): string {
  const lines: string[] = [];
  let place: SchemaEntry['place'] | null = null;
  for (const entry of schemaEntries()) {
    if (entry.place !== place) {
      place = entry.place;
      lines.push(lines.length === 0 ? '' : '\n', HEADINGS[place], '='.repeat(HEADINGS[place].length));
    }
    lines.push('', ...explainEntry(entry));
  }
  return `${lines.join('\n').trim()}\n`;
}

/** The same as one JSON array. */
export function explainJson(): string {
  return `${JSON.stringify(schemaEntries(), null, 2)}\n`;
}

function explainEntry(entry: SchemaEntry): string[] {
  const isGroup = entry.type === 'mapping' || entry.type === 'list';
  const facts = [`type ${entry.type}`];
  if (entry.unit !== '') facts.push(`unit ${entry.unit}`);
  if (!isGroup) facts.push(defaultFact(entry), entry.reloadable ? 'reloadable' : 'needs a restart');
  if (entry.secret) facts.push('secret');
  return [
    entry.name,
    ...wrap(facts.join('; ')),
    ...(entry.type === 'text' ? [] : wrap(`accepts ${entry.accepts}`)),
    ...wrap(entry.reason),
  ];
}

function defaultFact(entry: SchemaEntry): string {
  if (entry.required) return 'required';
  return entry.default === null ? `unset: ${entry.unset ?? 'nothing'}` : `default ${entry.default}`;
}

/** Breaks a sentence at spaces into lines indented by four. */
function wrap(text: string): string[] {
  const lines: string[] = [];
  let line = '   ';
  for (const word of text.split(' ')) {
    if (line.length + word.length + 1 > WIDTH && line.trim() !== '') {
      lines.push(line);
      line = '   ';
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}
