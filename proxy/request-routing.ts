/**
 * Which cluster a request goes to: by version pin, sticky key or weights for a model with a policy; for everything else
 * where the caller meant, or where the configuration says. Decides only; the data plane sends.
 */
import type { DownstreamContext } from './data-plane.ts';
import type { Exchange } from './exchange.ts';
import type { Mesh, MeshCluster, MeshModel } from './mesh.ts';
import { hashHundredths } from './routing/murmur3.ts';
import { chooseShare } from './routing/version-choice.ts';

/**
 * A pinned version goes where that version is served; otherwise the split decides. `mixed`: the request names several
 * models. Sets `exchange.governed`. `random` gives 0..1 for splits without a sticky key.
 */
export function chooseVersion(
  mesh: Mesh,
  random: () => number,
  exchange: Exchange,
  model: MeshModel,
  isPinned: boolean,
  version: string,
  mixed: boolean,
): MeshCluster {
  if (isPinned) {
    const pinned = version === '' ? undefined : mesh.byVersion.get(`${model.config.name}@${version}`);
    exchange.governed = pinned !== undefined && model.split.includes(pinned);
    return pinned ?? model.split[0]!;
  }
  exchange.governed = !mixed;
  if (model.split.length === 1 || mixed) return model.split[0]!;
  const { stickyHeader, salt } = model.config;
  const key = stickyHeader === '' ? undefined : exchange.head!.get(stickyHeader);
  const point = key === undefined ? Math.floor(random() * 10_000) : hashHundredths(salt, key);
  return model.split[chooseShare(model.bounds, point)]!;
}

/** For a model no entry names: the default cluster, else where the caller meant; null when that is nowhere. */
export function clusterOfUnknownModel(mesh: Mesh, exchange: Exchange): MeshCluster | null {
  return mesh.defaultModelCluster ?? clusterOfCaller(mesh, exchange);
}

/** Where the caller meant, or the configured upstream when it dialled the proxy; null when there is none. */
export function clusterOfCaller(mesh: Mesh, exchange: Exchange): MeshCluster | null {
  const context = exchange.down.connection.context as DownstreamContext;
  return context.destination === null ? mesh.passthrough : mesh.dynamicCluster(context.destination, context.key);
}
