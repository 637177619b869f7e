/** Hedging in the document: when a slow primary's request is sent elsewhere as well, and how many may be. */

import { type NodeValue, optionalObject, scalar } from './document-schema.ts';
import type { ProblemList } from './problem.ts';
import type { HedgePolicy } from './snapshot.ts';

export const HEDGE_TARGETS = ['fallback', 'endpoint'] as const;

export const HEDGE_NODE = optionalObject(
  'Sends a request elsewhere as well when the primary has not answered after a while; the first good answer is taken and the other one cancelled. Off without it, because it adds load. Messages of ModelStreamInfer are hedged one by one, with a fallback only.',
  {
    after: scalar({
      kind: 'hedgeDelay',
      default: 'p95',
      reason:
        "How long the primary has for itself, from the end of the request: a duration, or a percentile of its latest answers' latency (no hedge before 50 of them on a thread). p95 hedges about one request in 20.",
    }),
    to: scalar({
      kind: 'choice',
      choices: HEDGE_TARGETS,
      default: 'fallback',
      reason:
        'fallback: the first of the fallback list that takes it; endpoint: another endpoint of the same cluster, if there is another.',
    }),
    budget: scalar({
      kind: 'percent',
      default: '10%',
      reason:
        'Hedges over requests to the primary, of the last ten seconds and over all data threads: when everything is slow, hedges must not double the load.',
    }),
    budgetFloor: scalar({
      kind: 'integer',
      default: '1',
      min: 0,
      max: 1_000_000,
      reason: 'Hedges allowed each second however few requests there are.',
    }),
  },
);

type HedgeDocument = NodeValue<typeof HEDGE_NODE>;

/** The policy of a model; null without one. Mistakes go to `problems`. */
export function checkHedge(
  document: HedgeDocument,
  hasFallback: boolean,
  at: (part: string) => string,
  problems: ProblemList,
): HedgePolicy | null {
  if (document === null) return null;
  if (document.to === 'fallback' && !hasFallback && !problems.covers(at('hedge'))) {
    problems.add(at('hedge'), undefined, 'a fallback to hedge with, or to: endpoint');
  }
  return {
    after: document.after,
    toFallback: document.to === 'fallback',
    budgetFraction: document.budget / 10_000,
    budgetFloor: document.budgetFloor,
  };
}
