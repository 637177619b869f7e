/**
 * The routes of one snapshot, and which of them takes a request: the first whose conditions on authority, path, method
 * and headers all hold. What was found is remembered with the request's head, since clients repeat their heads.
 */

import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { RouteSnapshot } from '../config/snapshot.ts';

/** Where the last answer is kept: one for each distinct head. */
export interface RouteMemo {
  routedBy: RouteTable | null;
  routed: number;
}

export class RouteTable {
  private readonly routes: readonly RouteSnapshot[];

  constructor(routes: readonly RouteSnapshot[]) {
    this.routes = routes;
  }

  /** Position of the route that takes a request with this head, -1 for none. */
  match(head: HeaderList, memo: RouteMemo): number {
    if (memo.routedBy !== this) {
      memo.routed = this.find(head);
      memo.routedBy = this;
    }
    return memo.routed;
  }

  private find(head: HeaderList): number {
    const authority = (head.get(':authority') ?? head.get('host') ?? '').toLowerCase();
    const method = head.get(':method') ?? '';
    const path = withoutQuery(head.get(':path') ?? '');
    return this.routes.findIndex(
      (route) =>
        (route.methods.length === 0 || route.methods.includes(method)) &&
        (route.pathIsPrefix ? path.startsWith(route.path) : path === route.path) &&
        (route.authorities.length === 0 || route.authorities.some((pattern) => hasAuthority(authority, pattern))) &&
        route.headers.every((condition) => hasHeader(head, condition) !== condition.absent),
    );
  }
}

/** `pattern` is HOST, HOST:PORT or *.SUFFIX[:PORT] in lower case; without a port it matches any. */
function hasAuthority(authority: string, pattern: string): boolean {
  const host = pattern.includes(':', pattern.lastIndexOf(']') + 1) ? authority : withoutPort(authority);
  return pattern.startsWith('*.')
    ? host.length > pattern.length - 1 && host.endsWith(pattern.slice(1))
    : host === pattern;
}

function hasHeader(head: HeaderList, condition: RouteSnapshot['headers'][number]): boolean {
  const value = head.get(condition.name);
  if (value === undefined) return false;
  return condition.isPrefix ? value.startsWith(condition.value) : value === condition.value;
}

function withoutPort(authority: string): string {
  const colon = authority.lastIndexOf(':');
  return colon > authority.lastIndexOf(']') ? authority.slice(0, colon) : authority;
}

function withoutQuery(path: string): string {
  const query = path.indexOf('?');
  return query < 0 ? path : path.slice(0, query);
}
