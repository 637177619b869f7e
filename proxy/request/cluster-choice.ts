/**
 * Which cluster a request goes to: by version pin, sticky key or weights for a model with a policy; for everything else
 * where the caller meant, or where the configuration says. Decides only; the data plane sends.
 */

import type { Mesh, MeshCluster, MeshModel } from '../mesh.ts';
import { hashHundredths } from '../routing/murmur3.ts';
import { chooseShare } from '../routing/version-choice.ts';
import type { DownstreamContext } from './data-plane.ts';
import type { Exchange } from './exchange.ts';
import { stickyInputOf } from './sticky-input.ts';

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
  if (model.pinned.length > 0 && !mixed) {
    const wanted = pinnedByHeader(exchange, model);
    if (wanted !== null) return wanted;
  }
  if (model.split.length === 1 || mixed) return model.split[0]!;
  const { stickyHeader, stickyInput, salt } = model.config;
  let key = stickyHeader === '' ? undefined : exchange.head!.get(stickyHeader);
  const { body } = exchange;
  if (stickyInput !== '' && body !== null) key = stickyInputOf(exchange.traits!, body.buffer, body.length, stickyInput);
  const point = key === undefined ? Math.floor(random() * 10_000) : hashHundredths(salt, key);
  return model.split[chooseShare(model.bounds, point)]!;
}

/** The cluster that a header of the request asks for, among those the configuration allows to be asked for. */
function pinnedByHeader(exchange: Exchange, model: MeshModel): MeshCluster | null {
  const { pins } = model.config;
  for (let i = 0; i < pins.length; i++) {
    const { header, value } = pins[i]!;
    const found = exchange.head!.get(header);
    if (found !== undefined && (value === '' || found === value)) return model.pinned[i]!;
  }
  return null;
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
