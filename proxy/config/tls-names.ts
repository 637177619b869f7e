/** Names that certificates are expected to carry, as they are written in the configuration. */
import { isIP } from 'node:net';
import { UnitError } from '../../base/units.ts';

const MAX_NAMES = 64;
const MAX_NAME_LENGTH = 2048;

export const SUBJECT_NAME_EXPECTATION =
  'a host name, an IP address or a URI such as spiffe://mesh/ns/a/sa/b, without wildcards';
export const SUBJECT_NAMES_EXPECTATION = `${SUBJECT_NAME_EXPECTATION}; several separated by commas, at most ${MAX_NAMES}`;

/** One name. Throws `UnitError`. */
export function parseSubjectName(text: string): string {
  const name = text.trim();
  if (name.length <= MAX_NAME_LENGTH && isSubjectName(name)) return name;
  throw new UnitError(text, SUBJECT_NAME_EXPECTATION);
}

/** Names separated by commas. Throws `UnitError`. */
export function parseSubjectNames(text: string): readonly string[] {
  const parts = text.split(',');
  if (parts.length > MAX_NAMES || !parts.every((part) => isSubjectName(part.trim()))) {
    throw new UnitError(text, SUBJECT_NAMES_EXPECTATION);
  }
  return parts.map((part) => part.trim());
}

function isSubjectName(name: string): boolean {
  if (name.startsWith('spiffe:')) return /^spiffe:\/\/[a-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/.test(name);
  if (name.includes('://')) return /^[a-z][a-z0-9+.-]*:\/\/[^\s,*]+$/.test(name);
  return (
    isIP(name) !== 0 ||
    /^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$/.test(name)
  );
}
