/**
 * Which versions of a model are wanted, decided from what is on disk. Pure: the same policy and the same versions give
 * the same answer, so it can be asked at every poll.
 */

/** `latest` keeps the `count` highest numbers; `specific` ignores versions that are not there. */
export type VersionPolicy =
  | { readonly kind: 'latest'; readonly count: number }
  | { readonly kind: 'all' }
  | { readonly kind: 'specific'; readonly versions: readonly bigint[] };

/** TensorFlow Serving's default: the highest number alone. */
export const LATEST_ONE: VersionPolicy = Object.freeze({ kind: 'latest', count: 1 });

/** Highest int64; version numbers are never negative. */
export const MAX_VERSION = 9223372036854775807n;

/** The wanted versions among `present`, highest first. `present` may come in any order. */
export function wantedVersions(policy: VersionPolicy, present: Iterable<bigint>): bigint[] {
  const descending = [...present].sort(compareDescending);
  switch (policy.kind) {
    case 'latest':
      return descending.slice(0, policy.count);
    case 'all':
      return descending;
    case 'specific':
      return descending.filter((version) => policy.versions.includes(version));
  }
}

/** Orders bigints highest first. */
export function compareDescending(a: bigint, b: bigint): number {
  return a > b ? -1 : a < b ? 1 : 0;
}

/** Decimal digits to a version number; null for a sign, a space, any other letter, or more than int64 holds. */
export function parseVersionNumber(text: string): bigint | null {
  if (text.length === 0 || text.length > 64) return null;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x30 || code > 0x39) return null;
  }
  const version = BigInt(text);
  return version <= MAX_VERSION ? version : null;
}

/**
 * The short form used on the command line: `latest`, `latest=N`, `all`, or version numbers joined by `+`.
 * Null when the text is none of these.
 */
export function parseVersionPolicy(text: string): VersionPolicy | null {
  if (text === 'all') return { kind: 'all' };
  if (text === 'latest') return LATEST_ONE;
  if (text.startsWith('latest=')) {
    const count = parseVersionNumber(text.slice('latest='.length));
    return count === null || count < 1n || count > 1_000n ? null : { kind: 'latest', count: Number(count) };
  }
  const versions: bigint[] = [];
  for (const part of text.split('+')) {
    const version = parseVersionNumber(part);
    if (version === null) return null;
    if (!versions.includes(version)) versions.push(version);
  }
  return { kind: 'specific', versions };
}

/** `NAME` or `NAME@POLICY`, as flags write models; the policy is null when it is not given. Null when malformed. */
export function parsePolicyItem(text: string): { name: string; policy: VersionPolicy | null } | null {
  const at = text.indexOf('@');
  if (at < 0) return text === '' ? null : { name: text, policy: null };
  const policy = parseVersionPolicy(text.slice(at + 1));
  return at === 0 || policy === null ? null : { name: text.slice(0, at), policy };
}
