/** Checks the document's routes and resolves their clusters. */

import type { ClusterDraft, ClusterSet } from './cluster-set.ts';
import type { ConfigDocument } from './document-fields.ts';
import type { ModelDraft } from './model-check.ts';
import type { ProblemList } from './problem.ts';
import { checkRouteSteps } from './route-steps.ts';
import type { RouteSnapshot } from './snapshot.ts';

type RouteDocument = ConfigDocument['routes'][number];

/** A route whose cluster has no index yet. */
export interface RouteDraft {
  readonly rest: Omit<RouteSnapshot, 'cluster' | 'statsBase' | 'policy'>;
  readonly cluster: ClusterDraft | null;
  /** Its fallbacks; null where it has none. */
  readonly steps: ModelDraft | null;
}

/** Every route of the document, in order. Mistakes go to `problems`. */
export function checkRoutes(
  routes: readonly RouteDocument[],
  clusters: ClusterSet,
  problems: ProblemList,
): RouteDraft[] {
  const names = new Map<string, number>();
  return routes.map((route, i) => {
    const path = `routes[${i}]`;
    const known = names.get(route.name);
    if (known !== undefined && route.name !== '') {
      problems.add(`${path}.name`, route.name, 'a name no other route has', `routes[${known}] has it`);
    }
    names.set(route.name, i);
    if (route.path !== null && route.pathPrefix !== null) {
      problems.add(path, undefined, 'at most one of the keys path and pathPrefix');
    }
    for (const key of ['path', 'pathPrefix'] as const) {
      const text = route[key];
      if (text !== null && !text.startsWith('/')) problems.add(`${path}.${key}`, text, 'a path that begins with /');
    }
    for (const [k, header] of route.headers.entries()) {
      if (header.value === null || header.prefix === null) continue;
      problems.add(`${path}.headers[${k}]`, undefined, 'at most one of the keys value and prefix');
    }
    const cluster = target(route.cluster, path, clusters, problems);
    const resolve = (name: string, at: string) => target(name, at, clusters, problems);
    const steps = checkRouteSteps(route, cluster, clusters, resolve, path, problems);
    return { rest: conditions(route), cluster, steps };
  });
}

function target(name: string, path: string, clusters: ClusterSet, problems: ProblemList): ClusterDraft | null {
  if (problems.covers(`${path}.cluster`)) return null;
  const draft = clusters.find(name, `${path}.cluster`);
  if (draft === null || draft.model === '') return draft;
  problems.add(`${path}.cluster`, name, 'a cluster that names no model', `see ${draft.path}`);
  return null;
}

function conditions(route: RouteDocument): RouteDraft['rest'] {
  return {
    name: route.name,
    authorities: route.authorities,
    path: route.path ?? route.pathPrefix ?? '',
    pathIsPrefix: route.path === null,
    methods: route.methods,
    trustsInternal: route.trustInternalHeaders,
    headers: route.headers.map(({ name, value, prefix, absent }) => ({
      name,
      value: value ?? prefix ?? '',
      isPrefix: value === null,
      absent,
    })),
    upgrade: route.upgrade,
    connect: route.connect,
  };
}
