/**
 * Who owns which block of slots. Lives on the control thread; data threads only see the bases in the snapshot.
 *
 * A series (a cluster, or a shadow of a model) is known by its label values and keeps its block over reloads, so its
 * counters go on. Blocks are bounded: at the bound a new series takes the block of one that left the configuration at
 * least `retiredGraceMs` ago, and if there is none it shares the overflow block, whose labels read `other`, and is
 * counted as refused. A base is therefore always valid, and recording never asks.
 */

import { assert } from '../../base/assert.ts';
import { PIPELINE_SLOTS, STEP_SLOTS } from './pipeline-slots.ts';
import { CLUSTER_SLOTS, PROCESS_SLOTS, ROUTE_SLOTS, SHADOW_SLOTS } from './slots.ts';

export type BlockKind = 'cluster' | 'shadow' | 'route' | 'pipeline' | 'step';

/** Label values of a block, in the order of `BLOCK_LABELS`. */
export type BlockLabels = readonly string[];

/** Label names of the blocks: the identity of a series. */
export const BLOCK_LABELS: Readonly<Record<BlockKind, readonly string[]>> = {
  cluster: ['cluster', 'model', 'model_version'],
  shadow: ['model', 'cluster', 'model_version'],
  route: ['route'],
  pipeline: ['pipeline'],
  step: ['pipeline', 'step'],
};

const BLOCK_SLOTS: Readonly<Record<BlockKind, number>> = {
  cluster: CLUSTER_SLOTS,
  shadow: SHADOW_SLOTS,
  route: ROUTE_SLOTS,
  pipeline: PIPELINE_SLOTS,
  step: STEP_SLOTS,
};
/** Blocks for routes: those a document can have, and what no route takes. The overflow block not counted. */
const MAX_ROUTES = 160;
/** Blocks for pipelines and for their steps: twice the pipelines of a document, at ten steps each. */
const MAX_PIPELINES = 32;
const MAX_STEPS = 320;
const PIPELINES_SLOTS = (MAX_PIPELINES + 1) * PIPELINE_SLOTS + (MAX_STEPS + 1) * STEP_SLOTS;

/** Label value of everything that found no block of its own. */
export const OVERFLOW_LABEL = 'other';

export interface LayoutOptions {
  /** Blocks for clusters, the overflow block not counted. Default 256. */
  readonly maxClusters?: number;
  /** Blocks for shadows, the overflow block not counted. Default 64. */
  readonly maxShadows?: number;
  /** How long a block whose series left the configuration is kept from others: requests may still count in it. */
  readonly retiredGraceMs?: number;
  /** Zeroes a block in every region before another series gets it. */
  readonly clearBlock: (firstSlot: number, slots: number) => void;
}

/** A block in use, as exposition walks them. */
export interface Block {
  readonly base: number;
  readonly labels: BlockLabels;
}

/** The verdict on a series: where it counts, and whether that place is its own. */
export interface Allocation {
  readonly base: number;
  /** True at the bound: the base is the overflow block's. */
  readonly shared: boolean;
}

interface OwnedBlock extends Block {
  readonly key: string;
  /** When the series left the configuration; Infinity while it is in it. */
  retiredAtMs: number;
}

export class StatsLayout {
  /** Slots of a region. */
  readonly slots: number;
  private readonly groups: Readonly<Record<BlockKind, BlockGroup>>;

  constructor(options: LayoutOptions) {
    const maxClusters = options.maxClusters ?? 256;
    const maxShadows = options.maxShadows ?? 64;
    const shadowsAt = PROCESS_SLOTS + (maxClusters + 1) * CLUSTER_SLOTS;
    const routesAt = shadowsAt + (maxShadows + 1) * SHADOW_SLOTS;
    const pipelinesAt = routesAt + (MAX_ROUTES + 1) * ROUTE_SLOTS;
    const stepsAt = pipelinesAt + (MAX_PIPELINES + 1) * PIPELINE_SLOTS;
    this.slots = pipelinesAt + PIPELINES_SLOTS;
    this.groups = {
      cluster: new BlockGroup('cluster', PROCESS_SLOTS, maxClusters, options),
      shadow: new BlockGroup('shadow', shadowsAt, maxShadows, options),
      route: new BlockGroup('route', routesAt, MAX_ROUTES, options),
      pipeline: new BlockGroup('pipeline', pipelinesAt, MAX_PIPELINES, options),
      step: new BlockGroup('step', stepsAt, MAX_STEPS, options),
    };
  }

