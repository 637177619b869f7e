/**
 * From the clusters as they are written to the endpoints that data threads use: names resolved, and for every endpoint
 * that is judged by itself its place in shared memory.
 */
import type { Clock } from '../../base/clock.ts';
import { formatAddress } from '../config/address.ts';
import type { ClusterSnapshot, EndpointAddress, MeshSnapshot } from '../config/snapshot.ts';
import type { EndpointPlaces } from './endpoint-places.ts';
import type { NameResolver } from './name-resolver.ts';

/** Endpoints of one cluster; further addresses of its names are left out. */
const MAX_ENDPOINTS = 256;

export class EndpointDirectory {
  private readonly clock: Clock;
  private readonly places: EndpointPlaces;
  private readonly resolver: NameResolver;

  constructor(clock: Clock, places: EndpointPlaces, resolver: NameResolver) {
    this.clock = clock;
    this.places = places;
    this.resolver = resolver;
  }

  /** The snapshot with its endpoints as they are known now. */
  locate(mesh: MeshSnapshot): MeshSnapshot {
    this.resolver.watch(namesOf(mesh));
    const nowMs = this.clock.nowMs();
    const keys = new Set<string>();
    const clusters = mesh.clusters.map((cluster) => this.locateCluster(cluster, keys, nowMs));
    this.places.retain(keys, nowMs);
    return { ...mesh, clusters };
  }

  private locateCluster(cluster: ClusterSnapshot, keys: Set<string>, nowMs: number): ClusterSnapshot {
    const endpoints = distinct(cluster.endpoints.flatMap((address) => this.expand(cluster, address)));
    const judged = endpoints.length > 1 || cluster.healthCheck !== null;
    const endpointPlaces = judged
      ? endpoints.map((address) => {
          const name = formatAddress(address);
          keys.add(`${cluster.name}\n${name}`);
          return this.places.place(cluster.name, name, nowMs);
        })
      : [];
    return { ...cluster, endpoints, endpointPlaces, tls: nameKept(cluster) };
  }

  private expand(cluster: ClusterSnapshot, address: EndpointAddress): readonly EndpointAddress[] {
    if (address.kind === 'unix') return [address];
    const resolved = this.resolver.addressesOf(address.host);
    if (resolved === null) return [address];
    if (cluster.discovery === 'name') return [{ ...address, resolved }];
    return oneFamily(resolved).map((host) => ({ ...address, host }));
  }
}

/** An endpoint found by address is still expected to show its name. */
function nameKept({ tls, discovery, endpoints }: ClusterSnapshot): ClusterSnapshot['tls'] {
  const [first] = endpoints;
  if (tls === null || tls.serverName !== '' || discovery === 'name' || first?.kind !== 'tcp') return tls;
  return { ...tls, serverName: first.host };
}

/** A name with addresses of both families stands for one server each, reachable by either: IPv4 is taken where there is any. */
function oneFamily(addresses: readonly string[]): readonly string[] {
  const v4 = addresses.filter((address) => !address.includes(':'));
  return v4.length > 0 ? v4 : addresses;
}

function distinct(endpoints: readonly EndpointAddress[]): readonly EndpointAddress[] {
  const byName = new Map(endpoints.map((address) => [formatAddress(address), address]));
  return [...byName.values()].slice(0, MAX_ENDPOINTS);
}

/** Every host that clusters write, with the shortest time in which one of them wants it looked up again. */
function namesOf(mesh: MeshSnapshot): ReadonlyMap<string, number> {
  const names = new Map<string, number>();
  for (const cluster of mesh.clusters) {
    for (const address of cluster.endpoints) {
      if (address.kind !== 'tcp') continue;
      names.set(address.host, Math.min(cluster.dnsRefreshMs, names.get(address.host) ?? Number.POSITIVE_INFINITY));
    }
  }
  return names;
}
