/**
 * What one setting is, as data: its kind, bounds, default, and the reason for them.
 *
 * The same description parses a value (wherever it comes from), says what was expected when parsing fails, and is
 * printed by `understudy config explain`; so none of the three can drift from the others.
 */

import { GrpcStatus } from '../../base/grpc-status.ts';
import {
  formatDuration,
  formatPercent,
  formatSize,
  type PortRange,
  parseDurationMs,
  parsePercentHundredths,
  parsePortRanges,
  parseSizeBytes,
  UnitError,
} from '../../base/units.ts';
import { ADDRESS_EXPECTATION, LISTEN_EXPECTATION, parseAddress, parseListenAddresses } from './address.ts';
import { HEDGE_DELAY_EXPECTATION, parseHedgeDelay } from './hedge-delay.ts';
import * as target from './model-target.ts';
import type { CohortSource, EndpointAddress, HedgeDelay } from './snapshot.ts';
import * as tlsNames from './tls-names.ts';

/** Every kind of value and the precise type it parses to. */
export interface KindValues {
  duration: number;
  size: number;
  percent: number;
  integer: number;
  number: number;
  boolean: boolean;
  choice: string;
  text: string;
  name: string;
  clusterName: string;
  version: string;
  headerName: string;
  authority: string;
  grpcStatus: number;
  address: EndpointAddress;
  listen: readonly EndpointAddress[];
  ports: readonly PortRange[];
  target: target.ModelTarget;
  targets: readonly target.ModelTarget[];
  weightedTargets: readonly target.ModelTarget[];
  cohort: CohortSource;
  hedgeDelay: HedgeDelay;
  subjectName: string;
  subjectNames: readonly string[];
}

export type Kind = keyof KindValues;

export interface Field {
  readonly kind: Kind;
  /** The default as a person would write it; null leaves the value unset. */
  readonly default: string | null;
  /** What an unset value means, for `default: null`. */
  readonly unset?: string;
  /** True where the value must be given; the default is then null. */
  readonly required?: boolean;
  /** Bounds in the kind's base unit (ms, bytes, hundredths of a percent), both included. */
  readonly min?: number;
  readonly max?: number;
  readonly choices?: readonly string[];
  /** What the setting does and why the default is what it is, in full sentences. */
  readonly reason: string;
  /** True where a change takes effect without a restart. */
  readonly reloadable: boolean;
  /** True where the value must never be shown. */
  readonly secret?: boolean;
}

/** The type a field's value has after parsing; null joins it where the field may stay unset. */
export type FieldValue<F extends Field> =
  | (F extends { readonly choices: readonly (infer C)[] } ? C : KindValues[F['kind']])
  | (F extends { readonly default: null; readonly required: true }
      ? never
      : F extends { readonly default: null }
        ? null
        : never);

interface KindRule {
  /** Unit shown by `explain`; '' for values without one. */
  readonly unit: string;
  readonly expectation: string;
  readonly parse: (text: string, field: Field) => unknown;
  /** Formats a bound of this kind, for kinds that have bounds. */
  readonly formatBound?: (bound: number) => string;
}

export const KIND_RULES: Readonly<Record<Kind, KindRule>> = {
  duration: rule('ms, s, m, h or d', 'a duration with its unit, such as 250ms or 30s', parseDurationMs, formatDuration),
  size: rule('B, KiB, MiB, GiB or TiB', 'a size with its unit, such as 64KiB or 4MiB', parseSizeBytes, formatSize),
  percent: rule('%', 'a percentage such as 5% or 0.25%', parsePercentHundredths, formatPercent),
  integer: rule('', 'a whole number', parseInteger, String),
  number: rule('', 'a number', parseNumber, String),
  boolean: rule('', 'true or false', parseBoolean),
  choice: { unit: '', expectation: 'one of the listed words', parse: parseChoice },
  text: rule('', 'text', (text) => text),
  name: rule('', target.NAME_EXPECTATION, target.parseName),
  clusterName: rule('', target.CLUSTER_NAME_EXPECTATION, target.parseClusterName),
  version: rule('', target.VERSION_EXPECTATION, target.parseVersion),
  headerName: rule('', 'a header name of at most 128 characters, such as x-customer', target.parseHeaderName),
  authority: rule('', 'HOST, HOST:PORT or *.SUFFIX, such as models.internal', parseAuthority),
  grpcStatus: rule('', 'a gRPC status name other than OK, such as UNAVAILABLE', parseGrpcStatus),
  address: rule('', ADDRESS_EXPECTATION, parseAddress),
  listen: rule('', LISTEN_EXPECTATION, parseListenAddresses),
  ports: rule('', 'ports and ranges of them, such as 8500,9000-9010; or none', parsePorts),
  target: rule('', target.TARGET_EXPECTATION, target.parseTarget),
  targets: rule('', target.TARGETS_EXPECTATION, target.parseTargets),
  weightedTargets: rule('', target.WEIGHTED_TARGETS_EXPECTATION, target.parseWeightedTargets),
  cohort: rule('', target.COHORT_EXPECTATION, target.parseCohortSource),
  hedgeDelay: rule('', HEDGE_DELAY_EXPECTATION, parseHedgeDelay),
  subjectName: rule('', tlsNames.SUBJECT_NAME_EXPECTATION, tlsNames.parseSubjectName),
  subjectNames: rule('', tlsNames.SUBJECT_NAMES_EXPECTATION, tlsNames.parseSubjectNames),
};

