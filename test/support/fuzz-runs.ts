/**
 * How long property tests search. In the test suite each runs as often as it says; the long search of `npm run fuzz`
 * multiplies that and moves fixed seeds, by two variables that it sets.
 */
const factor = Number(process.env['UNDERSTUDY_FUZZ_FACTOR'] ?? '1');
const shift = Number(process.env['UNDERSTUDY_FUZZ_SEED'] ?? '0');

/** Runs of a property whose share in the suite is `usual`. */
export function runs(usual: number): number {
  return Math.max(1, Math.round(usual * factor));
}

/** The seed of a property that is always searched alike in the suite. */
export function seedFor(usual: number): number {
  return (usual + shift) | 0;
}
