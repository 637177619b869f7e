/** Paths into JSON documents as the configuration writes them: `results[].text`, `[].score`, `meta.scores[]`. */
import type { PathStep } from './answer-policy.ts';

/** Longest path, in steps. */
const MAX_STEPS = 16;

/** The steps; null where the text is no path. A key holds neither dots nor brackets; only the first may be left out. */
export function parseJsonPath(text: string): readonly PathStep[] | null {
  const steps: PathStep[] = [];
  for (const part of text.split('.')) {
    const each = part.endsWith('[]');
    const key = each ? part.slice(0, -2) : part;
    const isRoot = key === '' && each && steps.length === 0;
    // Set as a key it would be a prototype, not a member.
    if ((key === '' && !isRoot) || /[[\]]/.test(key) || key === '__proto__') return null;
    steps.push({ key, each });
  }
  return steps.length <= MAX_STEPS ? steps : null;
}
