/**
 * Reads `model.yaml`, what a registry knows about a version: who made it, from what, and how good it is. It is shown by
 * status calls and decides nothing, so a file that cannot be read costs the card and not the version.
 */
import { parseDocument } from 'yaml';

/** Every field is optional in the file; strings are '' and collections empty where it says nothing. */
export interface ModelCard {
  readonly name: string;
  readonly version: string;
  readonly framework: string;
  readonly task: string;
  readonly inputShape: readonly number[];
  readonly outputType: string;
  readonly metrics: ReadonlyMap<string, number>;
  readonly trainedOn: string;
  readonly createdBy: string;
  readonly createdAt: string;
  readonly status: string;
}

/** Longest file read, in bytes, and most metrics kept. */
export const MAX_CARD_BYTES = 64 * 1024;
const MAX_METRICS = 256;
const MAX_DIMENSIONS = 64;

/** The card of a file's text, or every mistake in it. Fields it does not know are left alone. */
export function parseModelCard(text: string): { card: ModelCard | null; problems: string[] } {
  const document = parseDocument(text, { version: '1.2', schema: 'core', uniqueKeys: true });
  const [error] = document.errors;
  if (error !== undefined) return { card: null, problems: [error.message.split('\n')[0]!] };
  let root: unknown;
  try {
    root = document.toJS({ maxAliasCount: 16 });
  } catch (cause) {
    return { card: null, problems: [(cause as Error).message] };
  }
  if (root === null || typeof root !== 'object' || Array.isArray(root)) {
    return { card: null, problems: ['expected fields such as name: and version:'] };
  }
  const fields = root as Record<string, unknown>;
  const problems: string[] = [];
  const card: ModelCard = {
    name: textOf(fields, 'name', problems),
    version: textOf(fields, 'version', problems),
    framework: textOf(fields, 'framework', problems),
    task: textOf(fields, 'task', problems),
    inputShape: shapeOf(fields, problems),
    outputType: textOf(fields, 'output_type', problems),
    metrics: metricsOf(fields, problems),
    trainedOn: textOf(fields, 'trained_on', problems),
    createdBy: textOf(fields, 'created_by', problems),
    createdAt: textOf(fields, 'created_at', problems),
    status: textOf(fields, 'status', problems),
  };
  return problems.length > 0 ? { card: null, problems } : { card, problems };
}

/** The card as `model.yaml` would have it, fields without a value left out: for status calls in JSON. */
export function cardFields(card: ModelCard): Record<string, unknown> {
  const all: Record<string, unknown> = {
    name: card.name,
    version: card.version,
    framework: card.framework,
    task: card.task,
    input_shape: card.inputShape,
    output_type: card.outputType,
    metrics: Object.fromEntries(card.metrics),
    trained_on: card.trainedOn,
    created_by: card.createdBy,
    created_at: card.createdAt,
    status: card.status,
  };
  const said = Object.entries(all).filter(([, value]) => typeof value !== 'string' || value !== '');
  return Object.fromEntries(
    said.filter(([, value]) => typeof value === 'string' || Object.keys(value as object).length),
  );
}

function textOf(fields: Record<string, unknown>, name: string, problems: string[]): string {
  const value = fields[name];
  if (value === undefined || value === null) return '';
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return String(value);
  problems.push(`${name}: expected a text`);
  return '';
}

function shapeOf(fields: Record<string, unknown>, problems: string[]): number[] {
  const value = fields['input_shape'];
  if (value === undefined || value === null) return [];
  if (Array.isArray(value) && value.length <= MAX_DIMENSIONS && value.every(Number.isSafeInteger)) return value;
  problems.push('input_shape: expected a list of whole numbers');
  return [];
}

function metricsOf(fields: Record<string, unknown>, problems: string[]): Map<string, number> {
  const value = fields['metrics'];
  if (value === undefined || value === null) return new Map();
  const entries = typeof value === 'object' && !Array.isArray(value) ? Object.entries(value) : [];
  if (
    entries.length > 0 &&
    entries.length <= MAX_METRICS &&
    entries.every(([, number]) => typeof number === 'number')
  ) {
    return new Map(entries as [string, number][]);
  }
  problems.push(`metrics: expected at most ${MAX_METRICS} names with numbers`);
  return new Map();
}
