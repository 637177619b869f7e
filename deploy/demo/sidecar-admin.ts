/**
 * What the demo reads from the sidecar's admin address: breaker states and the shadow's comparison figures.
 *
 * Owns the reading of `GET /models`; the rest of the demo sees only `SidecarView`.
 */
import { EMPLOYMENT } from './applicants.ts';
import type { CohortView } from './live-table.ts';

export interface SidecarView {
  readonly shadow: { readonly pairs: number; readonly dropped: number; readonly agreement: number };
  /** In the order of EMPLOYMENT; cohorts without pairs are left out. */
  readonly cohorts: readonly CohortView[];
  readonly breakers: readonly { readonly name: string; readonly state: string }[];
  /** What the sidecar says of the model's degradation; null without the policy. */
  readonly degradation: DegradationView | null;
  /** Its verdicts on the shadow, by cohort. */
  readonly verdicts: Readonly<Record<string, CohortVerdict>>;
}

export interface DegradationView {
  readonly state: string;
  readonly reason: string;
  readonly primaryPercent: number;
  readonly entered: number;
  /** Steps passed on the way back, percent. */
  readonly ladder: readonly number[];
}

/** `pairs` is the evidence it rests on. */
export interface CohortVerdict {
  readonly harm: boolean;
  readonly pairs: number;
}

export const EMPTY_VIEW: SidecarView = {
  shadow: { pairs: 0, dropped: 0, agreement: Number.NaN },
  cohorts: [],
  breakers: [],
  degradation: null,
  verdicts: {},
};

/** The parts of the answer that are read; all of them may be missing before traffic has come. */
interface ModelsAnswer {
  readonly models?: readonly {
    readonly name: string;
    readonly degradation?: DegradationView | null;
    readonly shadows?: readonly {
      readonly pairs?: number;
      readonly dropped?: number | Readonly<Record<string, number>>;
      readonly agreement?: number | null;
      readonly cohorts?: Readonly<
        Record<
          string,
          {
            readonly pairs: number;
            readonly agreement: number | null;
            readonly evidence?: { readonly harm: boolean; readonly pairs: number };
          }
        >
      >;
    }[];
  }[];
  readonly clusters?: readonly { readonly name: string; readonly breaker?: { readonly state: string } }[];
}

const TIMEOUT_MS = 2000;

/** Asks the admin address about `model`. Rejects if it does not answer within two seconds. */
export async function readSidecar(adminUrl: string, model: string): Promise<SidecarView> {
  const response = await fetch(`${adminUrl}/models`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`GET ${adminUrl}/models: ${response.status}`);
  return viewOf((await response.json()) as ModelsAnswer, model);
}

/** Whether the sidecar says it is ready for traffic. */
export async function isSidecarReady(adminUrl: string): Promise<boolean> {
  try {
    const response = await fetch(`${adminUrl}/readyz`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

/** Picks `model`'s shadow and every breaker out of an answer. */
export function viewOf(answer: ModelsAnswer, model: string): SidecarView {
  const found = answer.models?.find(({ name }) => name === model);
  const shadow = found?.shadows?.[0];
  const verdicts = Object.entries(shadow?.cohorts ?? {}).flatMap(([name, { evidence }]) =>
    evidence === undefined ? [] : [[name, { harm: evidence.harm, pairs: evidence.pairs }] as const],
  );
  const cohorts = Object.entries(shadow?.cohorts ?? {}).map(([name, { pairs, agreement }]) => ({
    name,
    pairs,
    agreement: agreement ?? Number.NaN,
  }));
  const place = (name: string) => (EMPLOYMENT as readonly string[]).indexOf(name);
  return {
    shadow: {
      pairs: shadow?.pairs ?? 0,
      dropped: sumOf(shadow?.dropped ?? 0),
      agreement: shadow?.agreement ?? Number.NaN,
    },
    cohorts: cohorts.filter(({ pairs }) => pairs > 0).sort((a, b) => place(a.name) - place(b.name)),
    breakers: (answer.clusters ?? []).map(({ name, breaker }) => ({ name, state: breaker?.state ?? 'none' })),
    degradation: found?.degradation ?? null,
    verdicts: Object.fromEntries(verdicts),
  };
}

function sumOf(counts: number | Readonly<Record<string, number>>): number {
  if (typeof counts === 'number') return counts;
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
