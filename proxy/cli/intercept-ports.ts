/**
 * Owns lists of TCP ports as the interception rules use them: parsed from `8500,9000-9010`, merged, and cut into groups
 * that fit one `multiport` match. The kernel's match has fifteen slots; a port takes one and a range two.
 */

/** An inclusive range of TCP ports, 1..65535; a single port has `first === last`. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Every port, or the listed ones (possibly none). Lists are ascending, disjoint and not adjacent. */
export type PortSet = 'all' | readonly PortRange[];

/** Slots of one `multiport` match. */
export const MULTIPORT_SLOTS = 15;
/** More ranges than this in one list is taken for a mistake: each fifteen make a rule that every new connection walks. */
export const MAX_PORT_RANGES = 256;

const PORT_RANGE = /^(\d{1,5})(?:-(\d{1,5}))?$/;

/** Parses `all`, `none` or a list like `8500,9000-9010`. Returns a sentence about the mistake instead of throwing. */
export function parsePortSet(text: string): PortSet | { readonly mistake: string } {
  const trimmed = text.trim();
  if (trimmed === 'all') return 'all';
  if (trimmed === 'none' || trimmed === '') return [];
  const ranges: PortRange[] = [];
  for (const part of trimmed.split(',')) {
    const match = PORT_RANGE.exec(part.trim());
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (match === null || first < 1 || last > 65535 || first > last) {
      return { mistake: `${JSON.stringify(part.trim())} is not a port or an ascending range within 1-65535` };
    }
    ranges.push({ first, last });
  }
  if (ranges.length > MAX_PORT_RANGES) return { mistake: `${ranges.length} entries are more than ${MAX_PORT_RANGES}` };
  return mergeRanges(ranges);
}

/** Ascending, disjoint ranges covering exactly the same ports. */
export function mergeRanges(ranges: readonly PortRange[]): readonly PortRange[] {
  const merged: { first: number; last: number }[] = [];
  for (const range of [...ranges].sort((a, b) => a.first - b.first)) {
    const previous = merged.at(-1);
    if (previous !== undefined && range.first <= previous.last + 1) previous.last = Math.max(previous.last, range.last);
    else merged.push({ first: range.first, last: range.last });
  }
  return merged;
}

/** Texts for `--dports`, each within the slots of one rule: `8500,9000:9010`. */
export function multiportGroups(ranges: readonly PortRange[]): readonly string[] {
  const groups: string[] = [];
  let parts: string[] = [];
  let used = 0;
  for (const range of ranges) {
    const slots = range.first === range.last ? 1 : 2;
    if (used + slots > MULTIPORT_SLOTS) {
      groups.push(parts.join(','));
      parts = [];
      used = 0;
    }
    parts.push(slots === 1 ? `${range.first}` : `${range.first}:${range.last}`);
    used += slots;
  }
  if (parts.length > 0) groups.push(parts.join(','));
  return groups;
}

/** Whether the set holds the port. */
export function includesPort(set: PortSet, port: number): boolean {
  return set === 'all' || set.some((range) => port >= range.first && port <= range.last);
}
