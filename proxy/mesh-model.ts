/** What a snapshot says of models and pipelines, with its references resolved: what requests of them go by. */
import { LocalAnswer } from './adapt/local-answer.ts';
import type { PipelineSnapshot } from './config/pipeline-snapshot.ts';
import type { ModelSnapshot, ShadowSnapshot } from './config/snapshot.ts';
import type { DegradationCells } from './degradation/cells.ts';
import { DegradationGate } from './degradation/gate.ts';
import type { MeshCluster } from './mesh.ts';
import { ComparisonPace } from './mirror/comparison-pace.ts';
import { PipelinePlan } from './pipeline/plan.ts';
import { StepHeads } from './pipeline-request/pipeline-heads.ts';
import { HedgeTiming } from './policy/hedge-timing.ts';
import { AnswerChanges } from './request/answer-changes.ts';
import { cumulativeWeights } from './routing/version-choice.ts';

/** A shadow with what this thread holds for it now. */
export class MeshShadow {
  config: ShadowSnapshot;
  readonly cluster: MeshCluster;
  /** It is the primary asked again, for the noise floor. */
  readonly isSecondary: boolean;
  /** The cluster has no callers of its own here, so that its breaker and statistics may count shadows. */
  judged = true;
  inFlight = 0;
  heldBytes = 0;
  readonly pace = new ComparisonPace();

  constructor(config: ShadowSnapshot, cluster: MeshCluster, isSecondary: boolean) {
    this.config = config;
    this.cluster = cluster;
    this.isSecondary = isSecondary;
  }
}

/** A model's policy with its references resolved. Immutable. */
export class MeshModel {
  readonly config: ModelSnapshot;
  readonly split: readonly MeshCluster[];
  readonly bounds: Int32Array;
  readonly fallbacks: readonly MeshCluster[];
  readonly shadows: readonly MeshShadow[];
  /** The clusters of the split as they are asked again for the noise floor; empty without one. */
  readonly secondaries: readonly MeshShadow[];
  /** In the order of `config.pins`. */
  readonly pinned: readonly MeshCluster[];
  /** Bit n is set when gRPC status n of the primary is answered by the fallback. */
  readonly fallbackStatusBits: number;
  /** Answers of steps that ask nobody, in the order of `fallbacks`; null for the others. */
  readonly locals: readonly (LocalAnswer | null)[];
  readonly changes: AnswerChanges;
  /** When requests are hedged; null for a model whose requests never are. */
  readonly hedgeTiming: HedgeTiming | null;
  /** Whether the primary takes a request now; null for a model that is never degraded. */
  readonly gate: DegradationGate | null;

  constructor(
    config: ModelSnapshot,
    clusters: readonly MeshCluster[],
    shadows: readonly MeshShadow[],
    secondaries: readonly MeshShadow[],
    degradation: DegradationCells,
    before: MeshModel | undefined,
  ) {
    this.config = config;
    this.hedgeTiming = hedgeTiming(config, before);
    this.split = config.split.map((share) => clusters[share.cluster]!);
    this.bounds = cumulativeWeights(config.split.map((share) => share.weightHundredths));
    this.fallbacks = config.fallbacks.map((step) => clusters[step.cluster]!);
    this.shadows = shadows;
    this.secondaries = secondaries;
    this.pinned = config.pins.map((pin) => clusters[pin.cluster]!);
    this.locals = config.fallbacks.map(({ local }) => (local === null ? null : new LocalAnswer(local)));
    this.changes = new AnswerChanges(config, [...this.split, ...this.pinned], this.fallbacks);
    this.gate = config.degradation === null ? null : new DegradationGate(degradation, config.degradation);
    this.fallbackStatusBits = config.fallbackStatuses.reduce((bits, status) => bits | (1 << status), 0);
  }
}

/** A pipeline with what this thread has under way of it. */
export class MeshPipeline {
  plan: PipelinePlan;
  heads = new StepHeads();
  inFlight = 0;

  constructor(config: PipelineSnapshot) {
    this.plan = new PipelinePlan(config);
  }

  /** A call under way keeps the plan it began with. */
  update(config: PipelineSnapshot): void {
    this.plan = new PipelinePlan(config);
    this.heads = new StepHeads();
  }
}

/** What is known of the primary's latency outlives a reload that asks the same of it. */
function hedgeTiming({ hedge }: ModelSnapshot, before: MeshModel | undefined): HedgeTiming | null {
  if (hedge === null) return null;
  const after = before?.config.hedge?.after;
  const same = after !== undefined && after.ms === hedge.after.ms && after.quantile === hedge.after.quantile;
  return same ? before!.hedgeTiming : new HedgeTiming(hedge.after);
}
