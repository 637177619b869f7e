/**
 * The addresses of the names that clusters write, looked up again and again. A lookup that fails changes nothing: the
 * last answer stands. Runs on the control thread.
 */
import { lookup as systemLookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Clock } from '../../base/clock.ts';

/** All addresses of a name, in the system's order. Rejects when it has none. */
export type Lookup = (name: string) => Promise<readonly string[]>;

export interface NameResolverOptions {
  readonly clock: Clock;
  /** Told when an answer differs from the one before it. */
  readonly onChange: () => void;
  readonly onFailure: (name: string, error: Error) => void;
  readonly lookup?: Lookup;
}

interface Name {
  refreshMs: number;
  dueAtMs: number;
  busy: boolean;
  addresses: readonly string[] | null;
}

/** Lookups at a time: each holds one of the few threads of the system's resolver. */
const MAX_LOOKUPS = 2;

export class NameResolver {
  /** Lookups that ended, well and badly. */
  succeeded = 0;
  failed = 0;
  private readonly options: NameResolverOptions;
  private readonly lookup: Lookup;
  private readonly names = new Map<string, Name>();
  private running = 0;

  constructor(options: NameResolverOptions) {
    this.options = options;
    this.lookup = options.lookup ?? lookupAll;
  }

  /** The names to keep resolved and how often, milliseconds. Addresses among them are left alone. */
  watch(names: ReadonlyMap<string, number>): void {
    for (const name of this.names.keys()) if (!names.has(name)) this.names.delete(name);
    for (const [name, refreshMs] of names) {
      if (isIP(name) !== 0) continue;
      const known = this.names.get(name);
      if (known === undefined) this.names.set(name, { refreshMs, dueAtMs: 0, busy: false, addresses: null });
      else known.refreshMs = refreshMs;
    }
  }

  /** What a name resolved to last, sorted; null while it is not known. */
  addressesOf(name: string): readonly string[] | null {
    return this.names.get(name)?.addresses ?? null;
  }

  /** Starts the lookups that are due. Called every now and then. */
  tick(): void {
    const nowMs = this.options.clock.nowMs();
    for (const [name, state] of this.names) {
      if (this.running >= MAX_LOOKUPS) return;
      if (!state.busy && state.dueAtMs <= nowMs) void this.resolve(name, state);
    }
  }

  private async resolve(name: string, state: Name): Promise<void> {
    state.busy = true;
    this.running++;
    try {
      const addresses = [...new Set(await this.lookup(name))].sort();
      this.succeeded++;
      const changed = addresses.length > 0 && addresses.join() !== state.addresses?.join();
      if (changed && this.names.get(name) === state) {
        state.addresses = addresses;
        this.options.onChange();
      }
    } catch (error) {
      this.failed++;
      this.options.onFailure(name, error as Error);
    } finally {
      this.running--;
      state.busy = false;
      state.dueAtMs = this.options.clock.nowMs() + state.refreshMs;
    }
  }
}

async function lookupAll(name: string): Promise<readonly string[]> {
  const found = await systemLookup(name, { all: true, verbatim: true });
  return found.map(({ address }) => address);
}
