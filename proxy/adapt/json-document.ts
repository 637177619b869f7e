/**
 * A JSON answer of a configured HTTP route adapted by paths. Numbers that nobody casts keep the text they came in, whatever
 * a double would make of them; members keep their order.
 */
import { Char, checkDocument, JsonScanner } from '../../proto/tensor/json-scanner.ts';
import type { JsonRule, PathStep } from '../config/answer-policy.ts';
import { AdaptError } from './adapt-error.ts';

type Json = unknown;
type JsonObject = Record<string, Json>;

interface RawNumber {
  readonly rawJSON: string;
}

/** What the library knows of these two comes with a later version of its types. */
const RawJson = JSON as unknown as {
  rawJSON(text: string): RawNumber;
  isRawJSON(value: unknown): value is RawNumber;
  parse(text: string, revive: (key: string, value: unknown, context: { source?: string }) => unknown): unknown;
};

const scanner = new JsonScanner();

/**
 * The document at `[start, end)` with the rules applied in their order, and `versionText` as the member `versionField` of
 * the whole ('' for none). @throws JsonError, SyntaxError, AdaptError
 */
export function adaptDocument(
  buf: Buffer,
  start: number,
  end: number,
  rules: readonly JsonRule[],
  versionField: string,
  versionText: string,
): Buffer {
  // Bounds the depth before anything recursive looks at it.
  checkDocument(scanner, buf, start, end);
  if (rules.length === 0) return withMember(buf, start, end, versionField, versionText);
  scanner.release();
  const root = RawJson.parse(buf.toString('utf8', start, end), keepNumberText);
  for (const rule of rules) visit(root, rule, 0);
  if (versionField !== '') objectAt(root, versionField)[versionField] = versionText;
  return Buffer.from(JSON.stringify(root));
}

/** The object with one member added at its end, in the place of any of that name; nothing else is read. */
function withMember(buf: Buffer, start: number, end: number, name: string, value: string): Buffer {
  const parts: Buffer[] = [];
  scanner.reset(buf, start, end);
  if (scanner.peek() !== Char.openObject) throw misfit(`${name}: its parent is no object`);
  scanner.pos++;
  while (scanner.peek() !== Char.closeObject) {
    const from = scanner.pos;
    scanner.passKey();
    const isNamed = scanner.stringIs(name);
    scanner.passValue();
    if (!isNamed) parts.push(buf.subarray(from, scanner.pos), COMMA);
    if (scanner.peek() === Char.comma) scanner.pos++;
  }
  scanner.release();
  const member = Buffer.from(`${JSON.stringify(name)}:${JSON.stringify(value)}}`);
  return Buffer.concat([OPEN, ...parts, member]);
}

const OPEN = Buffer.from('{');
const COMMA = Buffer.from(',');

function keepNumberText(_key: string, value: unknown, { source }: { source?: string }): unknown {
  return typeof value === 'number' && source !== undefined && String(value) !== source
    ? RawJson.rawJSON(source)
    : value;
}

function visit(node: Json, rule: JsonRule, at: number): void {
  // There is nothing to drop.
  if (rule.drop && node === undefined) return;
  const step = rule.path[at]!;
  const isLast = at === rule.path.length - 1;
  if (!step.each) {
    if (isLast) apply(objectAt(node, step.key), step.key, rule);
    else visit(inside(node, step, rule), rule, at + 1);
    return;
  }
  const list = step.key === '' ? node : inside(node, step, rule);
  if (!Array.isArray(list)) {
    if (rule.drop && list === undefined) return;
    throw misfit(`${step.key}[] is no list`);
  }
  for (let i = 0; i < list.length; i++) {
    if (isLast) list[i] = castValue(list[i], rule);
    else visit(list[i], rule, at + 1);
  }
}

function inside(node: Json, { key }: PathStep, rule: JsonRule): Json {
  const value = objectAt(node, key)[key];
  if (value === undefined && !rule.drop) throw misfit(`there is no ${key}`);
  return value;
}

/** One member of one object. */
function apply(object: JsonObject, key: string, rule: JsonRule): void {
  if (rule.drop) {
    delete object[key];
    return;
  }
  const source = rule.from === '' ? key : rule.from;
  let value = Object.hasOwn(object, source) ? object[source] : undefined;
  if (source !== key) delete object[source];
  if (value === undefined || value === null) {
    if (rule.fill === null) throw misfit(`there is no ${source}`);
    value = RawJson.parse(rule.fill, keepNumberText);
  } else {
    value = castValue(value, rule);
  }
  object[key] = value;
}

function castValue(value: Json, { cast, fill }: JsonRule): Json {
  if (value === null && fill !== null) return RawJson.parse(fill, keepNumberText);
  switch (cast) {
    case 'none':
      return value;
    case 'string':
      return textOf(value);
    case 'boolean':
      return flagOf(value);
    case 'number':
      return isNumber(value) ? value : numberOf(value);
    default:
      return wholeOf(value);
  }
}

function isNumber(value: Json): boolean {
  return typeof value === 'number' || RawJson.isRawJSON(value);
}

function textOf(value: Json): string {
  if (RawJson.isRawJSON(value)) return value.rawJSON;
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw misfit('a list, an object or null is no string');
}

function numberOf(value: Json): number {
  if (typeof value === 'boolean') return value ? 1 : 0;
  const text = typeof value === 'string' ? value.trim() : '';
  const number = RawJson.isRawJSON(value) ? Number(value.rawJSON) : typeof value === 'number' ? value : Number(text);
  if (!Number.isFinite(number) || (typeof value === 'string' && text === '')) throw misfit('the value is no number');
  if (typeof value === 'object' && !RawJson.isRawJSON(value)) throw misfit('the value is no number');
  return number;
}

/** Integers keep their text, which may have more digits than a double. */
function wholeOf(value: Json): Json {
  const text = RawJson.isRawJSON(value) ? value.rawJSON : typeof value === 'string' ? value.trim() : '';
  if (/^-?(?:0|[1-9]\d*)$/.test(text)) return RawJson.rawJSON(text);
  const number = numberOf(value);
  const below = Math.floor(number);
  const rest = number - below;
  const whole = rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
  return Number.isSafeInteger(whole) ? whole : RawJson.rawJSON(BigInt(whole).toString());
}

function flagOf(value: Json): boolean {
  if (typeof value === 'boolean') return value;
  if (isNumber(value)) return numberOf(value) !== 0;
  if (value === 'true' || value === 'false') return value === 'true';
  throw misfit('the value is neither true nor false');
}

function objectAt(node: Json, key: string): JsonObject {
  if (typeof node === 'object' && node !== null && !Array.isArray(node) && !RawJson.isRawJSON(node)) {
    return node as JsonObject;
  }
  throw misfit(`${key}: its parent is no object`);
}

function misfit(problem: string): AdaptError {
  return new AdaptError('misfit', problem);
}
