/**
 * Places of endpoints in shared memory: where all threads find an endpoint's health and its ejection.
 *
 * An endpoint is a cluster and an address. It keeps its place while it is in use; a place whose endpoint has gone is
 * given away a minute later at the earliest, since requests that still know it may be under way. Where there is no
 * place, the endpoint is not judged, which is counted.
 */

export interface PlacesOptions {
  /** How many places there are. */
  readonly count: number;
  /** A place gets another endpoint: what is left of the last one is cleared. */
  readonly onReuse: (place: number) => void;
  /** Time after which an unused place may be given away, milliseconds. */
  readonly graceMs?: number;
}

const GRACE_MS = 60_000;

export class EndpointPlaces {
  /** Endpoints that found no place. */
  refused = 0;
  private readonly options: PlacesOptions;
  private readonly places = new Map<string, number>();
  /** When an unused endpoint's place was last in use. */
  private readonly unused = new Map<string, number>();
  private used = 0;

  constructor(options: PlacesOptions) {
    this.options = options;
  }

  /** The place of an endpoint, -1 where there is none left. */
  place(cluster: string, address: string, nowMs: number): number {
    const key = `${cluster}\n${address}`;
    this.unused.delete(key);
    let place = this.places.get(key);
    if (place !== undefined) return place;
    place = this.used < this.options.count ? this.used++ : this.takeUnused(nowMs);
    if (place < 0) this.refused++;
    else this.places.set(key, place);
    return place;
  }

  /** Everything that has a place and is not among these `cluster\naddress` keys is out of use from now on. */
  retain(keys: ReadonlySet<string>, nowMs: number): void {
    for (const key of this.places.keys()) {
      if (!keys.has(key) && !this.unused.has(key)) this.unused.set(key, nowMs);
    }
  }

  private takeUnused(nowMs: number): number {
    for (const [key, sinceMs] of this.unused) {
      if (nowMs - sinceMs < (this.options.graceMs ?? GRACE_MS)) return -1;
      const place = this.places.get(key)!;
      this.unused.delete(key);
      this.places.delete(key);
      this.options.onReuse(place);
      return place;
    }
    return -1;
  }
}
