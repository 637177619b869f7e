/**
 * Reads `signatures.yaml`, which gives a model the signatures ONNX has no place for:
 *
 *   signatures:
 *     serving_default:                       # replaces the one made from the graph
 *       method: predict                      # or classify, regress; the full names are understood too
 *       inputs:  { features: x }             # alias: tensor of the graph; those not named keep their own names
 *       outputs: { scores: y }               # alias: tensor of the graph; without it, all of them
 *     iris:
 *       method: classify                     # needs an output `scores` or `classes`; regress needs `outputs`
 *       outputs: { scores: y }
 *       features: { x: [sepal_length, sepal_width] }   # input alias: the tf.Example features that make its row
 *       defaults: { x: [0, 0] }              # a row for examples without them
 *       labels: [setosa, versicolor]         # names of the classes where no output holds them
 *
 * Here the text is checked by itself; `signature-set.ts` checks it against a graph.
 */
import { parseDocument } from 'yaml';
import { CLASSIFY_METHOD_NAME, PREDICT_METHOD_NAME, REGRESS_METHOD_NAME } from './signature.ts';

export interface SignatureEntry {
  readonly name: string;
  readonly methodName: string;
  /** Alias to tensor name. */
  readonly inputs: ReadonlyMap<string, string>;
  /** Alias to tensor name; null for all outputs under their own names. */
  readonly outputs: ReadonlyMap<string, string> | null;
  /** Input alias to feature names. */
  readonly features: ReadonlyMap<string, readonly string[]>;
  readonly defaults: ReadonlyMap<string, readonly (number | string)[]>;
  readonly labels: readonly string[];
}

export interface SignatureFile {
  readonly entries: readonly SignatureEntry[];
}

/** Most signatures, and most entries of any list or map within one. */
const MAX_SIGNATURES = 256;
const MAX_ENTRIES = 100_000;

const METHODS: Readonly<Record<string, string>> = {
  predict: PREDICT_METHOD_NAME,
  classify: CLASSIFY_METHOD_NAME,
  regress: REGRESS_METHOD_NAME,
};

/** The file of a text, or every mistake in it with the place it is at. */
export function parseSignatureFile(text: string): { file: SignatureFile | null; problems: string[] } {
  const document = parseDocument(text, { version: '1.2', schema: 'core', uniqueKeys: true });
  const [error] = document.errors;
  if (error !== undefined) return { file: null, problems: [error.message.split('\n')[0]!] };
  let root: unknown;
  try {
    root = document.toJS({ maxAliasCount: 16 });
  } catch (cause) {
    return { file: null, problems: [(cause as Error).message] };
  }
  const reader = new EntryReader();
  const top = reader.mapAt(root, 'the file', ['signatures']);
  const signatures = reader.mapAt(top.get('signatures'), 'signatures', null);
  if (signatures.size === 0) reader.problems.push('signatures: expected at least one');
  if (signatures.size > MAX_SIGNATURES) reader.problems.push(`signatures: expected at most ${MAX_SIGNATURES}`);
  const entries = [...signatures].slice(0, MAX_SIGNATURES).map(([name, value]) => readEntry(reader, name, value));
  const { problems } = reader;
  return problems.length > 0 ? { file: null, problems } : { file: { entries }, problems };
}

const FIELDS = ['method', 'inputs', 'outputs', 'features', 'defaults', 'labels'];

function readEntry(reader: EntryReader, name: string, value: unknown): SignatureEntry {
  const at = (field: string): string => `signatures.${name}.${field}`;
  const fields = reader.mapAt(value ?? {}, `signatures.${name}`, FIELDS);
  const method = fields.get('method') ?? 'predict';
  const methodName = METHODS[String(method)] ?? Object.values(METHODS).find((full) => full === method) ?? '';
  if (methodName === '') reader.problems.push(`${at('method')}: expected predict, classify or regress`);
  const outputs = fields.get('outputs');
  const features = reader.mapAt(fields.get('features') ?? {}, at('features'), null);
  const defaults = reader.mapAt(fields.get('defaults') ?? {}, at('defaults'), null);
  for (const alias of defaults.keys()) {
    if (!features.has(alias)) reader.problems.push(`${at('defaults')}.${alias}: no features are given for this input`);
  }
  return {
    name,
    methodName,
    inputs: reader.textsAt(fields.get('inputs') ?? {}, at('inputs')),
    outputs: outputs === undefined || outputs === null ? null : reader.textsAt(outputs, at('outputs')),
    features: mapped(features, (names, alias) => reader.namesAt(names, `${at('features')}.${alias}`)),
    defaults: mapped(defaults, (row, alias) => reader.rowAt(row, `${at('defaults')}.${alias}`)),
    labels: reader.labelsAt(fields.get('labels') ?? [], at('labels')),
  };
}

function mapped<T>(map: ReadonlyMap<string, unknown>, read: (value: unknown, key: string) => T): Map<string, T> {
  return new Map([...map].map(([key, value]) => [key, read(value, key)]));
}

/** Reads plain values into precise types, collecting what is not as expected. */
class EntryReader {
  readonly problems: string[] = [];

  /** The fields of a map; with `known` any other field is a mistake. */
  mapAt(value: unknown, path: string, known: readonly string[] | null): Map<string, unknown> {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) {
      this.problems.push(`${path}: expected fields`);
      return new Map();
    }
    const map = new Map(Object.entries(value));
    if (map.size > MAX_ENTRIES) this.problems.push(`${path}: expected at most ${MAX_ENTRIES} entries`);
    if (known === null) return map;
    for (const field of map.keys()) {
      if (!known.includes(field)) this.problems.push(`${path}: unknown field ${field}, expected ${known.join(', ')}`);
    }
    return map;
  }

  textsAt(value: unknown, path: string): Map<string, string> {
    return mapped(this.mapAt(value, path, null), (text, key) => {
      if (typeof text === 'string' && text !== '') return text;
      this.problems.push(`${path}.${key}: expected the name of a tensor`);
      return '';
    });
  }

  /** One name, or several in a list. */
  namesAt(value: unknown, path: string): string[] {
    const names = Array.isArray(value) ? value : [value];
    const whole = names.filter((name): name is string => typeof name === 'string' && name !== '');
    if (whole.length < names.length || names.length === 0 || names.length > MAX_ENTRIES) {
      this.problems.push(`${path}: expected the name of a feature, or a list of names`);
    }
    return whole;
  }

  /** One value, or several in a list. */
  rowAt(value: unknown, path: string): (number | string)[] {
    const row = Array.isArray(value) ? value : [value];
    const whole = row.filter((one) => typeof one === 'number' || typeof one === 'string');
    if (whole.length < row.length || row.length > MAX_ENTRIES) {
      this.problems.push(`${path}: expected numbers or texts`);
    }
    return whole;
  }

  labelsAt(value: unknown, path: string): string[] {
    if (Array.isArray(value) && value.length <= MAX_ENTRIES && value.every((one) => typeof one !== 'object')) {
      return value.map(String);
    }
    this.problems.push(`${path}: expected a list of names`);
    return [];
  }
}