  /** Slots a region needs under the given bounds, for making regions before the layout. */
  static slotsFor(maxClusters = 256, maxShadows = 64): number {
    const others = (maxShadows + 1) * SHADOW_SLOTS + (MAX_ROUTES + 1) * ROUTE_SLOTS + PIPELINES_SLOTS;
    return PROCESS_SLOTS + (maxClusters + 1) * CLUSTER_SLOTS + others;
  }

  /** The block of a series, given now if it has none. Calls with the same labels return the same base. */
  allocate(kind: BlockKind, labels: BlockLabels, nowMs: number): Allocation {
    return this.groups[kind].allocate(labels, nowMs);
  }

  /** Marks every series of the kind that is not in `wanted` as having left the configuration. */
  retain(kind: BlockKind, wanted: Iterable<BlockLabels>, nowMs: number): void {
    this.groups[kind].retain(wanted, nowMs);
  }

  /** Blocks to expose: the owned ones, and the overflow block once it was needed. */
  blocks(kind: BlockKind): readonly Block[] {
    return this.groups[kind].exposed();
  }

  /** Series that found no block of their own, so far. */
  refused(kind: BlockKind): number {
    return this.groups[kind].refused;
  }
}

class BlockGroup {
  refused = 0;
  private readonly kind: BlockKind;
  private readonly firstBase: number;
  private readonly limit: number;
  private readonly retiredGraceMs: number;
  private readonly clearBlock: (firstSlot: number, slots: number) => void;
  private readonly byKey = new Map<string, OwnedBlock>();
  private readonly refusedKeys = new Set<string>();
  private used = 0;

  constructor(kind: BlockKind, firstBase: number, limit: number, options: LayoutOptions) {
    assert(limit >= 1, 'a kind of block needs at least one');
    this.kind = kind;
    this.firstBase = firstBase;
    this.limit = limit;
    this.retiredGraceMs = options.retiredGraceMs ?? 60_000;
    this.clearBlock = options.clearBlock;
  }

  allocate(labels: BlockLabels, nowMs: number): Allocation {
    assert(labels.length === BLOCK_LABELS[this.kind].length, 'a label value is missing');
    const key = JSON.stringify(labels);
    const owned = this.byKey.get(key);
    if (owned !== undefined) {
      owned.retiredAtMs = Number.POSITIVE_INFINITY;
      return { base: owned.base, shared: false };
    }
    const base = this.used < this.limit ? this.baseOf(this.used++) : this.takeRetired(nowMs);
    if (base < 0) {
      // A set bounded by the configuration in force (see retain): each refused series is counted once.
      if (!this.refusedKeys.has(key)) this.refused++;
      this.refusedKeys.add(key);
      return { base: this.overflowBase, shared: true };
    }
    this.refusedKeys.delete(key);
    this.byKey.set(key, { base, labels: [...labels], key, retiredAtMs: Number.POSITIVE_INFINITY });
    return { base, shared: false };
  }

  retain(wanted: Iterable<BlockLabels>, nowMs: number): void {
    const keys = new Set<string>();
    for (const labels of wanted) keys.add(JSON.stringify(labels));
    for (const block of this.byKey.values()) {
      if (!keys.has(block.key)) block.retiredAtMs = Math.min(block.retiredAtMs, nowMs);
    }
    for (const key of this.refusedKeys) if (!keys.has(key)) this.refusedKeys.delete(key);
  }

  exposed(): readonly Block[] {
    const blocks: Block[] = [...this.byKey.values()];
    if (this.refused > 0) {
      blocks.push({ base: this.overflowBase, labels: BLOCK_LABELS[this.kind].map(() => OVERFLOW_LABEL) });
    }
    return blocks;
  }

  private get overflowBase(): number {
    return this.baseOf(this.limit);
  }

  private baseOf(block: number): number {
    return this.firstBase + block * BLOCK_SLOTS[this.kind];
  }

  /** The block retired first, if its grace is over; -1 otherwise. */
  private takeRetired(nowMs: number): number {
    let oldest: OwnedBlock | null = null;
    for (const block of this.byKey.values()) {
      if (nowMs - block.retiredAtMs < this.retiredGraceMs) continue;
      if (oldest === null || block.retiredAtMs < oldest.retiredAtMs) oldest = block;
    }
    if (oldest === null) return -1;
    this.byKey.delete(oldest.key);
    this.clearBlock(oldest.base, BLOCK_SLOTS[this.kind]);
    return oldest.base;
  }
}
