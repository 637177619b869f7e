/** What the control thread itself shows in the metrics: configuration, certificates, guards, breakers, degradation, endpoints. */

import type { ClusterSnapshot } from '../config/snapshot.ts';
import type { ConfigSource } from '../config/source.ts';
import { DEGRADATION_STATES } from '../degradation/controller.ts';
import type { MetricsExposition } from '../stats/exposition.ts';
import type { DegradationDriver } from './degradation-driver.ts';
import type { EndpointControl } from './endpoint-control.ts';
import type { GuardStore } from './guard-store.ts';
import type { TlsStore } from './tls-store.ts';
import type { TraceExporter } from './trace-exporter.ts';

const ENDPOINT_STATES = ['healthy', 'unhealthy', 'ejected'] as const;
const BREAKER_STATES = ['closed', 'open', 'half_open', 'held_open', 'held_closed'] as const;

/** Who is asked at each scrape. */
export interface ControlParts {
  readonly source: ConfigSource;
  readonly tls: TlsStore;
  readonly guards: GuardStore;
  /** Null when nothing is traced. */
  readonly spans: TraceExporter | null;
  readonly degradation: DegradationDriver;
  readonly endpoints: EndpointControl;
  /** The state of a cluster's breaker. */
  readonly describe: (cluster: ClusterSnapshot) => { readonly state: string };
}

/** Registers the readers of all metrics that come from the control thread. */
export function observeControl(exposition: MetricsExposition, parts: ControlParts): void {
  const { source, tls, guards, spans, degradation, endpoints, describe } = parts;
  const mesh = () => source.current.mesh;
  exposition.observe('configRevision', () => [{ labels: [], value: mesh().revision }]);
  exposition.observe('configLoads', () =>
    Object.entries(source.loads).map(([result, value]) => ({ labels: [result], value })),
  );
  exposition.observe('certificateExpiry', () =>
    tls.expiries().map(({ file, seconds }) => ({ labels: [file], value: seconds })),
  );
  exposition.observe('rateLimits', () => guards.limitRows(mesh()));
  exposition.observe('faults', () => guards.faultRows(mesh()));
  exposition.observe('traceSpans', () => {
    if (spans === null) return [];
    const { exported, dropped, rejected } = spans;
    return Object.entries({ exported, dropped, rejected }).map(([result, value]) => ({ labels: [result], value }));
  });
  exposition.observe('certificateReloads', () => [
    { labels: ['applied'], value: tls.reloads },
    { labels: ['refused'], value: tls.failedReloads },
  ]);
  exposition.observe('breakerState', () =>
    mesh().clusters.flatMap((cluster) => {
      const { state } = describe(cluster);
      return BREAKER_STATES.map((name) => ({
        labels: [cluster.name, cluster.model, cluster.version, name],
        value: name === state ? 1 : 0,
      }));
    }),
  );
  const degradations = () => degradation.describeAll();
  exposition.observe('degradationState', () =>
    degradations().flatMap(({ model, state }) =>
      DEGRADATION_STATES.map((name) => ({ labels: [model, name], value: name === state ? 1 : 0 })),
    ),
  );
  exposition.observe('degradationShare', () =>
    degradations().map(({ model, primaryPercent }) => ({ labels: [model], value: primaryPercent / 100 })),
  );
  exposition.observe('degradationTransitions', () => degradation.counted());
  exposition.observe('degradationProbes', () =>
    degradations().map(({ model, probes }) => ({ labels: [model], value: probes.judged })),
  );
  exposition.observe('degradationMissed', () =>
    degradations().map(({ model, missed }) => ({ labels: [model], value: missed })),
  );
  exposition.observe('degradationMemory', () =>
    degradations().flatMap(({ model, deviceMemory }) =>
      typeof deviceMemory === 'number' ? [{ labels: [model], value: deviceMemory }] : [],
    ),
  );
  exposition.observe('splitFraction', () =>
    mesh().models.flatMap((model) =>
      model.split.map((share) => {
        const { name, version } = mesh().clusters[share.cluster]!;
        return { labels: [model.name, name, version], value: share.weightHundredths / 10_000 };
      }),
    ),
  );
  exposition.observe('endpointState', () =>
    mesh().clusters.flatMap(({ name }) =>
      endpoints
        .endpointsOf(name)
        .flatMap(({ address, state }) =>
          ENDPOINT_STATES.map((label) => ({ labels: [name, address, label], value: label === state ? 1 : 0 })),
        ),
    ),
  );
  exposition.observe('healthChecks', () =>
    [...endpoints.checker.counts].flatMap(([cluster, { passed, failed }]) => [
      { labels: [cluster, 'passed'], value: passed },
      { labels: [cluster, 'failed'], value: failed },
    ]),
  );
  exposition.observe('nameLookups', () => [
    { labels: ['ok'], value: endpoints.resolver.succeeded },
    { labels: ['failed'], value: endpoints.resolver.failed },
  ]);
  exposition.observe('endpointsUnjudged', () => [{ labels: [], value: endpoints.places.refused }]);
}
