/**
 * Owns lists of TCP ports as the interception rules use them: `all`, `none` or `8500,9000-9010`, cut into groups that fit
 * one `multiport` match. The kernel's match has fifteen slots; a port takes one and a range two.
 */
import { type PortRange, parsePortRanges, UnitError } from '../../base/units.ts';

export type { PortRange };

/** Every port, or the listed ones (possibly none). Lists are ascending and disjoint. */
export type PortSet = 'all' | readonly PortRange[];

/** Slots of one `multiport` match. */
export const MULTIPORT_SLOTS = 15;
/** More ranges than this in one list is taken for a mistake: each fifteen make a rule that every new connection walks. */
export const MAX_PORT_RANGES = 256;

/** Parses `all`, `none` or a list like `8500,9000-9010`. Throws `UnitError` with the expectation. */
export function parsePortSet(text: string): PortSet {
  const trimmed = text.trim();
  if (trimmed === 'all') return 'all';
  if (trimmed === 'none' || trimmed === '') return [];
  const ranges = parsePortRanges(trimmed);
  if (ranges.length > MAX_PORT_RANGES) throw new UnitError(text, `at most ${MAX_PORT_RANGES} ports and ranges`);
  return ranges;
}

/** Texts for `--dports`, each within the slots of one rule: `8500,9000:9010`. */
export function multiportGroups(ranges: readonly PortRange[]): readonly string[] {
  const groups: string[] = [];
  let parts: string[] = [];
  let used = 0;
  for (const { first, last } of ranges) {
    const slots = first === last ? 1 : 2;
    if (used + slots > MULTIPORT_SLOTS) {
      groups.push(parts.join(','));
      parts = [];
      used = 0;
    }
    parts.push(slots === 1 ? `${first}` : `${first}:${last}`);
    used += slots;
  }
  if (parts.length > 0) groups.push(parts.join(','));
  return groups;
}

/** Whether the set holds the port. */
export function includesPort(set: PortSet, port: number): boolean {
  return set === 'all' || set.some(({ first, last }) => port >= first && port <= last);
}
