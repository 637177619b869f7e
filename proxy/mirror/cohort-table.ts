/**
 * The cohorts of one comparison, by name and in the order in which they were met. Bounded: the configuration's own names
 * always have a place, others as long as there is room, and the rest counts as `other`, so that whoever chooses header
 * values chooses neither how much memory is used nor which configured cohort is lost.
 */
import type { CohortPolicy } from '../config/snapshot.ts';

/** Where requests are counted whose cohort found no place, and those that do not say theirs. */
export const OTHER = 'other';
export const UNKNOWN = 'unknown';
/** The one cohort of a model without a cohort source. */
export const ALL = 'all';

/** Cohorts of all comparisons together. Each holds a few kilobytes of sums. */
export class CohortBudget {
  left: number;

  constructor(limit: number) {
    this.left = limit;
  }
}

export class CohortTable {
  readonly names: string[] = [];
  private readonly indices = new Map<string, number>();
  private readonly budget: CohortBudget;
  private named = new Set<string>();
  /** Cohorts that are neither named by the configuration nor `other` or `unknown`, and how many there may be. */
  private unnamed = 0;
  private maxUnnamed = 0;

  constructor(budget: CohortBudget) {
    this.budget = budget;
  }

  /** Sets the bounds. Cohorts already kept stay. */
  apply(policy: CohortPolicy): void {
    this.named = new Set(Object.values(policy.names));
    this.maxUnnamed = Math.max(0, policy.maxCohorts - this.named.size);
    this.unnamed = this.names.filter((name) => !this.isReserved(name)).length;
  }

  /** Place of the cohort, which is kept from now on if there is room, else of `other`. */
  indexOf(name: string): number {
    const known = this.indices.get(name);
    if (known !== undefined) return known;
    if (name === OTHER) return this.add(OTHER);
    const reserved = this.isReserved(name);
    if ((!reserved && this.unnamed >= this.maxUnnamed) || this.budget.left <= 0) return this.indexOf(OTHER);
    if (!reserved) this.unnamed++;
    return this.add(name);
  }

  /** Gives the places back to the budget. */
  release(): void {
    this.budget.left += this.names.length;
  }

  private isReserved(name: string): boolean {
    return name === OTHER || name === UNKNOWN || this.named.has(name);
  }

  private add(name: string): number {
    const index = this.names.length;
    this.names.push(name);
    this.indices.set(name, index);
    this.budget.left--;
    return index;
  }
}
