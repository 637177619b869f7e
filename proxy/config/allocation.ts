/**
 * Places in shared memory for named things, stable over reloads.
 *
 * A cluster that is still there after a reload keeps its statistics and its breaker, because its name keeps its place.
 * The compiler asks for places only once a configuration is valid as a whole, so a refused edit uses none up.
 */

/**
 * What needs a place: `cluster`, `shadow`, `route`, `pipeline` and `step` get the first of their statistics slots, `breaker` a number of a
 * shared breaker cell, `degradation` one of a model's shared cells, `guard` a rate limit's or fault's. A cluster's name
 * serves for `cluster` and `breaker`; a shadow's is `MODEL/CLUSTER`.
 */
export type AllocationKind = 'cluster' | 'shadow' | 'route' | 'pipeline' | 'step' | 'breaker' | 'degradation' | 'guard';

/**
 * The place of this name: the same for the same kind and name for ever. Throws where there is no room for a new one.
 * `labels` say in metrics what the place is for: cluster, model and version of a cluster; model, cluster and version of
 * a shadow.
 */
export type Allocate = (kind: AllocationKind, name: string, labels: readonly string[]) => number;

/** Places of one kind: the first, the distance to the next, and how many there are. */
export interface PlaceRange {
  readonly first: number;
  readonly stride: number;
  readonly count: number;
}

const UNSHARED: PlaceRange = { first: 0, stride: 1, count: 4096 };

/** Hands places out in order of first use. Names are never forgotten: a name that returns finds its figures again. */
export class NameAllocator {
  private readonly ranges: Readonly<Record<AllocationKind, PlaceRange>>;
  private readonly places: Readonly<Record<AllocationKind, Map<string, number>>> = {
    cluster: new Map(),
    shadow: new Map(),
    route: new Map(),
    pipeline: new Map(),
    step: new Map(),
    breaker: new Map(),
    degradation: new Map(),
    guard: new Map(),
  };

  constructor(ranges: Partial<Record<AllocationKind, PlaceRange>> = {}) {
    this.ranges = {
      cluster: UNSHARED,
      shadow: UNSHARED,
      route: UNSHARED,
      pipeline: UNSHARED,
      step: UNSHARED,
      breaker: UNSHARED,
      degradation: UNSHARED,
      guard: UNSHARED,
      ...ranges,
    };
  }

  /** Bound to this allocator, so that it can be handed over as a function. */
  readonly allocate: Allocate = (kind, name) => {
    const known = this.places[kind].get(name);
    if (known !== undefined) return known;
    const { first, stride, count } = this.ranges[kind];
    const used = this.places[kind].size;
    if (used === count) throw new RangeError(`at most ${count} names of kind ${kind} in one run`);
    const place = first + used * stride;
    this.places[kind].set(name, place);
    return place;
  };
}