/** Parses text as this field. Throws `UnitError` whose expectation includes the field's bounds. */
export function parseField<F extends Field>(field: F, text: string): Exclude<FieldValue<F>, null> {
  const value = KIND_RULES[field.kind].parse(text, field);
  if (typeof value === 'number' && KIND_RULES[field.kind].formatBound !== undefined) {
    if (value < (field.min ?? -Infinity) || value > (field.max ?? Infinity)) {
      throw new UnitError(text, expectationOf(field));
    }
  }
  return value as Exclude<FieldValue<F>, null>;
}

/** What this field accepts, bounds and choices included; completes "expected ...". */
export function expectationOf(field: Field): string {
  if (field.choices !== undefined) return `one of ${field.choices.join(', ')}`;
  const { expectation, formatBound } = KIND_RULES[field.kind];
  if (formatBound === undefined) return expectation;
  const lower = field.min === undefined ? '' : `, at least ${formatBound(field.min)}`;
  const upper = field.max === undefined ? '' : `, at most ${formatBound(field.max)}`;
  return `${expectation}${lower}${upper}`;
}

/** The field's default, parsed; null where there is none. A default its own kind refuses is a programmer's error. */
export function defaultOf<F extends Field>(field: F): FieldValue<F> {
  return (field.default === null ? null : parseField(field, field.default)) as FieldValue<F>;
}

function rule(
  unit: string,
  expectation: string,
  parse: (text: string, field: Field) => unknown,
  formatBound?: (bound: number) => string,
): KindRule {
  return { unit, expectation, parse, formatBound };
}

function parsePorts(text: string): readonly PortRange[] {
  return text === 'none' ? [] : parsePortRanges(text);
}

function parseInteger(text: string): number {
  const value = /^-?\d{1,16}$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new UnitError(text, 'a whole number');
  return value;
}

function parseNumber(text: string): number {
  const value = text.trim() === '' || /[xXbBoO_]/.test(text) ? Number.NaN : Number(text);
  if (!Number.isFinite(value)) throw new UnitError(text, 'a number');
  return value;
}

function parseBoolean(text: string): boolean {
  if (text === 'true') return true;
  if (text === 'false') return false;
  throw new UnitError(text, 'true or false');
}

function parseChoice(text: string, field: Field): string {
  const found = field.choices?.includes(text);
  if (found !== true) throw new UnitError(text, expectationOf(field));
  return text;
}

/** An :authority to compare with (RFC 9110 section 7.2), in lower case. */
function parseAuthority(text: string): string {
  const authority = text.trim().toLowerCase();
  if (!/^(?:\*\.)?(?:\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9._-]{0,252}))(?::\d{1,5})?$/.test(authority)) {
    throw new UnitError(text, 'HOST, HOST:PORT or *.SUFFIX, such as models.internal');
  }
  return authority;
}

function parseGrpcStatus(text: string): number {
  const code = Object.hasOwn(GrpcStatus, text) ? GrpcStatus[text as keyof typeof GrpcStatus] : GrpcStatus.OK;
  if (code === GrpcStatus.OK) throw new UnitError(text, 'a gRPC status name other than OK, such as UNAVAILABLE');
  return code;
}
