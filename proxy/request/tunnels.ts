/**
 * Connections that leave HTTP: an upgrade the route allows (websocket unless it says otherwise) and CONNECT where it is
 * allowed. Whether a request may ask is decided here from its head and route; once the upstream has agreed, both sockets
 * are taken out of the HTTP/1.1 engine and relayed as opaque bytes. `h2c` is never asked for: what is behind such an
 * upgrade would be HTTP that nobody routes or limits.
 */
import type { Http1Exchange } from '../../proto/http1/exchange.ts';
import { withoutHopByHop } from '../../proto/http1/hop-by-hop.ts';
import type { HeaderList } from '../../proto/http2/header-list.ts';
import type { UpgradePolicy } from '../config/snapshot.ts';
import type { ClosedRelay } from '../listener/listener.ts';
import { NOT_CUT, OpaqueRelay } from '../listener/opaque-relay.ts';
import { withFields } from '../routing/request-traits.ts';
import { ProcessSlot } from '../stats/slots.ts';

/** Upgrades of traffic no route takes. */
export const DEFAULT_UPGRADES: UpgradePolicy = 'websocket';

/**
 * The head that asks the upstream for the protocols the policy allows, of those the request's head asks for; null when it
 * asks for none of them, and the request goes on without.
 */
export function upgradeHead(head: HeaderList, forward: HeaderList, policy: UpgradePolicy): HeaderList | null {
  const asked = head.get('upgrade');
  if (asked === undefined || policy === 'none') return null;
  const allowed = asked
    .split(',')
    .map((protocol) => protocol.trim())
    .filter((protocol) => mayUpgrade(protocol.toLowerCase(), policy));
  return allowed.length === 0 ? null : withFields(forward, ['upgrade'], [allowed.join(', ')]);
}

/** `protocol` is a name and possibly a version, `websocket` or `IRC/6.9`, in lower case. */
function mayUpgrade(protocol: string, policy: UpgradePolicy): boolean {
  const [name] = protocol.split('/');
  if (name === '' || name === 'h2c' || name === 'http' || name === 'tls') return false;
  return policy === 'any' || name === 'websocket';
}

export interface TunnelsOptions {
  readonly cells: Float64Array;
  readonly idleTimeoutMs: number;
  readonly nowMs: () => number;
  readonly onClosed: (relay: ClosedRelay) => void;
}

/** The tunnels of one data thread. */
export class Tunnels {
  private readonly options: TunnelsOptions;
  private readonly relays = new Set<OpaqueRelay>();

  constructor(options: TunnelsOptions) {
    this.options = options;
  }

  get open(): number {
    return this.relays.size;
  }

  /**
   * The upstream agreed: its head goes to the caller, and from here on the two sockets are one. Both exchanges end without
   * a reset. `destination` names the upstream for the access log.
   */
  join(down: Http1Exchange, up: Http1Exchange, head: HeaderList, destination: string): void {
    const { cells, idleTimeoutMs, nowMs, onClosed } = this.options;
    const protocol = head.get('upgrade');
    const stripped = withoutHopByHop(head);
    down.sendHead(protocol === undefined ? stripped : withFields(stripped, ['upgrade'], [protocol]), false);
    const upstream = up.takeOver();
    const { io, unread } = down.takeOver();
    const startedMs = nowMs();
    const received = io.bytesIn;
    const sent = io.bytesOut;
    const limits = { connectTimeoutMs: idleTimeoutMs, idleTimeoutMs };
    const relay = new OpaqueRelay(io, unread, unread.length, upstream.io, limits, (cut) => {
      this.relays.delete(relay);
      cells[ProcessSlot.OPAQUE_CONNECTIONS]! -= 1;
      if (cut !== NOT_CUT) cells[ProcessSlot.OPAQUE_CUTS + cut]! += 1;
      onClosed({
        destination,
        serverName: '',
        durationMs: Math.round(nowMs() - startedMs),
        bytesReceived: io.bytesIn - received,
        bytesSent: io.bytesOut - sent,
      });
    });
    if (upstream.unread.length > 0) io.write(upstream.unread, 0, upstream.unread.length);
    this.relays.add(relay);
    cells[ProcessSlot.OPAQUE_CONNECTIONS]! += 1;
    cells[ProcessSlot.OPAQUE_CONNECTIONS_TOTAL]! += 1;
  }

  destroy(): void {
    for (const relay of this.relays) relay.destroy();
  }
}
