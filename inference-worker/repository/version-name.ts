/**
 * What the name of a version directory says. TensorFlow Serving's names are whole numbers; release names such as
 * `1.4.0-20250405` become numbers too, the same on every machine and in the order of the releases:
 *
 *   bit 62        51 50         39 38         27 26            0
 *      | major (12)  | minor (12)  | patch (12)  | date (27)     |
 *
 * The date is eight digits, YYYYMMDD, and 0 where there is none. A release stays reachable by its name, as a label.
 */
import { parseVersionNumber } from './version-policy.ts';

export type VersionName =
  | { readonly kind: 'version'; readonly version: bigint; readonly label: string | null }
  /** Meant as a release, but its number would not be unique; not served. */
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'other' };

const RELEASE = /^v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-(\d{1,9}))?$/;
/** Bits of each of major, minor and patch. */
const PART_BITS = 12n;
const DATE_BITS = 27n;
const MAX_PART = (1n << PART_BITS) - 1n;

/** Reads a directory's name. */
export function parseVersionName(name: string): VersionName {
  const number = parseVersionNumber(name);
  if (number !== null) return { kind: 'version', version: number, label: null };
  const match = RELEASE.exec(name);
  if (match === null) return { kind: 'other' };
  let version = 0n;
  for (const part of match.slice(1, 4)) {
    if (part!.length > 1 && part!.startsWith('0')) return refused(name, 'a part begins with 0');
    if (BigInt(part!) > MAX_PART) return refused(name, `major, minor and patch go up to ${MAX_PART}`);
    version = (version << PART_BITS) | BigInt(part!);
  }
  const date = match[4];
  if (date !== undefined && !isDate(date)) return refused(name, 'the date is not YYYYMMDD');
  return { kind: 'version', version: (version << DATE_BITS) | BigInt(date ?? 0), label: name };
}

function refused(name: string, reason: string): VersionName {
  return { kind: 'refused', reason: `release name ${name}: ${reason}` };
}

function isDate(text: string): boolean {
  if (text.length !== 8 || text.startsWith('0')) return false;
  const [year, month, day] = [text.slice(0, 4), text.slice(4, 6), text.slice(6)].map(Number);
  const date = new Date(Date.UTC(year!, month! - 1, day!));
  return date.getUTCMonth() === month! - 1 && date.getUTCDate() === day!;
}
