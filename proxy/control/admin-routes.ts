/**
 * What the admin address answers: what is running, in JSON, and an operator's commands to breakers and degradation. The
 * metrics address has the routes for reading alone.
 */
import { systemClock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { type AdminAnswer, type AdminRoute, jsonAnswer, textAnswer } from '../admin/admin-server.ts';
import { modelsView } from '../admin/models-view.ts';
import { answerPairs } from '../admin/pairs-route.ts';
import type { TransitionLog } from '../admin/transition-log.ts';
import { describeConfiguration } from '../config/redact.ts';
import type { ClusterSnapshot } from '../config/snapshot.ts';
import type { ConfigSource } from '../config/source.ts';
import { DEGRADATION_COMMANDS } from '../degradation/controller.ts';
import type { AnalysisClient } from '../mirror/analysis-client.ts';
import { BREAKER_COMMANDS } from '../policy/breaker-verdict.ts';
import type { describeBreaker } from '../policy/breaker-view.ts';
import type { MetricsExposition } from '../stats/exposition.ts';
import type { StatsLayout } from '../stats/layout.ts';
import type { StatsRegions } from '../stats/region.ts';
import type { DataThreads } from './data-threads.ts';
import type { DegradationDriver } from './degradation-driver.ts';
import type { EndpointControl } from './endpoint-control.ts';
import type { ReadinessProbe } from './readiness.ts';
import type { TlsStore } from './tls-store.ts';

/** What the routes for reading look at. */
export interface Readings {
  readonly exposition: MetricsExposition;
  readonly readiness: ReadinessProbe;
  readonly source: ConfigSource;
  readonly threads: DataThreads;
  readonly isDraining: () => boolean;
}

/** What the other routes look at, and command. */
export interface AdminViews {
  readonly source: ConfigSource;
  readonly layout: StatsLayout;
  readonly regions: StatsRegions;
  readonly analysis: AnalysisClient;
  readonly endpoints: EndpointControl;
  readonly threads: DataThreads;
  readonly tls: TlsStore;
  readonly transitions: TransitionLog;
  readonly degradation: DegradationDriver;
  readonly describe: (cluster: ClusterSnapshot) => ReturnType<typeof describeBreaker>;
  readonly log: Logger;
}

/** What shows no configuration and changes nothing, so that it may be reached from outside the pod. */
export function readingRoutes({ exposition, readiness, source, threads, isDraining }: Readings): readonly AdminRoute[] {
  const ready = async () => {
    const missing = isDraining() ? ['draining'] : threads.missing();
    const answer = await readiness.check(source.current.mesh, missing, systemClock.nowMs());
    return jsonAnswer(answer, answer.ready ? 200 : 503);
  };
  const metrics = async () => textAnswer(await exposition.render(), 200, exposition.registry.contentType);
  return [
    { method: 'GET', path: '/livez', help: 'the process is alive', handle: () => textAnswer('ok\n') },
    { method: 'GET', path: '/readyz', help: 'the proxy should get traffic', handle: ready },
    { method: 'GET', path: '/metrics', help: 'Prometheus metrics', handle: metrics },
  ];
}

export function adminRoutes(views: AdminViews): readonly AdminRoute[] {
  const { source, tls, degradation } = views;
  return [
    {
      method: 'GET',
      path: '/models',
      help: 'models, weights, breakers, comparisons',
      handle: () => answerModels(views),
    },
    {
      method: 'GET',
      path: '/pairs',
      help: '?model=NAME&kind=divergent|sample&limit=N: pairs kept, as JSON lines',
      handle: (query) => answerPairs(source.current.settings.pairStore, query),
    },
    {
      method: 'GET',
      path: '/config',
      help: 'what is running, secrets hidden',
      handle: () => jsonAnswer(describeConfiguration(source)),
    },
    { method: 'GET', path: '/tls', help: 'certificates in force', handle: () => jsonAnswer(tls.describe()) },
    {
      method: 'GET',
      path: '/degradation',
      help: 'degradation of each model that has it',
      handle: () => jsonAnswer(degradation.describeAll()),
    },
    {
      method: 'POST',
      path: '/degradation',
      help: `?model=NAME&action=${DEGRADATION_COMMANDS.join('|')}`,
      handle: (query) => commandDegradation(views, query),
    },
    {
      method: 'GET',
      path: '/breakers',
      help: 'breakers and their last changes',
      handle: () => answerBreakers(views),
    },
    {
      method: 'POST',
      path: '/breaker',
      help: `?cluster=NAME&action=${BREAKER_COMMANDS.join('|')}`,
      handle: (query) => commandBreaker(views, query),
    },
  ];
}

function answerModels({
  source,
  layout,
  regions,
  analysis,
  endpoints,
  degradation,
  describe,
}: AdminViews): AdminAnswer {
  const sums = new Float64Array(layout.slots);
  regions.sumInto(sums);
  return jsonAnswer(
    modelsView({
      snapshot: source.current.mesh,
      sums,
      breakerOf: describe,
      degradationOf: (model) => degradation.describe(model),
      endpointsOf: (cluster) => endpoints.endpointsOf(cluster.name),
      comparisons: analysis.figures(),
    }),
  );
}

function answerBreakers({ source, transitions, describe }: AdminViews): AdminAnswer {
  return jsonAnswer(
    source.current.mesh.clusters.map((cluster) => ({
      cluster: cluster.name,
      ...describe(cluster),
      transitions: transitions.of(cluster.name),
    })),
  );
}

function commandBreaker({ source, threads, log }: AdminViews, query: URLSearchParams): AdminAnswer {
  const cluster = query.get('cluster') ?? '';
  const action = BREAKER_COMMANDS.find((command) => command === query.get('action'));
  const known = source.current.mesh.clusters.some((candidate) => candidate.name === cluster);
  if (!known) return jsonAnswer({ error: `no cluster ${JSON.stringify(cluster)}` }, 404);
  if (action === undefined) return jsonAnswer({ error: `action must be one of ${BREAKER_COMMANDS.join(', ')}` }, 400);
  log.info('breaker_command', { cluster, action });
  threads.command(cluster, action);
  return jsonAnswer({ cluster, action });
}

function commandDegradation({ degradation, log }: AdminViews, query: URLSearchParams): AdminAnswer {
  const model = query.get('model') ?? '';
  const action = DEGRADATION_COMMANDS.find((command) => command === query.get('action'));
  if (degradation.describe(model) === null) {
    return jsonAnswer({ error: `no model ${JSON.stringify(model)} that has a degradation policy` }, 404);
  }
  if (action === undefined) {
    return jsonAnswer({ error: `action must be one of ${DEGRADATION_COMMANDS.join(', ')}` }, 400);
  }
  log.info('degradation_command', { model, action });
  degradation.obey(model, action);
  return jsonAnswer(degradation.describe(model));
}
