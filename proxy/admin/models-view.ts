/** What `GET /models` says: each model's split, shadows and fallbacks, each cluster's breaker and figures, as plain data. */
import type { PipelineSnapshot } from '../config/pipeline-snapshot.ts';
import type { ClusterSnapshot, MeshSnapshot, ModelSnapshot, ShadowSnapshot } from '../config/snapshot.ts';
import type { ComparisonFigures } from '../mirror/messages.ts';
import type { BreakerDescription } from '../policy/breaker-view.ts';
import { summarisePipeline, summariseStep } from '../stats/pipeline-summary.ts';
import { summariseCluster, summariseShadow } from '../stats/summary.ts';

export interface ModelsViewInput {
  readonly snapshot: MeshSnapshot;
  /** Statistics summed over the data threads. */
  readonly sums: Float64Array;
  readonly breakerOf: (cluster: ClusterSnapshot) => BreakerDescription;
  /** Null for a model that is never degraded. */
  readonly degradationOf: (model: string) => unknown;
  /** Addresses and states. */
  readonly endpointsOf: (cluster: ClusterSnapshot) => readonly unknown[];
  readonly comparisons: readonly ComparisonFigures[];
}

/** The document itself; see README for its fields. */
export function modelsView(input: ModelsViewInput): unknown {
  const { snapshot } = input;
  return {
    revision: snapshot.revision,
    models: snapshot.models.map((model) => modelView(model, input)),
    pipelines: snapshot.pipelines.map((pipeline) => pipelineView(pipeline, input.sums)),
    clusters: snapshot.clusters.map((cluster) => ({
      name: cluster.name,
      model: cluster.model,
      version: cluster.version,
      breaker: input.breakerOf(cluster),
      endpoints: input.endpointsOf(cluster),
      ...summariseCluster(input.sums, cluster.statsBase),
    })),
  };
}

function modelView(model: ModelSnapshot, input: ModelsViewInput): unknown {
  const name = (index: number) => input.snapshot.clusters[index]!.name;
  return {
    name: model.name,
    split: model.split.map((share) => ({ cluster: name(share.cluster), weight: share.weightHundredths / 10_000 })),
    degradation: input.degradationOf(model.name),
    fallbacks: model.fallbacks.map((step) => name(step.cluster)),
    shadows: model.shadows.map((shadow) => shadowView(model, shadow, name(shadow.cluster), input)),
  };
}

function pipelineView({ name, version, steps, statsBase }: PipelineSnapshot, sums: Float64Array): unknown {
  return {
    name,
    version,
    ...summarisePipeline(sums, statsBase),
    steps: steps.map((step) => ({
      name: step.name,
      model: step.model,
      waitsFor: [
        ...new Set(step.inputs.filter(({ from }) => from.step >= 0).map(({ from }) => steps[from.step]!.name)),
      ],
      hasDefault: step.defaults !== null,
      budget: step.budgetFraction,
      ...summariseStep(sums, step.statsBase),
    })),
  };
}

function shadowView(model: ModelSnapshot, shadow: ShadowSnapshot, cluster: string, input: ModelsViewInput): unknown {
  const { drops, ...summary } = summariseShadow(input.sums, shadow.statsBase);
  const { not_sampled: notSampled, ...dropped } = drops;
  const matching = input.comparisons.filter((figures) => figures.model === model.name && figures.shadow === cluster);
  // With a canary there is one comparison for each primary version; the one with most pairs stands in front.
  const [main, ...others] = matching.toSorted((a, b) => b.pairs - a.pairs);
  return {
    cluster,
    percent: shadow.percentHundredths / 100,
    ...summary,
    notSampled,
    dropped,
    pairs: main?.pairs ?? 0,
    agreement: main?.agreement ?? null,
    maxAbsDifference: main?.maxAbsDifference ?? null,
    faults: main?.faults ?? {},
    cohorts: main?.byCohort ?? {},
    comparison: main ?? null,
    otherComparisons: others,
  };
}
