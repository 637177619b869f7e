/** The order of a pipeline's steps, from who waits for whom. */

export interface StepOrder {
  /** Each step after those it waits for; otherwise as written. Incomplete where there is a circle. */
  readonly order: readonly number[];
  /** Steps that wait for each other in a ring, each for the next; empty where there is none. */
  readonly circle: readonly number[];
}

/** `waitsFor[i]` are the steps whose outputs step `i` needs. */
export function stepOrder(waitsFor: readonly (readonly number[])[]): StepOrder {
  const order: number[] = [];
  const done = new Set<number>();
  for (;;) {
    const next = waitsFor.findIndex((needs, i) => !done.has(i) && needs.every((need) => done.has(need)));
    if (next < 0) break;
    done.add(next);
    order.push(next);
  }
  if (order.length === waitsFor.length) return { order, circle: [] };
  // Every step left waits for another that is left: following them comes back to one that was met before.
  const met: number[] = [];
  let at = waitsFor.findIndex((_, i) => !done.has(i));
  while (!met.includes(at)) {
    met.push(at);
    at = waitsFor[at]!.find((need) => !done.has(need))!;
  }
  return { order, circle: met.slice(met.indexOf(at)) };
}

/** Steps on the longest way from each step to one that nobody waits for, itself included. */
export function longestWays(waitsFor: readonly (readonly number[])[], order: readonly number[]): readonly number[] {
  const ways = waitsFor.map(() => 1);
  for (const i of [...order].reverse()) {
    for (const earlier of waitsFor[i]!) ways[earlier] = Math.max(ways[earlier]!, ways[i]! + 1);
  }
  return ways;
}
