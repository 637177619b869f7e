/**
 * Model targets as settings write them: `credit-risk@2 5% via unix:/run/worker.sock`.
 *
 * The grammar is MODEL[@VERSION][ PERCENT%][ via ADDRESS]; a list separates targets with commas. A version is a
 * decimal int64 kept as text, because a JavaScript number loses digits above 2^53.
 */

import { parsePercentHundredths, UnitError } from '../../base/units.ts';
import { formatAddress, parseAddress } from './address.ts';
import type { CohortSource, EndpointAddress } from './snapshot.ts';

export interface ModelTarget {
  readonly model: string;
  /** Decimal int64 without leading zeros, '' to let the upstream choose. */
  readonly version: string;
  /** Null where none was written. */
  readonly percentHundredths: number | null;
  /** Null for the address its role has by default. */
  readonly address: EndpointAddress | null;
}

/** Largest version: TensorFlow Serving keeps versions as int64. */
export const MAX_VERSION = 2n ** 63n - 1n;

/** Most targets in one list. */
const MAX_TARGETS = 16;

export const NAME_EXPECTATION =
  'a name of at most 128 letters, digits, and . _ - / that starts with a letter, a digit or _';
export const CLUSTER_NAME_EXPECTATION =
  'a cluster name of at most 128 letters, digits, and . _ - / @ that starts with a letter, a digit or _';
export const VERSION_EXPECTATION = 'a version from 0 to 9223372036854775807 without leading zeros';
export const TARGET_EXPECTATION =
  'MODEL or MODEL@VERSION (version 0 to 9223372036854775807), optionally followed by " via ADDRESS", such as credit-risk@1';
export const TARGETS_EXPECTATION = `up to 16 of MODEL or MODEL@VERSION, each optionally followed by " via ADDRESS", separated by commas`;
export const WEIGHTED_TARGETS_EXPECTATION =
  'up to 16 of MODEL[@VERSION] followed by a percentage and optionally " via ADDRESS", separated by commas, such as credit-risk@2 5%';
export const COHORT_EXPECTATION =
  'header:NAME, input:TENSOR, or input:TENSOR with ascending bucket borders, such as input:age 25,40,65';

/** A model or cluster name. Throws `UnitError`. */
export function parseName(text: string): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}$/.test(text)) throw new UnitError(text, NAME_EXPECTATION);
  return text;
}

/** A cluster name: `@` is allowed inside it so that a version can be named as metrics show it. Throws `UnitError`. */
export function parseClusterName(text: string): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_./@-]{0,127}$/.test(text)) throw new UnitError(text, CLUSTER_NAME_EXPECTATION);
  return text;
}

/** A decimal int64 that is not negative, as canonical text. Throws `UnitError`. */
export function parseVersion(text: string): string {
  const valid = /^(?:0|[1-9]\d{0,18})$/.test(text) && BigInt(text) <= MAX_VERSION;
  if (!valid) throw new UnitError(text, VERSION_EXPECTATION);
  return text;
}

/** A lower-case header field name (RFC 9110 section 5.1). Upper case is accepted and lowered. Throws `UnitError`. */
export function parseHeaderName(text: string): string {
  const name = text.trim().toLowerCase();
  if (!/^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/.test(name) || name.endsWith('-bin')) {
    throw new UnitError(text, 'a header name of at most 128 characters that does not end in -bin, such as x-customer');
  }
  return name;
}

/** One target without a percentage. Throws `UnitError`. */
export function parseTarget(text: string): ModelTarget {
  const target = parseOneTarget(text);
  if (target === null || target.percentHundredths !== null) throw new UnitError(text, TARGET_EXPECTATION);
  return target;
}

/** One to 16 targets without percentages, in order. Throws `UnitError`. */
export function parseTargets(text: string): readonly ModelTarget[] {
  const targets = parseList(text, TARGETS_EXPECTATION);
  if (targets.some((target) => target.percentHundredths !== null)) throw new UnitError(text, TARGETS_EXPECTATION);
  return targets;
}

/** One to 16 targets, with or without percentages; a missing percentage stays null. Throws `UnitError`. */
export function parseWeightedTargets(text: string): readonly ModelTarget[] {
  return parseList(text, WEIGHTED_TARGETS_EXPECTATION);
}

/** `header:NAME` or `input:TENSOR[ BORDER,BORDER...]`. Throws `UnitError`. */
export function parseCohortSource(text: string): CohortSource {
  const match = /^(header|input):(\S+)(?:\s+(\S+))?$/.exec(text.trim());
  if (match === null || (match[1] === 'header' && match[3] !== undefined)) {
    throw new UnitError(text, COHORT_EXPECTATION);
  }
  if (match[1] === 'header') return { kind: 'header', name: parseHeaderName(match[2]!) };
  const borders = match[3] === undefined ? [] : match[3].split(',');
  const buckets = borders.map((border) => (border === '' ? Number.NaN : Number(border)));
  if (!isAscending(buckets)) throw new UnitError(text, COHORT_EXPECTATION);
  return { kind: 'input', tensor: match[2]!, buckets };
}

/** Whether finite numbers grow strictly; the empty list does. */
export function isAscending(numbers: readonly number[]): boolean {
  return numbers.every((value, i) => Number.isFinite(value) && (i === 0 || value > numbers[i - 1]!));
}

/** `credit-risk@1`, or `credit-risk` where the upstream chooses the version. */
export function targetName(target: { readonly model: string; readonly version: string }): string {
  return target.version === '' ? target.model : `${target.model}@${target.version}`;
}

/** The text that parses to this target again, percentage aside. */
export function formatTarget(target: ModelTarget): string {
  return target.address === null ? targetName(target) : `${targetName(target)} via ${formatAddress(target.address)}`;
}

function parseList(text: string, expectation: string): readonly ModelTarget[] {
  const targets = text.split(',').map(parseOneTarget);
  if (targets.length > MAX_TARGETS || targets.includes(null)) throw new UnitError(text, expectation);
  return targets as ModelTarget[];
}

function parseOneTarget(text: string): ModelTarget | null {
  const match = /^([^@\s]+)(?:@(\S+))?(?:\s+([\d.]+%))?(?:\s+via\s+(\S+))?$/.exec(text.trim());
  if (match === null) return null;
  try {
    return {
      model: parseName(match[1]!),
      version: match[2] === undefined ? '' : parseVersion(match[2]),
      percentHundredths: match[3] === undefined ? null : parsePercentHundredths(match[3]),
      address: match[4] === undefined ? null : parseAddress(match[4]),
    };
  } catch (error) {
    if (error instanceof UnitError) return null;
    throw error;
  }
}
